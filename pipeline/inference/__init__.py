"""Saved models in use: predictor, MLflow, export. Imports `tasks`, `pretraining` and below."""
