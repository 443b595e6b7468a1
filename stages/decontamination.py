"""List the images that no pretraining source may hold: `python -m stages.decontamination`."""

from pathlib import Path

from pipeline.config import params
from pipeline.data.download.params import load_params, readable
from pipeline.data.sharding import decontamination
from pipeline.tracking import client as tracking
from pipeline.utils.entry_point import entry


def main() -> None:
    """Write `data/<scale>/decontamination.json`: what the downstream validation and test images are
    called elsewhere."""
    data = Path("data", params.scale())
    roots = {}
    for source in params.subtree("download"):
        if source != "common" and decontamination.has_evaluation_images(source):
            settings = load_params(params.read(), source)
            if settings.origin != "none":
                roots[source] = readable(data / "raw" / source, settings)
    with tracking.run("decontamination", stage="decontamination", params={}) as run:
        run.metrics(decontamination.write(roots, data / "decontamination.json"))


if __name__ == "__main__":
    entry(main)
