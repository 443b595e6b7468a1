"""MLflow runs, written by a process of their own. Imports `utils` and `config`."""
