"""One module per source: `write(folder, params)`, and `images(params)` where the official files
list URLs."""
