"""A project folder with tiny settings, and its stages run in this process in dvc.yaml's order."""

from importlib import import_module
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "cc3m",
    "sbu",
    "coco",
    "vg",
    "imagenet22k",
    "wikipedia",
    "bookcorpus",
    "flickr30k",
    "imagenet1k",
    "vqav2",
    "nlvr2",
    "ade20k",
)
PARTS = (
    "coco-test",
    "flickr30k-test",
    "vqav2-test",
    "nlvr2-test",
    "imagenet1k-test",
    "ade20k-test",
)
VARIANTS = ("main", "all", "mvlm", "mvlm_mim", "mvlm_mlm", "mim_mlm", "standard", "none")
ABLATIONS = VARIANTS[1:]
IMPORTS = ("vlmo-coco", "beit3-vqa", "beit-ade20k")
PRETRAINED = (  # fine-tunes of `main`
    "vqa",
    "nlvr2",
    "coco",
    "flickr30k",
    "flickr30k-coco",
    "imagenet22k",
    "imagenet1k",
    "ade20k",
)
ITEMS = (
    *PRETRAINED,
    *(f"{block}-{variant}" for variant in ABLATIONS for block in ("nlvr2", "flickr30k")),
)

SIZES = {
    "cc3m": {"train": 60, "val": 4},
    "sbu": {"train": 50},
    "coco": {"train": 24, "restval": 12, "val": 12, "test": 4},
    "vg": {"train": 32},
    "imagenet22k": {"classes": 12, "largest": 6},
    "wikipedia": {"pages": 40},
    "bookcorpus": {"lines": 900},
    "flickr30k": {"train": 36, "val": 8, "test": 10, "unsplit": 2},
    "imagenet1k": {"classes": 6, "train": 8, "val": 3},
    "vqav2": {"train": 34, "restval": 8, "test": 10},
    "nlvr2": {"train": 8, "val": 2, "test": 2},
    "ade20k": {"train": 34, "val": 6},
    "coco-test": {"test": 4},
    "flickr30k-test": {"test": 4},
    "vqav2-test": {"restval": 4, "test": 4},
    "nlvr2-test": {"val": 1, "test": 1},
    "imagenet1k-test": {"classes": 6, "val": 1},
    "ade20k-test": {"val": 2},
}


LOOP = {"log_every": 2, "evaluate_every": 2, "checkpoint_every": 2}
ORDER = {"streams": 2, "shuffle_block": 2, "batch_size": 4}


def preset(name):
    """The parameters of a preset."""
    return YAML(typ="safe", pure=True).load(ROOT / "params" / f"{name}.yaml")


def settings():
    """The small preset, much smaller, of medium's world; one pass through every component."""
    tree, medium = preset("small"), preset("medium")
    world = medium["synthetic"]["world"]
    tree["synthetic"] |= {"image_size": 40, "sizes": SIZES, "world": world}
    without_val = ("sbu", "vg", "imagenet22k", "wikipedia", "bookcorpus")
    for source in without_val:
        tree["shard"][source]["val_fraction"] = 0.15
    shrink(tree)
    tree["finetune"]["ade20k"]["head"]["classes"] = medium["finetune"]["ade20k"]["head"]["classes"]
    tree["evaluate"]["ade20k"]["names"] = medium["evaluate"]["ade20k"]["names"]
    tree["imports"]["beit3-vqa"] |= {"classes": 3}  # answers that occur often enough
    tree["imports"]["beit-ade20k"] |= {"classes": 20}  # of its world
    return tree


def shrink(tree):
    """Give the stages of a preset tiny models and a few steps, one thread each."""
    tree["shard"]["common"] |= {"rows_per_group": 8}
    tree["text_tokenizer"]["vocab_size"] = 600
    tree["text_tokens"] |= {"rows_per_group": 8}
    tokenizer = tree["visual_tokenizer"]
    tokenizer["dimensions"] |= {"image_size": 24, "patch_size": 8, "depth": 1, "embed_dim": 16}
    tokenizer["dimensions"] |= {"codebook_size": 16, "codebook_dim": 8}
    tokenizer |= {"codebook_start_step": 2, "evaluation_images": 8, "threads": 1}
    tokenizer["order"] |= {**ORDER, "batch_size": 8}
    tokenizer |= {"steps": 6, "warmup_steps": 1}
    tree["visual_tokens"]["common"] |= {"threads": 1}
    _shrink_pretraining(tree["pretrain"])
    _shrink_fine_tunes(tree["finetune"])
    tree["imported_size"] |= {"embed_dim": 16, "mlp_dim": 32}
    tree["evaluate"]["common"] |= {"threads": 1}
    for data in SIZES.keys() & tree["evaluate"].keys():
        tree["evaluate"][data] |= {"batch": 8}
    for data in ("flickr30k", "coco"):
        tree["evaluate"][data] |= {"rerank_k": 3}


