"""Models in MLflow, told apart by their names, folders of `runs/SCALE` such as `finetune/vqa`, and the
SHA-256 of their weights: which run made one, and which version of a registered model it is.

MLflow is imported by whoever hands in the client.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.utils import files

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

WEIGHTS = "model.safetensors"  # in a model's folder
# Tags of a run: the model that it made, and the SHA-256 of its weights.
MODEL = "model"
MADE = "model.sha256"
DIGEST = "sha256"  # the same as a tag of a version
# of the version that stands in the workspace; MLflow keeps "latest" for itself
ALIAS = "current"


def registered_name(model: str) -> str:
    """What MLflow's registry calls a model."""
    kind, _, name = model.partition("/")
    if kind == "pretrain":
        return f"vl-beit-pretrained-{name}"
    return f"vl-beit-{name or kind.replace('_', '-')}"


def in_workspace(scale: str) -> dict[str, Path]:
    """The models of a scale that stand in the working directory, by name, with their folders."""
    runs = Path("runs", scale)
    folders = {str(path.parent.relative_to(runs)): path for path in sorted(runs.glob("*/*/model"))}
    folders["visual_tokenizer"] = Path("data", scale, "visual_tokenizer", "model")
    return {name: path for name, path in folders.items() if (path / WEIGHTS).exists()}


def run_that_made(client: "MlflowClient", experiment: str, model: str, digest: str) -> "Run | None":
    """The newest run of an experiment that made a model with these weights; None if there is none,
    or it was deleted."""
    same = f"tags.`{MODEL}` = '{model}' and tags.`{MADE}` = '{digest}'"
    runs = client.search_runs([experiment], same, order_by=["start_time DESC"], max_results=1)
    return runs[0] if runs else None


def without_run(client: "MlflowClient", experiment: str, scale: str) -> list[str]:
    """The models in the working directory that no run of the scale's experiment has made."""
    missing = []
    for model, folder in in_workspace(scale).items():
        digest = files.sha256(folder / WEIGHTS)
        if run_that_made(client, experiment, model, digest) is None:
            missing.append(model)
    return missing


def logged_model(version: "ModelVersion") -> str:
    """Id of MLflow's model that a version is of."""
    return (version.source or "").removeprefix("models:/")


def logged_models(run: "Run") -> list[str]:
    """Ids of MLflow's models that a run has made."""
    return [output.model_id for output in run.outputs.model_outputs] if run.outputs else []


def version_of(client: "MlflowClient", name: str, digest: str) -> "ModelVersion | None":
    """The newest version of a registered model with these weights; None if there is none."""
    versions = client.search_model_versions(
        f"name = '{name}' and tags.`{DIGEST}` = '{digest}'", max_results=1
    )
    return versions[0] if versions else None


def make_current(client: "MlflowClient", name: str, digest: str) -> "ModelVersion | None":
    """Let the alias of a registered model name the version with these weights, and return that.
    Where there is none, the alias goes: it would name other weights."""
    version = version_of(client, name, digest)
    if version is not None:
        client.set_registered_model_alias(name, ALIAS, version.version)
    elif client.search_registered_models(f"name = '{name}'"):
        client.delete_registered_model_alias(name, ALIAS)
    return version
