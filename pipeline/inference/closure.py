"""Which files using saved models takes: what the wheel `vlbeit` is made of, and what models in MLflow
bring along."""

from pathlib import Path

from pipeline.utils.import_graph import ImportGraph, module_of

# What people import, and what is imported by its name: classes that a config.json may name, and
# tasks' row predictors.
ENTRY_POINTS = (
    "pipeline.inference.graphs",
    "pipeline.inference.predictor",
    "model.heads",
    "model.pretraining.masked_modeling",
    "model.timm_encoder",
    "model.tokenizer.vqkd",
)
ROW_PREDICTORS = "pipeline/tasks/*/row_predictor.py"


def files(root: Path, *more: str) -> list[str]:
    """Paths of the modules, and of `more` modules with what these import, relative to `root`, the
    folder of the project."""
    row_predictors = [module_of(path.relative_to(root)) for path in root.glob(ROW_PREDICTORS)]
    return ImportGraph(root).closure([*ENTRY_POINTS, *row_predictors, *more])
