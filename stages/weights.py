"""Get the released weights that the visual tokenizer asks for, if any: `python -m stages.weights`."""

from dataclasses import asdict
from pathlib import Path

from pipeline import params, released, tracking
from pipeline.http import HttpParams
from pipeline.origins import DownloadParams
from pipeline.stage import entry


def main() -> None:
    """Write `data/<scale>/weights`."""
    scale = params.scale()
    settings = params.load(DownloadParams, "weights")
    web = params.load(HttpParams, "http")
    with tracking.run("weights", stage="weights", params=asdict(settings)) as run:
        run.metrics(released.gather(Path("data", scale, "weights"), _named(scale), settings, f"{scale}.weights", web))


def _named(scale: str) -> list[str]:
    """What the visual tokenizer reads. Its parameters are not loaded as such: that would import its network."""
    tokenizer = params.subtree(f"{scale}.visual_tokenizer")
    official, taught = tokenizer["origin"] == "official", tokenizer["teacher"] != "hog"
    name = tokenizer["official_file"] if official else tokenizer["teacher_file"] if taught else None
    return [] if name is None else [name]


if __name__ == "__main__":
    entry(main)
