"""Slices of the real data sets (`tests.helpers.real_data`) as their readers expect the whole, where
a slice is of another release or lacks a part."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tests.helpers import real_data

ZIP_OF = {"train": "train2014", "restval": "val2014", "val": "val2014", "test": "val2014"}


def coco(folder: Path, counts: Mapping[str, int]) -> None:
    """COCO of 2014. The slice is of the 2017 release, whose images are those of 2014 under shorter
    names. counts: images of each of Karpathy's splits."""
    root = real_data.folder("coco")
    content = json.loads((root / "annotations/captions_train2017.json").read_text())
    images = iter(content["images"])
    split_of = {
        image["id"]: split for split, count in counts.items() for image in islice(images, count)
    }
    listed = [image for image in content["images"] if image["id"] in split_of]
    captions: dict[int, list[str]] = {}
    for item in content["annotations"]:
        captions.setdefault(item["image_id"], []).append(item["caption"])
    entries = []
    for name in ("train2014", "val2014"):
        here = [image for image in listed if ZIP_OF[split_of[image["id"]]] == name]
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for image in here:
                number = image["id"]
                entry = _karpathy(name, number, split_of[number], captions[number])
                entries.append(entry)
                source = root / "train2017" / image["file_name"]
                archive.write(source, f"{name}/{entry['filename']}")
    content = {"images": entries, "dataset": "coco"}
    (folder / "dataset_coco.json").write_text(json.dumps(content))


def _karpathy(name: str, number: int, split: str, captions: list[str]) -> dict[str, Any]:
    """An entry of Karpathy's file."""
    return {
        "filepath": name,
        "filename": f"COCO_{name}_{number:012d}.jpg",
        "split": split,
        "cocoid": number,
        "sentences": [{"raw": text} for text in captions],
    }


def vqav2(folder: Path, *, tested: bool = False) -> None:
    """VQA v2 with a test part, which the slice lacks: empty, or `tested`, the validation images
    and questions once more."""
    root = real_data.folder("vqav2")
    for path in root.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "test2015").mkdir()
    for path in root.glob("val2014/*.jpg") if tested else ():
        name = path.name.replace("val2014", "test2015")
        (folder / "test2015" / name).symlink_to(path)
    questions = list(_validation_questions(root)) if tested else []
    with zipfile.ZipFile(folder / "v2_Questions_Test_mscoco.zip", "w") as archive:
        for part in ("test2015", "test-dev2015"):
            content = json.dumps({"questions": questions})
            archive.writestr(f"v2_OpenEnded_mscoco_{part}_questions.json", content)


def _validation_questions(root: Path) -> Iterator[dict[str, Any]]:
    """Those whose images are here."""
    with zipfile.ZipFile(root / "v2_Questions_Val_mscoco.zip") as archive:
        content = json.loads(archive.read("v2_OpenEnded_mscoco_val2014_questions.json"))
    for question in content["questions"]:
        if (root / f"val2014/COCO_val2014_{question['image_id']:012d}.jpg").exists():
            yield question


def cc3m(folder: Path, server: str, counts: Mapping[str, int]) -> None:
    """CC3M's two lists with captions of the slice, which is a part of the second one, and with URLs
    of a local server in place of other people's: `server` is the address of a folder of images.
    counts: rows of `train` and `val`."""
    root = real_data.folder("cc3m")
    lines = iter((root / "Validation_GCC-1.1.0-Validation.tsv").read_text().splitlines())
    names = {
        "train": "Train_GCC-training.tsv",
        "val": "Validation_GCC-1.1.0-Validation.tsv",
    }
    number = 0
    for split, count in counts.items():
        rows = []
        for line in islice(lines, count):
            rows.append(f"{line.partition(chr(9))[0]}\t{server}/{number}\n")
            number += 1
        (folder / names[split]).write_text("".join(rows))
