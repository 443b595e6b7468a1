"""What a scale sees of params.yaml, for DVC to compare: `python -m stages.params`.

DVC reads a stage's parameters file once per stage, and YAML takes it a quarter of a second each time: with some ninety
stages, a `dvc repro` with nothing to do would spend twenty seconds on that. JSON takes a millisecond. And a block is a
digest here: as a tree, each of its numbers would be a line of `dvc.lock`, which DVC reads and writes after every stage,
the slower the longer it is.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import files, params
from pipeline.stage import entry


def main() -> None:
    """Write `data/<scale>/params.json`: `small/finetune/vqa` and the like, blocks within blocks by themselves too, of
    the chosen scale and of what all scales share."""
    scale = params.scale()
    others = set(params.SCALES) - {scale}
    seen = {key: block for key, block in params.read().items() if key not in others}
    files.write_json(Path("data", scale, "params.json"), dict(_entries(seen)))


def _entries(block: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below a block, with its value, or the digest of its block. Keys have slashes, because DVC looks for
    trees where it sees dots."""
    for name, value in block.items():
        key = f"{above}{name}"
        if isinstance(value, dict):
            yield key, digest(value)
            yield from _entries(value, f"{key}/")
        else:
            yield key, value


def digest(block: dict[str, Any]) -> str:
    """64 bits of SHA-256, in hexadecimal, of a block as JSON; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(block, sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    entry(main)
