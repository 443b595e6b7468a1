"""Generated files of each source: official formats, injected faults, URLs, the same bytes again."""

import bz2
import io
import json
import re
import tarfile
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener
from xml.etree import ElementTree

import pytest
from PIL import Image

from pipeline.data.synthetic import captioned_images, generate, injected_faults, url_server
from pipeline.data.synthetic.contact_sheet import contact_sheet
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.writers import coco
from pipeline.errors import UserError
from tests.helpers.worlds import FULL, POOR

PARAMS = SyntheticParams(
    seed=5,
    image_size=48,
    jpeg_quality=85,
    sizes={
        "cc3m": {"train": 50, "val": 4},
        "sbu": {"train": 45},
        "coco": {"train": 34, "restval": 5, "val": 4, "test": 4},
        "vg": {"train": 40},
        "imagenet22k": {"classes": 12, "largest": 4},
        "wikipedia": {"pages": 70},
        "bookcorpus": {"lines": 300},
        "flickr30k": {"train": 34, "val": 4, "test": 6, "unsplit": 2},
    },
    world=FULL,
)
SOURCES = tuple(PARAMS.sizes)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of generated files for each source."""
    root = tmp_path_factory.mktemp("official")
    for source in SOURCES:
        (root / source).mkdir()
        generate.write(source, root / source, PARAMS)
    return root


def file_names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def zip_members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def tar_members(tar: tarfile.TarFile) -> dict[str, bytes]:
    return {member.name: tar.extractfile(member).read() for member in tar}


def zipped_json(path: Path, name: str) -> Any:
    return json.loads(zip_members(path)[name])


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_the_same_bytes_again(official: Path, tmp_path: Path) -> None:
    for source in SOURCES:
        generate.write(source, tmp_path / source, PARAMS)
    assert file_names(official) == file_names(tmp_path)
    for name in file_names(official):
        assert (official / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.parametrize("source", SOURCES)
def test_a_world_of_fewer_things_is_written_in_its_words(tmp_path: Path, source: str) -> None:
    sizes = PARAMS.sizes | {"imagenet22k": {"classes": 36, "largest": 2}}
    generate.write(source, tmp_path, replace(PARAMS, sizes=sizes, world=POOR))
    for path in tmp_path.rglob("*.tsv"):
        for word in ("moon", "purple", "checked", "beach"):
            assert word not in path.read_text(encoding="utf-8")


def test_flickr30k(official: Path) -> None:
    path = official / "flickr30k/caption_datasets.zip"
    entries = zipped_json(path, "dataset_flickr30k.json")["images"]
    assert Counter(entry["split"] for entry in entries) == {"train": 34, "val": 4, "test": 6}
    with tarfile.open(official / "flickr30k/flickr30k-images.tar.gz") as archive:
        images = tar_members(archive)
    assert len(images) == 44 - 1 + 2
    for name, data in images.items():
        assert re.fullmatch(r"flickr30k-images/\d{10}\.jpg", name)
        assert max(decoded(data).size) == 48
    missing, without_caption = [], []
    for entry in entries:
        assert len(entry["sentences"]) == 5
        assert [sentence["sentid"] for sentence in entry["sentences"]] == entry["sentids"]
        if f"flickr30k-images/{entry['filename']}" not in images:
            missing.append(entry["split"])
        if not all(sentence["raw"].strip() for sentence in entry["sentences"]):
            without_caption.append(entry["split"])
    assert missing == without_caption == ["train"]


def test_coco(official: Path) -> None:
    path = official / "coco/caption_datasets.zip"
    entries = zipped_json(path, "dataset_coco.json")["images"]
    sizes = {"train": 34, "restval": 5, "val": 4, "test": 4}
    assert Counter(entry["split"] for entry in entries) == sizes
    images = zip_members(official / "coco/train2014.zip")
    images |= zip_members(official / "coco/val2014.zip")
    assert set(images) == {f"{entry['filepath']}/{entry['filename']}" for entry in entries}
    number = coco.image_id("train", injected_faults.TRUNCATED)
    with pytest.raises(OSError, match="truncated"):
        decoded(images.pop(f"train2014/COCO_train2014_{number:012d}.jpg"))
    for data in images.values():
        decoded(data)


def test_coco_captions_are_the_same_in_both_files(official: Path) -> None:
    path = official / "coco/annotations_trainval2014.zip"
    annotated = {}
    for year in ("train2014", "val2014"):
        content = zipped_json(path, f"annotations/captions_{year}.json")
        numbers = [image["id"] for image in content["images"]]
        assert numbers != [caption["image_id"] for caption in content["annotations"]]
        for caption in content["annotations"]:
            assert caption["image_id"] in numbers
            annotated[caption["id"]] = caption["image_id"], caption["caption"]
    path = official / "coco/caption_datasets.zip"
    of_karpathy = {}
    for entry in zipped_json(path, "dataset_coco.json")["images"]:
        for sentence in entry["sentences"]:
            of_karpathy[sentence["sentid"]] = entry["cocoid"], sentence["raw"]
    assert annotated == of_karpathy


def test_vg(official: Path) -> None:
    metadata = zipped_json(official / "vg/image_data.json.zip", "image_data.json")
    path = official / "vg/region_descriptions.json.zip"
    regions = zipped_json(path, "region_descriptions.json")
    assert [entry["image_id"] for entry in metadata] == [entry["id"] for entry in regions]
    stored = set()
    for name, folder in (("images.zip", "VG_100K"), ("images2.zip", "VG_100K_2")):
        members = zip_members(official / "vg" / name)
        assert all(member.startswith(f"{folder}/") for member in members)
        stored |= set(members)
    listed = {"/".join(entry["url"].split("/")[-2:]) for entry in metadata}
    assert len(listed - stored) == 1 and len(stored - listed) == 1
    for entry, size in zip(regions, metadata, strict=True):
        assert 6 <= len(entry["regions"]) <= 10
        for region in entry["regions"]:
            assert region["phrase"].strip() and -1 <= region["x"] <= size["width"]
    shared = {entry["coco_id"] for entry in metadata} - {None}
    training = {coco.image_id("train", i) for i in range(PARAMS.count("coco", "train"))}
    assert shared and shared <= training


def test_imagenet22k(official: Path) -> None:
    images = {}
    with tarfile.open(official / "imagenet22k/fall11_whole.tar") as outer:
        names = outer.getnames()
        for name in names:
            with tarfile.open(fileobj=outer.extractfile(name)) as inner:
                images |= tar_members(inner)
    assert len(names) == 12 and names == sorted(names)
    assert all(re.fullmatch(r"n\d{8}\.tar", name) for name in names)
    modes: Counter = Counter()
    for name, data in images.items():
        assert re.fullmatch(r"n\d{8}_\d+\.JPEG", name)
        try:
            modes[decoded(data).mode] += 1
        except OSError:
            modes["damaged"] += 1
    assert modes["damaged"] == 1 and modes["RGB"] > 10


def test_too_many_classes_are_refused(tmp_path: Path) -> None:
    sizes = PARAMS.sizes | {"imagenet22k": {"classes": 1000, "largest": 2}}
    with pytest.raises(UserError, match="imagenet22k.classes"):
        generate.write("imagenet22k", tmp_path, SyntheticParams(1, 48, 80, sizes, world=FULL))


def test_a_missing_size_is_named() -> None:
    with pytest.raises(UserError, match=r"synthetic\.sizes\.coco\.val"):
        SyntheticParams(1, 48, 80, {"coco": {"train": 1}}, world=FULL).count("coco", "val")


def test_wikipedia_is_multistream_xml(official: Path) -> None:
    path = official / "wikipedia/enwiki-20220301-pages-articles-multistream.xml.bz2"
    raw = path.read_bytes()
    streams, rest = 0, raw
    while rest:
        decompressor = bz2.BZ2Decompressor()
        decompressor.decompress(rest)
        rest, streams = decompressor.unused_data, streams + 1
    assert streams >= 3
    pages = []
    for element in ElementTree.fromstring(bz2.decompress(raw)):
        if element.tag.endswith("}page"):
            pages.append({child.tag.rpartition("}")[2]: child.text for child in element})
    assert {page["ns"] for page in pages} == {"0", "1", "10"}
    in_main_namespace = [page for page in pages if page["ns"] == "0"]
    redirects = [page for page in in_main_namespace if "redirect" in page]
    assert redirects and len(in_main_namespace) - len(redirects) == 70
    assert len({page["id"] for page in pages}) == len(pages)


def test_bookcorpus(official: Path) -> None:
    lines = []
    for part in (1, 2):
        path = official / f"bookcorpus/books_large_p{part}.txt"
        lines += path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 300
    for line in lines:
        assert line == line.lower() and line == " ".join(line.split())
        assert not re.search(r"\w[.,?]", line)


def test_cc3m_list(official: Path) -> None:
    text = (official / "cc3m/Train_GCC-training.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    assert len(rows) == 50 and all(len(row) == 2 for row in rows)
    assert len({url for _, url in rows}) == 50
    assert all(caption == caption.lower() and caption.endswith(" .") for caption, _ in rows)


def test_sbu_list(official: Path) -> None:
    with tarfile.open(official / "sbu/sbu-captions-all.tar.gz") as archive:
        table = json.load(archive.extractfile("sbu-captions-all.json"))
    sizes = {key: len(values) for key, values in table.items()}
    assert sizes == {"image_urls": 45, "user_ids": 45, "captions": 45}


def test_every_url_responds_with_its_image_or_a_fault(official: Path) -> None:
    respond = generate.url_responder("cc3m", PARAMS)
    rows = (official / "cc3m/Train_GCC-training.tsv").read_text(encoding="utf-8").splitlines()
    bodies = [respond(row.split("\t")[1]) for row in rows]
    assert bodies[11].startswith(b"<!DOCTYPE") and bodies[37] == b"" and bodies[39] is None
    with pytest.raises(OSError, match="truncated"):
        decoded(bodies[23])
    for index in set(range(50)) - {11, 23, 37, 39}:
        scene = captioned_images.scene_at(PARAMS, "cc3m", "train", index)
        assert decoded(bodies[index]).size == (scene.width, scene.height)
    assert respond("http://images.cc3m.example/train/000050.jpg") is None
    respond = generate.url_responder("sbu", PARAMS)
    assert respond("http://static.flickr.com/1000/2000000019_0000000000.jpg") is None


def test_server_is_a_proxy() -> None:
    bodies = {"http://a.example/x.jpg": b"image", "http://b.example/y?z=1": b""}
    with url_server.serve(bodies.get) as proxy:
        client = build_opener(ProxyHandler({"http": proxy}))
        assert [client.open(url, timeout=10).read() for url in bodies] == [b"image", b""]
        with pytest.raises(HTTPError, match="404"):
            client.open("http://a.example/other.jpg", timeout=10)


def test_contact_sheet() -> None:
    sheet = contact_sheet(PARAMS, rows=2, columns=3)
    assert sheet.width > 3 * 48 * 3 and sheet.height > 2 * 48 * 3


@pytest.mark.parametrize("sizes", [{"train": 0, "val": 2}, {"train": 2, "val": 0}])
def test_a_part_may_be_empty(tmp_path, sizes):
    generate.write(
        "ade20k",
        tmp_path,
        SyntheticParams(1, 40, 90, {"ade20k": {"train": 0, "val": 0} | sizes}, world=FULL),
    )
    assert (tmp_path / "ADEChallengeData2016.zip").stat().st_size > 0
