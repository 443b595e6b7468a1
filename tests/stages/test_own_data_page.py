"""docs/own-data.md from its first line to the last, on a hundred images of one's own."""

import csv
import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.data.synthetic.captioned_images import captioned_images
from pipeline.data.synthetic.generate import write as generate
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.inference import predictor
from pipeline.tracking import client as tracking
from stages import scale
from tests.helpers import tiny
from tests.helpers.blocks import leaves, replaced, value_at
from tests.helpers.doc_examples import run_example
from tests.helpers.worlds import FULL

PAGE = "docs/own-data.md"
IMAGES, BOOKS = 100, 5
# what is shortened: the steps, not the data
CHANGES = {
    "visual_tokenizer": {"steps": 4, "warmup_steps": 1},
    "pretrain.budgets.main": {"steps": 4, "warmup_steps": 1, "threads": 1},
    "finetune.coco": {"steps": 4, "warmup_steps": 1},
    "finetune.imagenet22k": {"steps": 4, "warmup_steps": 1},
}


def commands(heading: str) -> list[str]:
    """Shell commands under a heading of the page."""
    text = (tiny.ROOT / PAGE).read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        for line in block.splitlines()
    ]


def write_own_data(root: Path) -> None:
    """Images with captions, class folders and texts, as somebody has them."""
    sizes = {"coco": {"train": IMAGES}, "bookcorpus": {"lines": 3000}}
    world = SyntheticParams(1, 96, 90, sizes, world=FULL)
    lines = []
    for image in captioned_images(world, "coco", "train"):
        data = image.jpeg(world)
        name = f"Urlaub {image.index}.jpg"
        write(root / "own/images/train2014" / name, data)
        kind = ("cats", "dogs & co")[image.index % 2]
        write(root / f"own/classes/train/{kind}/{image.index}.JPG", data)
        lines += [[name, caption] for caption in image.captions]
    with open(root / "own/captions.csv", "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([["image", "caption"], *lines])
    (root / "world").mkdir()
    generate("bookcorpus", root / "world", world)
    texts = [path.read_text() for path in sorted((root / "world").glob("*.txt"))]
    # of BookCorpus's form, words between blanks; back to that of a book
    sentences = [line.capitalize().replace(" .", ".") for line in "".join(texts).splitlines()]
    for number in range(BOOKS):
        text = "\r\n".join(sentences[number::BOOKS])
        write(root / f"own/texts/book {number}.txt", text.encode("utf-16"))


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with the preset's file and the data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(tracking, "installed", lambda: False)
    tiny.write(tmp_path, tiny.settings())
    (tmp_path / "params").mkdir()
    for preset in ("own", "small"):
        content = (tiny.ROOT / f"params/{preset}.yaml").read_bytes()
        (tmp_path / f"params/{preset}.yaml").write_bytes(content)
    (tmp_path / "params.yaml").write_bytes((tmp_path / "params/small.yaml").read_bytes())
    write_own_data(tmp_path)
    return tmp_path


def shorten() -> None:
    """Fewer steps in params.yaml."""
    tree = YAML(typ="safe", pure=True).load(Path("params.yaml"))
    for key, changes in CHANGES.items():
        path = tuple(key.split("."))
        tree = replaced(tree, path, {**value_at(tree, path), **changes})
    with open("params.yaml", "w", encoding="utf-8") as file:
        YAML().dump(tree, file)


def run_until(name: str) -> None:
    """What `dvc repro evaluate@NAME` runs."""
    for source in tiny.SOURCES:
        tiny.run("download", source)
    tiny.run("released_weights")
    tiny.run("decontamination")
    for source in tiny.SOURCES:
        tiny.run("shard", source)
    tiny.run("text_tokenizer")
    for source in ("wikipedia", "bookcorpus"):
        tiny.run("text_tokens", source)
    tiny.run("visual_tokenizer")
    for source in ("imagenet22k", "cc3m", "sbu", "coco", "vg"):
        tiny.run("visual_tokens", source)
    tiny.run("pretrain", "main")
    tiny.run("finetune", name)
    tiny.run("evaluate", name)


@pytest.mark.slow
def test_the_page_from_the_first_line_to_the_last(project):
    run_example(PAGE, "1. The files")
    (make, reproduce) = commands("2. Train")
    assert make == "make scale SCALE=own" and reproduce == "dvc repro evaluate@coco"
    scale.main("own")
    shorten()
    run_until("coco")
    index = json.loads(Path("data/own/shards/coco/index.json").read_text())["splits"]
    assert index["train"]["rows"] + index["val"]["rows"] == IMAGES and index["val"]["rows"] > 1
    result = json.loads(Path("results/own/evaluate/coco.json").read_text())
    assert result["images"] == index["val"]["rows"]
    assert commands("3. Use it") == ["python -m stages.export coco"]
    tiny.run("export", "coco")
    card = Path("exports/own/coco/README.md").read_text()
    assert "your own files: their terms" in card and "files of the people who trained it" in card
    searcher = predictor.load("exports/own/coco")
    assert searcher.tokenizer is not None


@pytest.mark.slow
def test_class_folders(project):
    run_example(PAGE, "1. The files")
    scale.main("own")
    documented = YAML(typ="safe").load(yaml_of("Classes"))
    shorten()
    tree = YAML(typ="safe", pure=True).load(Path("params.yaml"))
    for path in leaves(documented):
        tree = replaced(tree, path, value_at(documented, path))
    with open("params.yaml", "w", encoding="utf-8") as file:
        YAML().dump(tree, file)
    assert commands("Classes") == ["dvc repro evaluate@imagenet22k"]
    run_until("imagenet22k")
    assert json.loads(Path("results/own/evaluate/imagenet22k.json").read_text())["images"] > 0
    tiny.run("export", "imagenet22k")
    names = json.loads(Path("exports/own/imagenet22k/classes.json").read_text())
    assert names == ["cats", "dogs & co"]


def yaml_of(heading: str) -> str:
    text = (tiny.ROOT / PAGE).read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2]
    return re.search(r"```yaml\n(.*?)```", section, re.DOTALL)[1]


def test_every_key_that_the_page_names_is_there():
    """Also those that stand in part, as the end of a key."""
    text = (tiny.ROOT / PAGE).read_text(encoding="utf-8")
    tree = YAML(typ="safe", pure=True).load(tiny.ROOT / "params/own.yaml")
    known = {".".join(path[:end]) for path in leaves(tree) for end in range(1, len(path) + 1)}
    table = text.partition("## What to change")[2]
    for name in set(re.findall(r"`([a-z_0-9.]+)[`:]", table)) - {"params.yaml", "val"}:
        assert any(key == name or key.endswith(f".{name}") for key in known), name
