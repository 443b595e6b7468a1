"""Get the official files of a data set: `python -m stages.download SOURCE`."""

from pathlib import Path

from pipeline.config import params
from pipeline.data import datasets
from pipeline.data.download import raw_files
from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.download.params import HttpParams, load_params
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.tracking import client as tracking
from pipeline.utils import workdir
from pipeline.utils.entry_point import entry


def main(source: str) -> None:
    key = f"download.{source}"
    settings = load_params(params.read(), source)
    synthetic = (
        params.load(SyntheticParams, "synthetic") if settings.origin == "synthetic" else None
    )
    http = params.load(HttpParams, "http") if settings.origin == "upstream" else None
    scale = params.scale()
    folder = Path("data", scale, "raw", source)
    workdir.clean()
    official = OfficialFiles(source, settings, key, http)
    logged = official.logged_params()
    with tracking.run(f"download {source}", stage="download", params=logged) as run:
        run.metrics(raw_files.download(official, folder, synthetic))


if __name__ == "__main__":
    entry(main, datasets.names)
