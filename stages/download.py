"""Get the official files of a source: `python -m stages.download SOURCE`."""

from dataclasses import asdict
from pathlib import Path

from pipeline import download, origins, params, tracking, work
from pipeline.http import HttpParams
from pipeline.stage import entry
from pipeline.world.params import WorldParams


def main(source: str) -> None:
    key = f"download.{source}"
    settings = params.load(origins.params_class(source), key)
    world = params.load(WorldParams, "world") if settings.origin == "world" else None
    web = params.load(HttpParams, "http") if settings.origin == "upstream" else None
    scale = params.scale()
    folder = Path("data", scale, "raw", source)
    work.clean()
    with tracking.run(f"download {source}", stage="download", params=asdict(settings)) as run:
        run.metrics(download.download(source, folder, settings, world, f"{scale}.{key}", web))


if __name__ == "__main__":
    entry(main)
