"""The one training loop and its parts; it knows no task. Imports `data` and below."""
