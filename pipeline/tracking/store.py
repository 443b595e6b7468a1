"""Where MLflow's runs lie: the tracking store, the artifacts, and the experiment of a scale."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DATABASE = "mlflow.db"
DELETED = "deleted"  # MLflow's lifecycle stage


class Store(NamedTuple):
    """uri: MLflow's tracking URI, for a process that works in the project's root.
    artifacts: URI of the folder of an experiment's artifacts; None: where the server keeps them."""

    uri: str
    artifacts: str | None


def locate(root: Path, uri: str | None) -> Store:
    """The store at the tracking URI `uri`, by default `mlflow.db` and `mlruns/` in the project's
    root.

    The database's path is relative: SQLAlchemy and MLflow disagree on how to quote `%` and `?` in
    the name of a folder.
    """
    if uri:
        return Store(uri, None)
    return Store(f"sqlite:///{DATABASE}", (root / "mlruns").as_uri())


def make_database() -> None:
    """Create `mlflow.db` in the working directory if there is none, whole at once: MLflow fails for
    ever on one whose creation was killed."""
    from mlflow.tracking import MlflowClient

    if os.path.exists(DATABASE):
        return
    partial = f"{DATABASE}.partial"
    with suppress(FileNotFoundError):
        os.unlink(partial)
    MlflowClient(f"sqlite:///{partial}")
    with suppress(FileExistsError):  # the user's MLflow was faster
        os.link(partial, DATABASE)
    os.unlink(partial)


def chosen_uri() -> str | None:
    """The tracking URI that the user has set, if any."""
    return os.environ.get("MLFLOW_TRACKING_URI")


def experiment_name(scale: str) -> str:
    """The experiment of a scale."""
    return f"vl-beit-{scale}"


def find_experiment(client: "MlflowClient", name: str) -> tuple[str | None, str | None]:
    """The id of an experiment, None if there is none, and a message if it had been deleted.

    A deleted one keeps its name, which no other can have: it is restored.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None, None
    if experiment.lifecycle_stage != DELETED:
        return experiment.experiment_id, None
    client.restore_experiment(experiment.experiment_id)
    message = f"experiment {name} had been deleted; it is restored, with its runs"
    return experiment.experiment_id, message
