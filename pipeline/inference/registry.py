"""The row predictors of all saved models. Imports no torch."""

from types import ModuleType

from pipeline import tasks
from pipeline.inference import masked_modeling_rows, visual_tokenizer_rows


def row_predictors() -> dict[str, ModuleType]:
    """The row predictor of every class of saved models, by the class's name in config.json."""
    modules = (visual_tokenizer_rows, masked_modeling_rows)
    return {module.MODEL: module for module in modules} | tasks.row_predictors()