def _shrink_pretraining(block):
    common = block["common"]
    common["dimensions"] |= {"image_size": 24, "patch_size": 8, "depth": 2, "embed_dim": 16}
    common["dimensions"] |= {"num_heads": 2, "mlp_dim": 32, "drop_path": 0.1}
    for stream in common["data"].values():
        stream["order"] |= ORDER
    common["masks"] |= {"num_masked_patches": 4, "min_block": 1}
    common["loop"] |= {**LOOP, "gradient_accumulation": 1, "evaluate_every": 4}
    common["validation"] |= {"samples": 6, "batch": 4}
    for name, budget in block["budgets"].items():
        budget |= {"num_workers": 0, "threads": 1}
        budget.pop("loop", None)  # of several workers
        if name != "none":
            budget |= {"steps": 4, "warmup_steps": 1}


def _shrink_fine_tunes(block):
    block["common"] |= {"threads": 1}
    for tune in block.values():
        if "steps" in tune:
            tune |= {"steps": 4, "warmup_steps": 1}
        if "drop_path" in tune:
            tune |= {"drop_path": 0.1}
        if "loop" in tune:
            tune["loop"] |= LOOP
        if "matching_every" in tune:
            tune |= {"matching_every": 1}
        if "image_size" in tune.get("inputs", {}):
            tune["inputs"] |= {"image_size": 32}
        if "order" in tune.get("inputs", {}):
            tune["inputs"]["order"] |= ORDER
        if isinstance(augment := tune.get("inputs", {}).get("rand_augment"), dict):
            augment |= {"ops": 2}
    block["vqa"] |= {"min_answer_count": 3}
    classification = block["classification"]["inputs"]
    classification |= {"image_size": 24, "resize": 28, "rand_augment": "rand-m9-mstd0.5-inc1"}
    classification["mixing"] |= {"mixup": 0.8, "cutmix": 1.0}
    block["imagenet22k"] |= {"classes": 12}
    block["imagenet1k"] |= {"classes": 6}
    segmentation = block["ade20k"]
    segmentation |= {"evaluation_images": 3, "evaluation_batch": 8}
    segmentation["inputs"] |= {"long_side": 128, "short_side": 32, "stride": 21}
    segmentation["head"] |= {"layers": [0, 0, 1, 1]}  # the backbone has two blocks


def write(folder, tree):
    """A project folder: params.yaml and the list of fine-tunes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fine_tunes.yaml").write_bytes((ROOT / "fine_tunes.yaml").read_bytes())
    with open(folder / "params.yaml", "w", encoding="utf-8") as file:
        YAML().dump(tree, file)


def stages():
    """All stages of dvc.yaml with their items, in an order that respects dependencies."""
    yield from (("download", source) for source in SOURCES + PARTS)
    yield ("released_weights",)
    yield ("decontamination",)
    yield from (("shard", source) for source in SOURCES + PARTS)
    yield ("text_tokenizer",)
    yield from (("text_tokens", source) for source in ("wikipedia", "bookcorpus"))
    yield ("visual_tokenizer",)
    yield from (
        ("visual_tokens", source) for source in ("imagenet22k", "cc3m", "sbu", "coco", "vg")
    )
    yield from (("pretrain", variant) for variant in VARIANTS)
    for name in ("finetune", "evaluate"):
        yield from ((name, item) for item in ITEMS)
    yield from (("imports", name) for name in IMPORTS)
    yield from (("evaluate", name) for name in IMPORTS)
    yield ("table",)


def run(name, *words):
    """One stage in the current folder."""
    import_module(f"stages.{name}").main(*words)
