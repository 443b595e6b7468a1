"""The paper's tables with our rows, as files and as a page. Imports `utils` and `config`."""
