"""One module per source: `write(folder, params)`, and `url_responder(params)` if the official files
list URLs."""
