"""What a pretraining or the visual tokenizer lacks is said in one line before it starts."""

from pathlib import Path

import pytest

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.pretraining import job, requirements, variants
from pipeline.pretraining.data import DataFolders
from pipeline.tokenizers import vqkd_training
from pipeline.utils import workdir
from tests.helpers import tiny
from tests.helpers.indices import GROUPS, write_index

IMAGES = ("cc3m", "sbu", "coco", "vg", "imagenet22k", "imagenet1k")
TEXTS = ("wikipedia", "bookcorpus")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes params.yaml and indices; `splits` are those of a source."""
    monkeypatch.chdir(tmp_path)

    def write(change=None, splits=None):
        tree = tiny.settings()
        if change is not None:
            change(tree)
        tiny.write(tmp_path, tree)
        folders = DataFolders.of("small")
        for source in (*IMAGES, *TEXTS):
            has = (splits or {}).get(source, ("train", "val"))
            write_index(folders.shards / source, has)
            write_index(folders.text_tokens / source, has, max_length=48)

    return write


def check(variant="main"):
    requirements.check(DataFolders.of("small"), variants.load_params(params.read(), variant))


def check_tokenizer():
    vqkd_training.check(Path("data/small/shards"), vqkd_training.load_params(params.read()))


def setter(path, value):
    def change(tree):
        *parents, last = path.split(".")
        for key in parents:
            tree = tree[key]
        tree[last] = value

    return change


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (tiny.ROOT / "params").glob("*.yaml"))
)
def test_presets_learn_from_no_data_set_that_they_do_without(name):
    tree = tiny.preset(name)
    common = tree["pretrain"]["common"]
    listed = [tree["visual_tokenizer"]["sources"]]
    listed += [stream["sources"] for stream in common["data"].values()]
    used = {*tree["text_tokenizer"]["sources"]}
    for sources in listed:
        used |= {source for source, passes in sources.items() if passes}
    for stream in ("texts", "images", "pairs"):
        used |= {*common["validation"][stream]}
    assert [source for source in used if tree["download"][source]["origin"] == "none"] == []


def test_what_is_complete_passes(project):
    project()
    for variant in tiny.VARIANTS:
        check(variant)
    check_tokenizer()


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("source", ["wikipedia", "bookcorpus", "coco", "imagenet22k"])
def test_a_source_without_a_split_is_named(project, source, split):
    project(splits={source: tuple({"train", "val"} - {split})})
    with pytest.raises(
        UserError, match=rf"^params.yaml: pretrain.common.*{source}/index.json: "
    ) as caught:
        check()
    line = str(caught.value)
    assert "\n" not in line and f"no split '{split}'" in line
    assert (f"shard.{source}.val_fraction" in line) == (split == "val")


@pytest.mark.parametrize("source", ["coco", "imagenet22k"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_the_visual_tokenizer_needs_both_splits(project, source, split):
    project(splits={source: tuple({"train", "val"} - {split})})
    with pytest.raises(UserError, match=rf"^params.yaml: visual_tokenizer.sources: .*{source}"):
        check_tokenizer()


def test_a_source_that_is_not_used_may_be_empty(project):
    project(
        lambda tree: tree["pretrain"]["common"]["data"]["pairs"]["sources"].update(vg=0),
        splits={"vg": ()},
    )
    check()


def test_a_variant_needs_the_streams_that_it_learns_from(project):
    project(setter("pretrain.common.data.texts.sources", {"wikipedia": 0}))
    check("mvlm")
    with pytest.raises(UserError, match=r"data.texts.sources: none, but the variant learns"):
        check("main")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            "pretrain.common.dimensions.image_size",
            25,
            "dimensions: image_size 25 is not a multiple of patch_",
        ),
        (
            "pretrain.common.dimensions.num_heads",
            3,
            "dimensions: embed_dim 16 is not a multiple of num_heads 3",
        ),
        ("pretrain.common.masks.num_masked_patches", 10, "num_masked_patches: 10, .* 9 patches"),
        (
            "pretrain.common.dimensions.caption_length",
            49,
            "caption_length: more than text_length 48",
        ),
        (
            "pretrain.common.dimensions.text_length",
            47,
            "text_length: 47, but text_tokens.max_length is 48",
        ),
        ("pretrain.common.architecture.vl_ffn_start_layer", 2, "vl_ffn_start_layer: 2, but depth"),
        ("pretrain.common.loop.gradient_accumulation", 3, "2 streams cannot be shared by 3 micro"),
        ("pretrain.common.data.texts.order.batch_size", 5, "batch_size 5 is not a multiple"),
        ("pretrain.budgets.main.steps", 0, "steps: at least 1 with objectives"),
    ],
)
def test_sizes_that_do_not_fit_are_named(project, path, value, words):
    project(setter(path, value))
    with pytest.raises(UserError, match=words) as caught:
        check()
    assert str(caught.value).startswith("params.yaml: pretrain.") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        ("pretrain.common.validation.texts", ["wikipedia"], True),
        ("pretrain.common.validation.samples", 7, True),
        ("pretrain.common.loop.evaluate_every", 3, True),
        ("pretrain.common.loop.log_every", 3, True),
        ("pretrain.common.lr", 0.5, False),
        ("visual_tokenizer.evaluation_images", 3, True),
        ("visual_tokenizer.loop.evaluate_every", 3, True),
        ("visual_tokenizer.seed", 3, False),
    ],
)
def test_parameters_of_validation_are_none_of_the_training(project, path, value, same):
    """Steps that were trained are kept when they change."""

    def name():
        settings = variants.load_params(params.read(), "main")
        tokenizer = vqkd_training.load_params(params.read())
        both = [job.work_params(settings), vqkd_training.work_params(tokenizer)]
        return [workdir.fingerprint("small/x", tree, []) for tree in both]

    project()
    before = name()
    project(setter(path, value))
    assert (name() == before) == same


def test_more_streams_than_row_groups(project):
    def change(tree):
        order = tree["pretrain"]["common"]["data"]["images"]["order"]
        order.update(streams=GROUPS + 2, batch_size=GROUPS + 2)

    project(change)
    with pytest.raises(
        UserError, match=f"{GROUPS} row groups are too few for {GROUPS + 2} streams"
    ):
        check()


@pytest.mark.parametrize("key", ["image_size", "embed_dim"])
def test_sizes_of_the_visual_tokenizer(project, key):
    project(setter(f"visual_tokenizer.dimensions.{key}", 25))
    with pytest.raises(
        UserError, match="^params.yaml: visual_tokenizer.dimensions: image_size must be"
    ):
        check_tokenizer()


def test_patches_that_the_teacher_cannot_divide(project):
    def change(tree):
        tree["visual_tokenizer"]["dimensions"].update(image_size=27, patch_size=9)

    project(change)
    with pytest.raises(
        UserError, match=r"^params.yaml: visual_tokenizer.dimensions.patch_size: 9, but the teacher"
    ):
        check_tokenizer()
