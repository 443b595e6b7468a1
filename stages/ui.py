"""Serve MLflow on this machine, and print a link to the runs grouped by the paper's tables:
`python -m stages.ui`."""

import json
import os
import sys
from pathlib import Path
from urllib.parse import urlencode

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.tracking import spool, store
from pipeline.utils import workdir
from pipeline.utils.entry_point import entry

PORT = 5000
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


def main() -> None:
    """Print the link and become the server."""
    root = workdir.root().parent
    os.chdir(root)  # the store's path is relative to it
    uri, artifacts = store.locate(root, store.chosen_uri())
    if uri.startswith("http"):
        raise UserError(f"MLFLOW_TRACKING_URI: {uri} is a server already; open it in a browser")
    if artifacts and not Path(store.DATABASE).exists():
        raise UserError(f"{store.DATABASE}: not found; run `dvc repro` first")
    if spool.pending(spool.folder()):
        spool.start_writer()  # for what a killed one has left
    print(f"runs by table: {link(uri, store.experiment_name(params.scale()))}", flush=True)
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
            "127.0.0.1",
            "--workers",
            "1",
            "--port",
            str(PORT),
        ],
    )


def link(uri: str, name: str) -> str:
    """The runs page of an experiment in a view that is stored with it, as MLflow's "Share" button
    does. A deleted experiment is restored.

    Raises:
        UserError: there is no such experiment.
    """
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment, message = store.find_experiment(client, name)
    if experiment is None:
        raise UserError(f"{uri}: no experiment {name}; run `dvc repro` first")
    if message is not None:
        print(message)
    client.set_experiment_tag(experiment, "mlflow.sharedViewState.tables", json.dumps(VIEW))
    query = urlencode({"workflowType": "machine_learning", "viewStateShareKey": "tables"})
    return f"http://127.0.0.1:{PORT}/#/experiments/{experiment}/runs?{query}"


if __name__ == "__main__":
    entry(main)
