"""Synthetic files as a publisher's: served, and listed as the official ones are."""

import hashlib
import json
import shutil
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.data.datasets import facts
from pipeline.data.synthetic.generate import write
from pipeline.data.synthetic.params import SyntheticParams
from tests.helpers.worlds import FULL

DUMP = "20220301"
SYNTHETIC = SyntheticParams(
    seed=3,
    image_size=32,
    jpeg_quality=70,
    sizes={
        "cc3m": {"train": 16, "val": 3},
        "sbu": {"train": 12},
        "coco": {"train": 6, "restval": 4, "val": 3, "test": 3},
        "vg": {"train": 8},
        "imagenet22k": {"classes": 4, "largest": 4},
        "wikipedia": {"pages": 12},
        "bookcorpus": {"lines": 200},
        "flickr30k": {"train": 6, "val": 2, "test": 2, "unsplit": 1},
        "imagenet1k": {"classes": 3, "train": 4, "val": 2},
        "vqav2": {"train": 4, "restval": 2, "test": 2},
        "nlvr2": {"train": 2, "val": 1, "test": 1},
        "ade20k": {"train": 4, "val": 2},
        "coco-test": {"test": 2},
        "flickr30k-test": {"test": 1},
        "vqav2-test": {"restval": 2, "test": 1},
        "nlvr2-test": {"val": 1, "test": 1},
        "imagenet1k-test": {"classes": 3, "val": 1},
        "ade20k-test": {"val": 1},
    },
    world=FULL,
)
_LISTS = facts.FOLDER  # of the real data sets, whatever a test replaces them with


def publish(source: str, root: Path) -> None:
    """Write the files of a source into `root/<source>` under the publisher's names, and
    `root/lists/<source>.yaml`.

    The list is the real one with the sizes and checksums of these files, as far as the real one
    knows any.
    """
    folder = root / source
    folder.mkdir(parents=True)
    write(source, folder, SYNTHETIC)
    tree = YAML(typ="safe", pure=True).load(_LISTS / f"{source}.yaml")
    for entry in tree["files"]:
        name = entry["name"].format(dump=DUMP)
        for other in entry.get("also", ()):
            if (folder / other).exists():
                (folder / other).rename(folder / name)
        if "listed_bytes" in tree:
            _list_dump(folder, folder / "dumpstatus.json")
        elif not entry.get("optional"):
            _describe(entry, folder / name)
    (root / "lists").mkdir(exist_ok=True)
    with open(root / "lists" / f"{source}.yaml", "w", encoding="utf-8") as file:
        YAML().dump(tree, file)


def copy(source: str, root: Path, target: Path) -> None:
    """The files of a published source in another folder."""
    shutil.copytree(root / source, target)


def _describe(entry: dict, path: Path) -> None:
    data = path.read_bytes()
    entry.pop("about", None)
    if "bytes" in entry:
        entry["bytes"] = len(data)
    for kind in ("sha256", "sha1", "md5"):
        if kind in entry:
            entry[kind] = hashlib.new(kind, data).hexdigest()


def _list_dump(folder: Path, path: Path) -> None:
    parts = {
        part.name: {
            "size": part.stat().st_size,
            "url": f"/enwiki/{DUMP}/{part.name}",
            "md5": hashlib.md5(part.read_bytes()).hexdigest(),
            "sha1": hashlib.sha1(part.read_bytes()).hexdigest(),
        }
        for part in folder.glob("*.bz2")
    }
    index = {
        f"enwiki-{DUMP}-pages-articles-multistream-index.txt.bz2": {
            "size": 1,
            "url": "/",
            "sha1": "0",
        }
    }
    path.write_text(
        json.dumps(
            {"jobs": {"articlesmultistreamdump": {"status": "done", "files": parts | index}}}
        )
    )
