"""The generated world: official formats, held-out combinations, captions that tell scenes apart,
the same bytes."""

import bz2
import io
import json
import re
import tarfile
import zipfile
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pipeline.data.synthetic import captioned_images, generate, injected_faults, url_server
from pipeline.data.synthetic.contact_sheet import contact_sheet
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render, scene
from pipeline.data.synthetic.scenes.scene import Scene, Thing
from pipeline.data.synthetic.writers import coco
from pipeline.errors import UserError

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
)
SOURCES = tuple(PARAMS.sizes)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    for source in SOURCES:
        (root / source).mkdir()
        generate.write(source, root / source, PARAMS)
    return root


def zipped_json(path: Path, name: str) -> object:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(name))


def decoded(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def test_the_same_bytes_again(world: Path, tmp_path: Path) -> None:
    for source in SOURCES:
        generate.write(source, tmp_path / source, PARAMS)
    written = sorted(path.relative_to(world) for path in world.rglob("*") if path.is_file())
    assert written == sorted(
        path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert all((world / path).read_bytes() == (tmp_path / path).read_bytes() for path in written)


def test_evaluation_combinations_occur_in_no_training_scene() -> None:
    training = [
        scene.sample(1, stream, i, 48) for stream in ("coco/train", "vg/train") for i in range(300)
    ]
    training += [
        scene.sample(1, "imagenet22k/x", i, 48, single=("star", "red")) for i in range(100)
    ]
    evaluation = [scene.sample(1, "flickr30k/test", i, 48, evaluation=True) for i in range(100)]
    assert not {scene.combination(s) for s in training} & {scene.combination(s) for s in evaluation}
    assert all(
        captioned_images.scene_at(PARAMS, "coco", part, 0)
        != captioned_images.scene_at(PARAMS, "flickr30k", part, 0)
        for part in ("train", "val", "test")
    )
    parts = {
        part: scene.is_evaluation(captioned_images.scene_at(PARAMS, "coco", part, 1))
        for part in PARAMS.sizes["coco"]
    }
    assert parts == {"train": False, "restval": False, "val": True, "test": True}


def test_combination_forgets_order_and_place() -> None:
    star = Thing("star", "red", "plain", "small", 0.2, 0.3, 0)
    ring = Thing("ring", "blue", "dotted", "large", 0.7, 0.6, 5)
    moved = replace(star, x=0.8, y=0.8, tilt=9.0)
    one, other = Scene("sea", (star, ring), 48, 48, 1), Scene("sea", (ring, moved), 40, 48, 2)
    assert scene.combination(one) == scene.combination(other)
    assert scene.combination(one) != scene.combination(replace(one, background="snow"))


def test_every_attribute_and_nearly_every_pair_is_seen_in_training() -> None:
    seen = Counter()
    for i in range(1500):
        world = scene.sample(2, "cc3m/train", i, 48)
        for thing in world.things:
            facts = (thing.shape, thing.color, thing.texture, thing.size, world.background)
            seen.update(facts)
            seen.update(combinations(facts, 2))
    values = (scene.SHAPES, scene.COLORS, scene.TEXTURES, tuple(scene.SIZES), scene.BACKGROUNDS)
    assert all(seen[value] for group in values for value in group)
    pairs = [(x, y) for a, b in combinations(values, 2) for x in a for y in b]
    assert sum(seen[pair] > 0 for pair in pairs) > 0.99 * len(pairs)


def test_things_stay_in_the_picture_and_apart() -> None:
    for i in range(300):
        world = scene.sample(3, "x", i, 60)
        assert 1 <= len(world.things) <= 4 and max(world.width, world.height) == 60
        for thing in world.things:
            left, top, width, height = render.box(thing, world)
            assert (
                left >= -1
                and top >= -1
                and left + width <= world.width + 1
                and top + height <= world.height + 1
            )
        for a, b in combinations(range(len(world.things)), 2):
            opposite = {
                "left": "right",
                "right": "left",
                "above": "below",
                "below": "above",
                "around": "inside",
                "behind": "front",
            }
            assert scene.relation(world, b, a) == opposite[scene.relation(world, a, b)]


@pytest.mark.parametrize(
    ("color", "rgb"), [("red", (222, 28, 36)), ("blue", (32, 84, 224)), ("white", (250, 250, 250))]
)
def test_a_plain_thing_has_its_color_where_it_stands(color: str, rgb: tuple[int, int, int]) -> None:
    world = Scene("night", (Thing("square", color, "plain", "large", 0.3, 0.6, 0),), 72, 72, 4)
    pixels = np.asarray(render.render(world)).astype(int)
    assert pixels.shape == (72, 72, 3)
    assert np.abs(pixels[43, 22] - rgb).max() < 20
    assert np.abs(pixels[10, 60] - rgb).max() > 100


def test_a_ring_shows_what_is_behind() -> None:
    world = Scene("snow", (Thing("ring", "black", "plain", "large", 0.5, 0.5, 0),), 72, 72, 4)
    assert np.asarray(render.render(world))[36, 36].min() > 150


def test_later_things_are_in_front() -> None:
    back, front = (
        Thing("square", c, "plain", s, 0.5, 0.5, 0)
        for c, s in (("red", "large"), ("blue", "small"))
    )
    world = Scene("sea", (back, front), 72, 72, 1)
    assert scene.relation(world, 1, 0) == "inside" and scene.relation(world, 0, 1) == "around"
    assert np.asarray(render.render(world))[36, 36].argmax() == 2


def test_flickr30k(world: Path) -> None:
    data = zipped_json(world / "flickr30k/caption_datasets.zip", "dataset_flickr30k.json")
    assert Counter(image["split"] for image in data["images"]) == {"train": 34, "val": 4, "test": 6}
    with tarfile.open(world / "flickr30k/flickr30k-images.tar.gz") as archive:
        pictures = {member.name: archive.extractfile(member).read() for member in archive}
    assert all(re.fullmatch(r"flickr30k-images/\d{10}\.jpg", name) for name in pictures)
    missing = [
        image for image in data["images"] if f"flickr30k-images/{image['filename']}" not in pictures
    ]
    empty = [
        image for image in data["images"] if not all(s["raw"].strip() for s in image["sentences"])
    ]
    assert [len(missing), len(empty)] == [1, 1] and {
        image["split"] for image in missing + empty
    } == {"train"}
    assert len(pictures) == 44 - 1 + 2
    assert all(
        len(image["sentences"]) == 5
        and [s["sentid"] for s in image["sentences"]] == image["sentids"]
        for image in data["images"]
    )
    assert all(max(decoded(data).size) == 48 for data in pictures.values())


def test_coco(world: Path) -> None:
    data = zipped_json(world / "coco/caption_datasets.zip", "dataset_coco.json")["images"]
    assert Counter(image["split"] for image in data) == {
        "train": 34,
        "restval": 5,
        "val": 4,
        "test": 4,
    }
    members = {}
    for year in ("train2014", "val2014"):
        with zipfile.ZipFile(world / f"coco/{year}.zip") as archive:
            members |= {name: archive.read(name) for name in archive.namelist()}
    assert set(members) == {f"{image['filepath']}/{image['filename']}" for image in data}
    official = {}
    for year in ("train2014", "val2014"):
        captions = zipped_json(
            world / "coco/annotations_trainval2014.zip", f"annotations/captions_{year}.json"
        )
        known = {image["id"] for image in captions["images"]}
        assert [image["id"] for image in captions["images"]] != [
            a["image_id"] for a in captions["annotations"]
        ]
        official |= {
            a["id"]: (a["image_id"], a["caption"])
            for a in captions["annotations"]
            if a["image_id"] in known
        }
    assert official == {
        s["sentid"]: (image["cocoid"], s["raw"]) for image in data for s in image["sentences"]
    }
    broken = (
        f"train2014/COCO_train2014_{coco.image_id('train', injected_faults.TRUNCATED):012d}.jpg"
    )
    with pytest.raises(OSError, match="truncated"):
        decoded(members[broken])
    assert all(decoded(members[name]) for name in members if name != broken)


def test_vg(world: Path) -> None:
    metadata = zipped_json(world / "vg/image_data.json.zip", "image_data.json")
    regions = zipped_json(world / "vg/region_descriptions.json.zip", "region_descriptions.json")
    assert [entry["image_id"] for entry in metadata] == [entry["id"] for entry in regions]
    stored = set()
    for name, folder in (("images.zip", "VG_100K"), ("images2.zip", "VG_100K_2")):
        with zipfile.ZipFile(world / "vg" / name) as archive:
            assert all(member.startswith(f"{folder}/") for member in archive.namelist())
            stored |= set(archive.namelist())
    told = {"/".join(entry["url"].split("/")[-2:]) for entry in metadata}
    assert len(told - stored) == 1 and len(stored - told) == 1
    for entry, size in zip(regions, metadata, strict=True):
        assert 6 <= len(entry["regions"]) <= 10
        assert all(
            region["phrase"].strip() and -1 <= region["x"] <= size["width"]
            for region in entry["regions"]
        )
    shared = [entry["coco_id"] for entry in metadata if entry["coco_id"] is not None]
    training = {coco.image_id("train", i) for i in range(PARAMS.count("coco", "train"))}
    assert shared and set(shared) <= training


def test_imagenet22k(world: Path) -> None:
    pictures, broken = {}, []
    with tarfile.open(world / "imagenet22k/fall11_whole.tar") as outer:
        names = outer.getnames()
        for name in names:
            with tarfile.open(fileobj=outer.extractfile(name)) as inner:
                pictures |= {member.name: inner.extractfile(member).read() for member in inner}
    assert (
        len(names) == 12
        and names == sorted(names)
        and all(re.fullmatch(r"n\d{8}\.tar", name) for name in names)
    )
    modes = Counter()
    for name, data in pictures.items():
        assert re.fullmatch(r"n\d{8}_\d+\.JPEG", name)
        try:
            modes[decoded(data).mode] += 1
        except OSError:
            broken.append(name)
    assert len(broken) == 1 and modes["RGB"] > 10


def test_too_many_classes_are_refused(tmp_path: Path) -> None:
    sizes = PARAMS.sizes | {"imagenet22k": {"classes": 1000, "largest": 2}}
    with pytest.raises(UserError, match="imagenet22k.classes"):
        generate.write("imagenet22k", tmp_path, SyntheticParams(1, 48, 80, sizes))


def test_a_missing_size_is_named() -> None:
    with pytest.raises(UserError, match=r"synthetic\.sizes\.coco\.val"):
        SyntheticParams(1, 48, 80, {"coco": {"train": 1}}).count("coco", "val")


def test_wikipedia_is_multistream_xml(world: Path) -> None:
    raw = (world / "wikipedia/enwiki-20220301-pages-articles-multistream.xml.bz2").read_bytes()
    streams, rest = 0, raw
    while rest:
        decompressor = bz2.BZ2Decompressor()
        decompressor.decompress(rest)
        rest, streams = decompressor.unused_data, streams + 1
    assert streams >= 3
    root = ElementTree.fromstring(bz2.decompress(raw))
    pages = [
        {child.tag.rpartition("}")[2]: child for child in page}
        for page in root
        if page.tag.endswith("}page")
    ]
    articles = [page for page in pages if page["ns"].text == "0" and "redirect" not in page]
    assert len(articles) == 70 and {page["ns"].text for page in pages} == {"0", "1", "10"}
    assert any("redirect" in page for page in pages)
    assert len({page["id"].text for page in pages}) == len(pages)


def test_bookcorpus(world: Path) -> None:
    lines = [
        line
        for part in (1, 2)
        for line in (world / f"bookcorpus/books_large_p{part}.txt")
        .read_text(encoding="utf-8")
        .splitlines()
    ]
    assert len(lines) == 300
    assert all(line == line.lower() and line == " ".join(line.split()) for line in lines)
    assert not any(re.search(r"\w[.,?]", line) for line in lines)


def test_cc3m_and_sbu_lists(world: Path) -> None:
    text = (world / "cc3m/Train_GCC-training.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    assert (
        len(rows) == 50
        and all(len(row) == 2 for row in rows)
        and len({url for _, url in rows}) == 50
    )
    assert all(caption == caption.lower() and caption.endswith(" .") for caption, _ in rows)
    with tarfile.open(world / "sbu/sbu-captions-all.tar.gz") as archive:
        table = json.load(archive.extractfile("sbu-captions-all.json"))
    assert {key: len(values) for key, values in table.items()} == {
        "image_urls": 45,
        "user_ids": 45,
        "captions": 45,
    }


def test_every_url_answers_its_picture_or_its_fault(world: Path) -> None:
    answer = generate.url_responder("cc3m", PARAMS)
    rows = (world / "cc3m/Train_GCC-training.tsv").read_text(encoding="utf-8").splitlines()
    bodies = [answer(row.split("\t")[1]) for row in rows]
    assert [i for i, body in enumerate(bodies) if body is None] == [39]
    assert bodies[11].startswith(b"<!DOCTYPE") and bodies[37] == b""
    good = [i for i in range(50) if i not in (11, 23, 37, 39)]
    assert all(
        decoded(bodies[i]).size
        == (lambda s: (s.width, s.height))(captioned_images.scene_at(PARAMS, "cc3m", "train", i))
        for i in good
    )
    with pytest.raises(OSError, match="truncated"):
        decoded(bodies[23])
    assert answer("http://images.cc3m.example/train/000050.jpg") is None
    assert (
        generate.url_responder("sbu", PARAMS)(
            "http://static.flickr.com/1000/2000000019_0000000000.jpg"
        )
        is None
    )


def test_server_is_a_proxy() -> None:
    bodies = {"http://a.example/x.jpg": b"picture", "http://b.example/y?z=1": b""}
    with url_server.serve(bodies.get) as proxy:
        client = build_opener(ProxyHandler({"http": proxy}))
        assert [client.open(url, timeout=10).read() for url in bodies] == [b"picture", b""]
        with pytest.raises(HTTPError, match="404"):
            client.open("http://a.example/other.jpg", timeout=10)


def test_contact_sheet() -> None:
    sheet = contact_sheet(PARAMS, rows=2, columns=3)
    assert sheet.width > 3 * 48 * 3 and sheet.height > 2 * 48 * 3
