"""What a scale sees of params.yaml, for DVC to compare: `python -m stages.params`.

DVC reads a stage's parameters file once per stage, and YAML takes it a quarter of a second each
time: with some ninety stages, a `dvc repro` with nothing to do would spend twenty seconds on that.
JSON takes a millisecond. And a block is a digest here: as a tree, each of its numbers would be a
line of `dvc.lock`, which DVC reads and writes after every stage, the slower the longer it is.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config import params
from pipeline.utils import files
from pipeline.utils.entry_point import entry

# Blocks whose values stages depend on one by one. DVC goes through all keys for each of a stage's,
# so these are few.
SINGLY = frozenset({"download", "least_yield", "visual_tokenizer"})


def main() -> None:
    """Write `data/<scale>/params.json`: `small/finetune/vqa` and the like, blocks within blocks by
    themselves too, of the chosen scale and of what all scales share."""
    scale = params.scale()
    files.write_json(Path("data", scale, "params.json"), seen(params.read(), scale))


def seen(tree: dict[str, Any], scale: str) -> dict[str, Any]:
    """What a scale sees of params.yaml's tree, as it is written."""
    others = set(params.SCALES) - {scale}
    return dict(_entries({key: block for key, block in tree.items() if key not in others}))


def _entries(block: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Digests of all blocks below a block, and values where single ones are asked for. Keys have
    slashes, because DVC looks for trees where it sees dots."""
    for name, value in block.items():
        key = f"{above}{name}"
        if isinstance(value, dict):
            yield key, digest(value)
            yield from _entries(value, f"{key}/")
        elif not SINGLY.isdisjoint(above.split("/")):
            yield key, value


def digest(block: dict[str, Any]) -> str:
    """64 bits of SHA-256, in hexadecimal, of a block as JSON; the order of its keys does not
    matter."""
    return hashlib.sha256(json.dumps(block, sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    entry(main)
