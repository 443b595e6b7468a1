"""A project folder with tiny settings, and its stages run in this process in dvc.yaml's order."""

from importlib import import_module
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.config import params

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
VARIANTS = ("main", "all", "mvlm", "mvlm_mim", "mvlm_mlm", "mim_mlm", "standard", "none")
ABLATIONS = VARIANTS[1:]
ITEMS = (
    "vqa",
    "nlvr2",
    "coco",
    "flickr30k",
    "flickr30k-coco",
    "imagenet22k",
    "imagenet1k",
    "ade20k",
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
}


def settings():
    """params.yaml's small block, much smaller; one pass through every component."""
    tree = params.inherited(YAML(typ="safe", pure=True).load(ROOT / "params.yaml"))
    small = tree["small"]
    small["world"] |= {"image_size": 40, "sizes": SIZES}
    for block in small["shard"].values():
        block |= {"rows_per_group": 8, "holdout": 0.15}
    for source in ("cc3m", "coco", "flickr30k", "imagenet1k", "vqav2", "nlvr2", "ade20k"):
        small["shard"][source]["holdout"] = 0.0
    small["text_tokenizer"]["vocab_size"] = 600
    small["text_tokens"] |= {"rows_per_group": 8}
    tokenizer = small["visual_tokenizer"]
    tokenizer["size"] |= {"image_size": 24, "depth": 1, "width": 16, "codes": 16, "code_dim": 8}
    tokenizer |= {"delay": 2, "evaluation_pictures": 8, "threads": 1}
    tokenizer["order"] |= {"lanes": 2, "window": 2, "batch": 8}
    tokenizer["optim"] |= {"steps": 6, "warmup_steps": 1}
    small["visual_tokens"] |= {"threads": 1}
    common = small["pretrain"]["common"]
    common["size"] |= {
        "image_size": 24,
        "depth": 2,
        "width": 16,
        "heads": 2,
        "ffn_width": 32,
        "drop_path": 0.1,
    }
    for stream in common["streams"].values():
        stream["order"] |= {"lanes": 2, "window": 2, "batch": 4}
    common["masks"] |= {"patches": 4, "min_block": 1}
    common["loop"] |= {
        "micro_batches": 1,
        "log_every": 2,
        "evaluate_every": 4,
        "checkpoint_every": 2,
    }
    common["held_out"] |= {"units": 6, "batch": 4}
    for variant in small["pretrain"]["variants"].values():
        variant |= {"num_workers": 0, "threads": 1}
        if variant["objectives"]:
            variant |= {"steps": 4, "warmup_steps": 1}
    for tune in small["finetune"].values():
        tune |= {"steps": 4, "warmup_steps": 1, "threads": 1, "drop_path": 0.1}
        tune["inputs"] |= {"image_size": 32}
        tune["inputs"]["order"] |= {"lanes": 2, "window": 2, "batch": 4}
        tune["loop"] |= {"log_every": 2, "evaluate_every": 2, "checkpoint_every": 2}
    for chosen in small["evaluate"].values():
        chosen |= {"threads": 1, "batch": 8}
    for data in ("flickr30k", "coco", "vqa", "nlvr2"):
        small["finetune"][data]["inputs"]["rand_augment"] |= {"ops": 2}
    for data in ("flickr30k", "coco"):
        small["evaluate"][data] |= {"rerank_k": 3}
    small["finetune"]["vqa"] |= {"min_answer_count": 3}
    for data, classes in (("imagenet22k", 12), ("imagenet1k", 6)):
        small["finetune"][data] |= {"classes": classes}
        small["finetune"][data]["inputs"] |= {
            "image_size": 24,
            "resize": 28,
            "rand_augment": "rand-m9-mstd0.5-inc1",
        }
        small["finetune"][data]["inputs"]["mixing"] |= {"mixup": 0.8, "cutmix": 1.0}
    segmentation = small["finetune"]["ade20k"]
    segmentation |= {"evaluation_pictures": 3, "evaluation_batch": 8}
    segmentation["inputs"] |= {"long_side": 128, "short_side": 32, "stride": 21}
    segmentation["head"] |= {"layers": [0, 0, 1, 1]}  # the backbone has two blocks
    return tree


def write(folder, tree):
    """A project folder: params.yaml alone."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "params.yaml", "w", encoding="utf-8") as file:
        YAML().dump(tree, file)


def stages():
    """All stages of dvc.yaml with their items, in an order that respects dependencies."""
    yield ("params",)
    yield from (("download", source) for source in SOURCES)
    yield ("released_weights",)
    yield ("decontamination",)
    yield from (("shard", source) for source in SOURCES)
    yield ("text_tokenizer",)
    yield from (("text_tokens", source) for source in ("wikipedia", "bookcorpus"))
    yield ("visual_tokenizer",)
    yield from (
        ("visual_tokens", source) for source in ("imagenet22k", "cc3m", "sbu", "coco", "vg")
    )
    yield from (("pretrain", variant) for variant in VARIANTS)
    for name in ("finetune", "evaluate"):
        yield from ((name, item) for item in ITEMS)
    yield ("table",)


def run(name, *words):
    """One stage in the current folder."""
    import_module(f"stages.{name}").main(*words)
