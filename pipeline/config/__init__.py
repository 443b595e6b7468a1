"""params.yaml as frozen dataclasses. Imports `errors` alone."""
