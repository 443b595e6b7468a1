"""Serve MLflow on this machine, and print a link to the runs grouped by the paper's tables:
`python -m stages.ui [PORT]`."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.tracking import registry, spool, store
from pipeline.utils import files, ports, workdir
from pipeline.utils.entry_point import entry

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PORT = 5000  # where none is named
IMPORT = "`make import-runs`"
# In percent, as the paper's tables have them.
SCORES = (
    "vqav2_test_dev",
    "vqav2_test_std",
    "nlvr2_dev",
    "nlvr2_test_p",
    "coco_tr_r1",
    "coco_ir_r1",
    "flickr30k_tr_r1",
    "flickr30k_ir_r1",
    "imagenet1k_acc1",
    "ade20k_miou",
)
VIEW = {
    "groupBy": {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "tag", "groupByData": "table"}],
    },
    "selectedColumns": [
        "attributes.`Models`",
        "attributes.`Dataset`",
        "tags.`stage`",
        "tags.`task`",
        "tags.`variant`",
        "params.`lr`",
        "metrics.`score`",
        *(f"metrics.`{name}`" for name in SCORES),
    ],
}


def main(port: str = str(PORT)) -> None:
    """Print the link and become the server. The alias `current` of each model becomes the version
    that stands in the workspace."""
    root = workdir.root().parent
    os.chdir(root)  # the store's path is relative to it
    scale = params.scale()
    uri, artifacts = store.locate(root, store.chosen_uri())
    if uri.startswith("http"):
        raise UserError(f"MLFLOW_TRACKING_URI: {uri} is a server already; open it in a browser")
    if artifacts and not Path(store.DATABASE).exists():
        raise UserError(f"{store.DATABASE}: not found; {_advice(scale)}")
    ports.checked(port, "make ui PORT=5001")
    if spool.pending(spool.folder()):
        spool.start_writer()  # for what a killed one has left
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = experiment_of(client, scale)
    make_current(client, scale)
    if missing := registry.without_run(client, experiment, scale):
        print(f"without a run: {', '.join(missing)}; {IMPORT} adds them")
    print(f"runs by table: {link(client, experiment, port)}", flush=True)
    os.execv(
        sys.executable,
        [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            uri,
            "--default-artifact-root",
            artifacts or (root / "mlruns").as_uri(),
            "--host",
            ports.LOCAL,
            "--workers",
            "1",
            "--port",
            port,
        ],
    )


def _advice(scale: str) -> str:
    """What to do where there are no runs."""
    if registry.in_workspace(scale):
        return f"{IMPORT} makes runs of the models in runs/{scale}, `dvc repro` trains them"
    return "run `dvc repro` first"


def make_current(client: "MlflowClient", scale: str) -> None:
    """Set the aliases `current` by the weights in the workspace."""
    for model, folder in registry.in_workspace(scale).items():
        digest = files.sha256(folder / registry.WEIGHTS)
        registry.make_current(client, registry.registered_name(model), digest)


def experiment_of(client: "MlflowClient", scale: str) -> str:
    """Id of a scale's experiment; a deleted one is restored. Raises UserError where there is none."""
    name = store.experiment_name(scale)
    experiment, message = store.find_experiment(client, name)
    if experiment is None:
        raise UserError(f"no experiment {name} in MLflow yet; {_advice(scale)}")
    if message is not None:
        print(message)
    return experiment


def link(client: "MlflowClient", experiment: str, port: str) -> str:
    """The runs page of an experiment in a view that is stored with it, as MLflow's "Share" button
    does."""
    client.set_experiment_tag(experiment, "mlflow.sharedViewState.tables", json.dumps(VIEW))
    query = urlencode({"workflowType": "machine_learning", "viewStateShareKey": "tables"})
    return f"http://{ports.LOCAL}:{port}/#/experiments/{experiment}/runs?{query}"


if __name__ == "__main__":
    entry(main)
