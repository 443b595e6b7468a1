"""Get the released files that the two tokenizers ask for, if any: `python -m
stages.released_weights`."""

from pathlib import Path

from pipeline.config import params
from pipeline.data.download import released_weights
from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.download.params import DownloadParams, HttpParams
from pipeline.tracking import client as tracking
from pipeline.utils.entry_point import entry


def main() -> None:
    """Write `data/<scale>/weights`."""
    scale = params.scale()
    settings = params.load(DownloadParams, "released_weights")
    http = params.load(HttpParams, "http")
    official = OfficialFiles(released_weights.NAME, settings, "released_weights", http)
    with tracking.run("weights", stage="released_weights", params=official.logged_params()) as run:
        folder = Path("data", scale, "weights")
        run.metrics(
            released_weights.gather(official, folder, released_weights.named(params.read()))
        )


if __name__ == "__main__":
    entry(main)
