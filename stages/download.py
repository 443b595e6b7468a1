"""Get the official files of a source: `python -m stages.download SOURCE`."""

from dataclasses import asdict
from pathlib import Path

from pipeline.config import params
from pipeline.data.download import raw_files
from pipeline.data.download.http_client import HttpParams
from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.download.params import params_class
from pipeline.data.synthetic.params import WorldParams
from pipeline.tracking import client as tracking
from pipeline.utils import workdir
from pipeline.utils.entry_point import entry


def main(source: str) -> None:
    key = f"download.{source}"
    settings = params.load(params_class(source), key)
    world = params.load(WorldParams, "world") if settings.origin == "world" else None
    http = params.load(HttpParams, "http") if settings.origin == "upstream" else None
    scale = params.scale()
    folder = Path("data", scale, "raw", source)
    workdir.clean()
    with tracking.run(f"download {source}", stage="download", params=asdict(settings)) as run:
        official = OfficialFiles(source, settings, f"{scale}.{key}", http)
        run.metrics(raw_files.download(official, folder, world))


if __name__ == "__main__":
    entry(main)
