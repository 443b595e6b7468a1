"""List the pictures that no pretraining source may hold: `python -m stages.held_out`."""

from pathlib import Path

from pipeline import leakage, origins, params, tracking
from pipeline.stage import entry


def main() -> None:
    """Write `data/<scale>/held_out.json`: what the downstream validation and test pictures are called elsewhere."""
    data = Path("data", params.scale())
    chosen = {source: params.load(origins.params_class(source), f"download.{source}") for source in leakage.SOURCES}
    roots = {source: origins.readable(data / "raw" / source, settings)
             for source, settings in chosen.items() if settings.origin != "none"}
    with tracking.run("held-out pictures", stage="held_out", params={}) as run:
        run.metrics(leakage.write(roots, data / "held_out.json"))


if __name__ == "__main__":
    entry(main)
