"""List the images that no pretraining source may hold: `python -m stages.decontamination`."""

from pathlib import Path

from pipeline.config import params
from pipeline.data.download.params import params_class, readable
from pipeline.data.sharding import decontamination
from pipeline.tracking import client as tracking
from pipeline.utils.entry_point import entry


def main() -> None:
    """Write `data/<scale>/held_out.json`: what the downstream validation and test images are
    called elsewhere."""
    data = Path("data", params.scale())
    roots = {}
    for source in params.subtree(f"{params.scale()}.download"):
        if decontamination.has_evaluation_images(source):
            settings = params.load(params_class(source), f"download.{source}")
            if settings.origin != "none":
                roots[source] = readable(data / "raw" / source, settings)
    with tracking.run("held-out images", stage="held_out", params={}) as run:
        run.metrics(decontamination.write(roots, data / "held_out.json"))


if __name__ == "__main__":
    entry(main)
