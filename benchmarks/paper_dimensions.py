"""Every training stage at the paper's dimensions on a CPU: `python -m benchmarks.paper_dimensions
[--fp32] [ITEM ...]`.

One optimiser step and one evaluation of the visual tokenizer, of pretraining and of each fine-tune
(all, or the named ones; imagenet1k and ade20k start from imagenet22k), by the stages of a real run
and with the `paper` block of params.yaml: sizes, vocabularies, resolutions, precision, rates. Only
steps, batches, workers and data are smaller: a batch is two samples, and the data are generated, in
the form of shards. `--fp32` is for CPUs without instructions for bf16, which take minutes for a
step. Prints a line per stage and stops with an error where one needs more than 24 GiB or its losses
are not finite.
"""

import argparse
import io
import math
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2

from model.checkpoint import model_class
from model.tokenizer.teachers import Clip
from pipeline.config import params
from pipeline.data.shards import parquet, schema
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams, train_tokenizer
from pipeline.tokenizers.text import SPECIAL_IDS
from pipeline.tracking import client as tracking
from pipeline.training import curves
from pipeline.utils import files

LIMIT = 24 * 1024  # MiB
BATCH = 2
ANSWERS = 3129  # VL-BEiT §3.2
SIDES = (640, 480)  # pixels of a picture
ITEMS = ("vqa", "nlvr2", "coco", "flickr30k", "imagenet22k", "imagenet1k", "ade20k")
PICTURES = ("imagenet22k", "cc3m", "sbu", "coco", "vg")  # of pretraining
SMALL = {  # in place of a block's values, wherever a block has these keys
    "steps": 1,
    "warmup_steps": 0,
    "lanes": 1,
    "window": 1,
    "batch": BATCH,
    "gradient_accumulation": 1,
    "loader_workers": 0,
    "num_workers": 0,
    "threads": 2,
    "views": 1,
    "units": BATCH,
    "evaluation_batch": BATCH,
    "evaluation_images": BATCH,
    "min_answer_count": 1,
    "rerank_k": BATCH,
}


def changed(tree: Any, values: dict[str, Any]) -> Any:
    """A block with other values wherever it has these keys."""
    if not isinstance(tree, dict):
        return tree
    return {
        key: values[key]
        if key in values and not isinstance(value, dict)
        else changed(value, values)
        for key, value in tree.items()
    }


def settings(teacher: Path, values: dict[str, Any]) -> dict[str, Any]:
    """params.yaml with scale `paper` and these values. The tokenizer is trained, with a teacher of
    random weights."""
    tree = dict(params.read())
    block = changed(tree["paper"], values)
    block["visual_tokenizer"] |= {"origin": "train", "teacher_file": str(teacher)}
    return tree | {"scale": "paper", "paper": block}


# Data


def picture(seed: int) -> bytes:
    """A smooth random JPEG."""
    colours = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(colours).resize(SIDES, Image.Resampling.BICUBIC).save(
        data := io.BytesIO(), "JPEG", quality=90
    )
    return data.getvalue()


def mask(classes: int) -> bytes:
    """The classes of a picture's pixels, and some pixels without one."""
    labels = np.random.default_rng(0).integers(0, classes + 1, (12, 16), dtype=np.uint8)
    Image.fromarray(labels).resize(SIDES, Image.Resampling.NEAREST).save(
        data := io.BytesIO(), "PNG"
    )
    return data.getvalue()


def sized(number: int) -> dict[str, Any]:
    """What rows with one picture have in common."""
    return {"key": f"{number:04d}", "image": picture(number), "width": SIDES[0], "height": SIDES[1]}


