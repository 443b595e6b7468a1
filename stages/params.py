"""What a scale sees of params.yaml, as JSON: `python -m stages.params`.

DVC reads a stage's parameters file once per stage, and YAML takes it a quarter of a second each time: with some ninety
stages, a `dvc repro` with nothing to do would spend twenty seconds on that. JSON takes a millisecond.
"""

from pathlib import Path

from pipeline import files, params
from pipeline.stage import entry


def main() -> None:
    """Write `data/<scale>/params.json`: the blocks of the chosen scale and those that all scales share."""
    scale = params.scale()
    others = set(params.SCALES) - {scale}
    files.write_json(Path("data", scale, "params.json"),
                     {key: block for key, block in params.read().items() if key not in others})


if __name__ == "__main__":
    entry(main)
