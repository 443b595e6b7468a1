"""python -m stages.ui: MLflow on this machine, with the link to the runs as the paper's tables
group them."""

import json
import os
import sys
from urllib.parse import urlencode

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.tracking import client as tracking
from pipeline.utils.entry_point import entry

PORT = 5000
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
        "metrics.`score`",
        "metrics.`tr_r1`",
        "metrics.`ir_r1`",
    ],
}


def main() -> None:
    """Print the link and become the server."""
    root = tracking.root()
    store = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
    if store.startswith("http"):
        raise UserError(f"MLFLOW_TRACKING_URI: {store} is a server already; open it in a browser")
    print(f"runs by table: {link(store, f'vl-beit-{params.scale()}')}", flush=True)
    os.execv(
        sys.executable,
        [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            store,
            "--default-artifact-root",
            str(root / "mlruns"),
            "--host",
            "127.0.0.1",
            "--port",
            str(PORT),
        ],
    )


def link(store: str, experiment: str) -> str:
    """The runs page of an experiment in a view that is kept with it, as MLflow's "Share" button
    does."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise UserError(f"{store}: no experiment {experiment}; run `dvc repro` first")
    client.set_experiment_tag(
        found.experiment_id, "mlflow.sharedViewState.tables", json.dumps(VIEW)
    )
    query = urlencode({"workflowType": "machine_learning", "viewStateShareKey": "tables"})
    return f"http://127.0.0.1:{PORT}/#/experiments/{found.experiment_id}/runs?{query}"


if __name__ == "__main__":
    entry(main)