def rows(source: str, split: str, block: dict[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
    """Schema and rows of a source's split."""
    count = range(2 * BATCH if split == "train" else BATCH)
    captions = ["a red star above a blue ring", "two small green squares"]
    if source == "nlvr2":
        return schema.STATEMENT_SHARD, [
            {
                "key": f"{n}",
                "left": picture(n),
                "right": picture(n + 50),
                "statement": captions[0],
                "label": n % 2,
                "group": f"{n}",
            }
            for n in count
        ]
    if source == "vqav2":
        asked = {"train": ANSWERS, "val": 1, "test": 1}[split]
        answers = [[] if split == "test" else [f"answer {n}"] * 10 for n in range(asked)]
        return schema.QUESTION_SHARD, [
            {
                **sized(0),
                "ids": list(range(asked)),
                "answers": answers,
                "questions": ["what colour is the star"] * asked,
            }
        ]
    if source == "ade20k":
        return schema.MASK_SHARD, [
            {**sized(n), "mask": mask(block["finetune"][source]["head"]["classes"])} for n in count
        ]
    return schema.IMAGE_SHARD, [{**sized(n), "label": n, "captions": captions} for n in count]


def write_data(folder: Path, block: dict[str, Any]) -> None:
    """Shards of all sources, packed texts, and a text tokenizer with as many pieces as the
    paper's."""
    for source in (
        "imagenet22k",
        "cc3m",
        "sbu",
        "coco",
        "vg",
        "flickr30k",
        "imagenet1k",
        "vqav2",
        "nlvr2",
        "ade20k",
    ):
        write(
            folder / "shards" / source,
            {split: rows(source, split, block) for split in ("train", "val", "test")},
        )
    length, words = block["text_tokens"]["max_length"], block["text_tokenizer"]["vocab_size"]
    ids = np.random.default_rng(0).integers(len(SPECIAL_IDS), words, (2 * BATCH, length))
    for source in ("wikipedia", "bookcorpus"):
        texts = [{"key": f"{n}", "ids": row} for n, row in enumerate(ids)]
        write(
            folder / "text_tokens" / source,
            {split: (schema.TEXT_TOKENS, texts) for split in ("train", "val")},
        )
    write_tokenizer(folder / "text_tokenizer" / "spm.model", folder / "shards" / "coco", words)


def write(folder: Path, splits: dict[str, tuple[Any, list[dict[str, Any]]]]) -> None:
    """Shards in groups of two rows."""
    folder.mkdir(parents=True)
    parquet.write_index(
        folder,
        {
            split: parquet.write(folder, split, content, kind, rows_per_group=2, groups_per_file=9)
            for split, (kind, content) in splits.items()
        },
        kind="image",
    )


def write_tokenizer(path: Path, captions: Path, words: int) -> None:
    """A small tokenizer, filled up with pieces that never occur: so many cannot be learned from so
    little."""
    path.parent.mkdir()
    train_tokenizer([captions], path, TextTokenizerParams([], 28, 1.0, 1000, 1), "text_tokenizer")
    model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    for number in range(words - len(model.pieces)):
        model.pieces.add(piece=f"\N{WHITE SQUARE}{number}", score=-100.0)
    path.write_bytes(model.SerializeToString())


def write_teacher(path: Path) -> None:
    """CLIP's size, random weights."""
    torch.manual_seed(0)
    save_file(Clip().model.state_dict(), path)


# Measuring


class Measured(NamedTuple):
    """What a stage took."""

    seconds: float
    cpu: float  # seconds of all cores
    peak: float  # MiB of resident memory


def measured(folder: Path, stages: Sequence[Sequence[str]]) -> Measured:
    """Run stages, each given by its name and its arguments, in a project folder and in this
    process."""
    os.chdir(folder)
    tracking.installed = lambda: False  # a run that leads to nothing is not worth a note
    start = time.monotonic()
    for name, *words in stages:
        import_module(f"stages.{name}").main(*words)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Measured(time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def in_fresh_process(folder: Path, *stages: Sequence[str]) -> Measured:
    """The same in a process whose memory nobody has used."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(measured, folder, stages).result()
    shutil.rmtree(folder / ".work", ignore_errors=True)  # checkpoints of gigabytes
    return found


def parameters(folder: Path) -> int:
    """Of a saved model."""
    config = files.read_json(folder / "config.json")
    cls = model_class(config.pop("model"))
    with torch.device("meta"):
        return sum(
            parameter.numel() for parameter in cls(cls.Config.from_dict(config)).parameters()
        )


def line(name: str, out: Path, steps: list[Measured]) -> str:
    """What came of a stage, and what its training and its evaluation took.

    Raises:
        SystemExit: a loss is not finite, or memory exceeds the limit.
    """
    (values,) = (row.values for row in curves.read_published(out) if row.kind == "train")
    losses = {
        key: value
        for key, value in values.items()
        if key not in ("lr", "grad_norm", "finite", "loss")
    }
    peak = max(step.peak for step in steps)
    took = " + ".join(f"{step.seconds:.0f} s ({step.cpu:.0f} s CPU)" for step in steps)
    text = (
        f"{name:17} {parameters(out / 'model'):11,} parameters  {took:>34}  {peak:6.0f} MiB  "
        + " ".join(f"{key} {value:.4g}" for key, value in losses.items())
    )
    if not all(map(math.isfinite, (*losses.values(), values["grad_norm"]))) or peak > LIMIT:
        raise SystemExit(f"{text}\nnot finite, or more than {LIMIT} MiB")
    return text


def run(folder: Path, items: tuple[str, ...]) -> Iterator[str]:
    """All stages in a project folder."""
    took = in_fresh_process(folder, ["visual_tokenizer"])
    yield line("visual tokenizer", folder / "data/paper/visual_tokenizer", [took])
    in_fresh_process(folder, *(["visual_tokens", source] for source in PICTURES))
    took = in_fresh_process(folder, ["pretrain", "main"])
    yield line("pretrain main", folder / "runs/paper/pretrain/main", [took])
    for item in items:
        took = [in_fresh_process(folder, [name, item]) for name in ("finetune", "evaluate")]
        yield line(item, folder / "runs/paper/finetune" / item, took)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="One step of every training stage at the paper's dimensions."
    )
    parser.add_argument(
        "--fp32", action="store_true", help="instead of the paper block's precision"
    )
    parser.add_argument("items", nargs="*", metavar="ITEM", help=", ".join(ITEMS))
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = settings(
            folder / "teacher.safetensors", SMALL | ({"precision": "fp32"} if words.fp32 else {})
        )
        YAML().dump(tree, folder / "params.yaml")
        write_data(folder / "data/paper", tree["paper"])
        write_teacher(folder / "teacher.safetensors")
        for text in run(folder, tuple(words.items) or ITEMS):
            print(text, flush=True)


if __name__ == "__main__":
    main()
