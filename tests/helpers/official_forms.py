"""One good record of each data set in its official form, and what a test puts beside or into it.

`write` makes the files; `RECORDS` has the JSON of the good record, which must always come out.
"""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

GOOD = "good"  # in the key of the good record, where a key can have it


def jpeg(color: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), (color, 90, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def tar_bytes(members: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def karpathy(number: int) -> dict[str, Any]:
    return {
        "filename": f"{number}.jpg",
        "filepath": "train2014",
        "split": "train",
        "sentences": [{"raw": "A red kite."}, {"raw": "A kite, red."}],
    }


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def _flickr(root: Path, items: list[Any]) -> None:
    (root / "flickr30k-images").mkdir()
    (root / "flickr30k-images/1.jpg").write_bytes(jpeg())
    (root / "dataset_flickr30k.json").write_bytes(_dump({"images": items}))


def _coco(root: Path, items: list[Any]) -> None:
    for folder in ("train2014", "val2014"):
        (root / folder).mkdir()
    (root / "train2014/1.jpg").write_bytes(jpeg())
    (root / "dataset_coco.json").write_bytes(_dump({"images": items}))


def _coco_urls(root: Path, items: list[Any]) -> None:
    _coco(root, [karpathy(1)])
    files = {
        f"annotations/captions_{year}2014.json": {"images": items} for year in ("train", "val")
    }
    write_zip(root / "annotations_trainval2014.zip", {k: _dump(v) for k, v in files.items()})


def _vg(root: Path, items: list[Any], regions: list[Any]) -> None:
    write_zip(root / "images.zip", {"VG_100K/1.jpg": jpeg()})
    write_zip(root / "images2.zip", {})
    write_zip(root / "image_data.json.zip", {"image_data.json": _dump(items)})
    write_zip(root / "region_descriptions.json.zip", {"region_descriptions.json": _dump(regions)})


_VG_IMAGE = {"image_id": 1, "url": "https://v.example/VG_100K/1.jpg", "coco_id": 5}
_VG_REGIONS = {"id": 1, "regions": [{"phrase": "a red kite"}, {"phrase": "the sky"}]}
_QUESTION = {"question_id": 1, "image_id": 1, "question": "What is it?"}
_ANNOTATION = {
    "question_id": 1,
    "image_id": 1,
    "multiple_choice_answer": "kite",
    "answers": [{"answer": "kite"}] * 10,
}


def _vqa(root: Path, questions: list[Any], annotations: list[Any]) -> None:
    for part, name in (("train2014", "Train"), ("val2014", "Val"), ("test2015", "Test")):
        (root / part).mkdir()
        here = part == "train2014"
        files = {f"v2_OpenEnded_mscoco_{part}_questions.json": {"questions": questions * here}}
        write_zip(root / f"v2_Questions_{name}_mscoco.zip", {k: _dump(v) for k, v in files.items()})
        files = {f"v2_mscoco_{part}_annotations.json": {"annotations": annotations * here}}
        path = root / f"v2_Annotations_{name}_mscoco.zip"
        write_zip(path, {k: _dump(v) for k, v in files.items()})
    (root / "train2014/COCO_train2014_000000000001.jpg").write_bytes(jpeg())


_EXAMPLE = {"identifier": "train-1-0-0", "sentence": "There is a kite.", "label": "True"}


def _nlvr2(root: Path, items: list[Any]) -> None:
    for name in ("train", "dev", "test1"):
        (root / name).mkdir()
        (root / f"{name}.json").write_bytes(b"")
    for side in (0, 1):
        (root / f"train/train-1-0-img{side}.png").write_bytes(jpeg())
    (root / "train.json").write_bytes(b"\n".join(map(_dump, items)))


# Source and where its records stand: a good record, and the function that writes records.
FORMS: dict[tuple[str, str], tuple[dict[str, Any], Callable[[Path, list[Any]], None]]] = {
    ("flickr30k", "split"): (karpathy(1), _flickr),
    ("coco", "split"): (karpathy(1), _coco),
    ("coco", "urls"): ({"id": 1, "flickr_url": "http://flickr.com/1_a.jpg"}, _coco_urls),
    ("vg", "images"): (_VG_IMAGE, lambda root, items: _vg(root, items, [_VG_REGIONS])),
    ("vg", "regions"): (_VG_REGIONS, lambda root, items: _vg(root, [_VG_IMAGE], items)),
    ("vqav2", "questions"): (_QUESTION, lambda root, items: _vqa(root, items, [_ANNOTATION])),
    ("vqav2", "answers"): (_ANNOTATION, lambda root, items: _vqa(root, [_QUESTION], items)),
    ("nlvr2", "statements"): (_EXAMPLE, _nlvr2),
}
