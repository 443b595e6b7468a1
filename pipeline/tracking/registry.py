"""Models in MLflow, told apart by their names, folders of `runs/SCALE` such as `finetune/vqa`, and the
SHA-256 of their weights: which run made one, and which version of a registered model it is.

MLflow is imported by whoever hands in the client.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

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


def run_that_made(client: "MlflowClient", experiment: str, model: str, digest: str) -> "Run | None":
    """The newest run of an experiment that made a model with these weights; None if there is none,
    or it was deleted."""
    same = f"tags.`{MODEL}` = '{model}' and tags.`{MADE}` = '{digest}'"
    runs = client.search_runs([experiment], same, order_by=["start_time DESC"], max_results=1)
    return runs[0] if runs else None


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
