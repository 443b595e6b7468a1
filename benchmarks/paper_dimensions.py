"""Every training stage at the paper's dimensions on a CPU: `python -m benchmarks.paper_dimensions
[--fp32] [ITEM ...]`.

One optimizer step and one evaluation of the visual tokenizer, of pretraining and of each fine-tune
(all, or the named ones; imagenet1k and ade20k start from imagenet22k), by the stages of a real run
and with the preset `paper`: sizes, vocabularies, resolutions, precision, rates. Only steps, batches, workers and data are smaller: a batch is two samples, and the data are generated, in
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
from pipeline.tokenizers.text.own_pieces import SPECIAL_IDS
from pipeline.tracking import client as tracking
from pipeline.training import curves
from pipeline.utils import files

LIMIT = 24 * 1024  # MiB
BATCH = 2
ANSWERS = 3129  # VL-BEiT §3.2
SIDES = (640, 480)  # pixels of an image
ITEMS = ("vqa", "nlvr2", "coco", "flickr30k", "imagenet22k", "imagenet1k", "ade20k")
SOURCES = ("imagenet22k", "cc3m", "sbu", "coco", "vg")  # of pretraining
SMALL = {  # in place of a block's values, wherever a block has these keys
    "steps": 1,
    "warmup_steps": 0,
    "streams": 1,
    "shuffle_block": 1,
    "batch_size": BATCH,
    "batch": BATCH,
    "gradient_accumulation": 1,
    "loader_workers": 0,
    "num_workers": 0,
    "threads": 2,
    "views": 1,
    "samples": BATCH,
    "evaluation_batch": BATCH,
    "evaluation_images": BATCH,
    "min_answer_count": 1,
    "rerank_k": BATCH,
}


def changed(tree: Any, values: dict[str, Any]) -> Any:
    """A block with other values wherever it has these keys."""
    if not isinstance(tree, dict):
        return tree
    result = {}
    for key, value in tree.items():
        replaced = key in values and not isinstance(value, dict)
        result[key] = values[key] if replaced else changed(value, values)
    return result


def settings(teacher: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The preset `paper` with these values. The tokenizer is trained, with a teacher of random
    weights."""
    tree = changed(params.preset("paper").tree, values)
    tree["visual_tokenizer"] |= {"origin": "train", "teacher_file": str(teacher)}
    return tree


# Data


def jpeg(seed: int) -> bytes:
    """A smooth random image."""
    colors = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(colors).resize(SIDES, Image.Resampling.BICUBIC)
    image.save(buffer := io.BytesIO(), "JPEG", quality=90)
    return buffer.getvalue()


def mask(classes: int) -> bytes:
    """The classes of an image's pixels, and some pixels without one."""
    labels = np.random.default_rng(0).integers(0, classes + 1, (12, 16), dtype=np.uint8)
    image = Image.fromarray(labels).resize(SIDES, Image.Resampling.NEAREST)
    image.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def image_columns(number: int) -> dict[str, Any]:
    """What rows with one image have in common."""
    return {"key": f"{number:04d}", "image": jpeg(number), "width": SIDES[0], "height": SIDES[1]}


def rows(source: str, split: str, tree: dict[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
    """Schema and rows of a source's split."""
    count = range(2 * BATCH if split == "train" else BATCH)
    captions = ["a red star above a blue ring", "two small green squares"]
    if source == "nlvr2":
        return schema.STATEMENT_SHARD, [statement(number, captions[0]) for number in count]
    if source == "vqav2":
        return schema.QUESTION_SHARD, [questions(split)]
    if source == "ade20k":
        labels = {"mask": mask(tree["finetune"][source]["head"]["classes"])}
        return schema.MASK_SHARD, [image_columns(number) | labels for number in count]
    texts = {"captions": captions}
    return schema.IMAGE_SHARD, [image_columns(n) | texts | {"label": n} for n in count]


def statement(number: int, text: str) -> dict[str, Any]:
    """A row of NLVR2."""
    return {
        "key": f"{number}",
        "left": jpeg(number),
        "right": jpeg(number + 50),
        "statement": text,
        "label": number % 2,
        "group": f"{number}",
    }


def questions(split: str) -> dict[str, Any]:
    """A row of VQA v2: an image with as many questions as there are answers to tell apart."""
    count = {"train": ANSWERS, "val": 1, "test": 1}[split]
    answers = [[] if split == "test" else [f"answer {number}"] * 10 for number in range(count)]
    return {
        **image_columns(0),
        "ids": list(range(count)),
        "answers": answers,
        "questions": ["what color is the star"] * count,
    }


def write_data(folder: Path, tree: dict[str, Any]) -> None:
    """Shards of all sources, packed texts, and a text tokenizer with as many pieces as the
    paper's."""
    for source in (*SOURCES, "flickr30k", "imagenet1k", "vqav2", "nlvr2", "ade20k"):
        splits = {split: rows(source, split, tree) for split in ("train", "val", "test")}
        write(folder / "shards" / source, splits)
    length, words = tree["text_tokens"]["max_length"], tree["text_tokenizer"]["vocab_size"]
    ids = np.random.default_rng(0).integers(len(SPECIAL_IDS), words, (2 * BATCH, length))
    texts = [{"key": f"{number}", "ids": row} for number, row in enumerate(ids)]
    for source in ("wikipedia", "bookcorpus"):
        splits = {split: (schema.TEXT_TOKENS, texts) for split in ("train", "val")}
        write(folder / "text_tokens" / source, splits)
    write_tokenizer(folder / "text_tokenizer" / "spm.model", folder / "shards" / "coco", words)


def write(folder: Path, splits: dict[str, tuple[Any, list[dict[str, Any]]]]) -> None:
    """Shards in groups of two rows."""
    folder.mkdir(parents=True)
    entries = {}
    for split, (columns, content) in splits.items():
        entries[split] = parquet.write(
            folder, split, content, columns, rows_per_group=2, groups_per_file=9
        )
    parquet.write_index(folder, entries, kind="image")


def write_tokenizer(path: Path, captions: Path, words: int) -> None:
    """A small tokenizer, filled up with pieces that never occur: so many cannot be learned from so
    little."""
    path.parent.mkdir()
    train_tokenizer(
        [captions], path, TextTokenizerParams("train", None, [], 28, 1.0, 1000, 1), "text_tokenizer"
    )
    proto: Any = sentencepiece_model_pb2  # protobuf makes its classes when it is imported
    model = proto.ModelProto.FromString(path.read_bytes())
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
        usage = pool.submit(measured, folder, stages).result()
    shutil.rmtree(folder / ".work", ignore_errors=True)  # checkpoints of gigabytes
    return usage


def parameters(folder: Path) -> int:
    """Their number in a saved model."""
    config = files.read_json(folder / "config.json")
    cls = model_class(config.pop("model"))
    with torch.device("meta"):
        model = cls(cls.Config.from_dict(config))
    return sum(parameter.numel() for parameter in model.parameters())


def line(name: str, out: Path, steps: list[Measured]) -> str:
    """What came of a stage, and what its training and its evaluation took.

    Raises:
        SystemExit: a loss is not finite, or memory exceeds the limit.
    """
    (values,) = (row.values for row in curves.read_published(out) if row.kind == "train")
    no_losses = ("lr", "grad_norm", "finite", "loss")
    losses = {key: value for key, value in values.items() if key not in no_losses}
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
    usage = [in_fresh_process(folder, ["visual_tokenizer"])]
    yield line("visual tokenizer", folder / "data/paper/visual_tokenizer", usage)
    in_fresh_process(folder, *(["visual_tokens", source] for source in SOURCES))
    usage = [in_fresh_process(folder, ["pretrain", "main"])]
    yield line("pretrain main", folder / "runs/paper/pretrain/main", usage)
    for item in items:
        usage = [in_fresh_process(folder, [name, item]) for name in ("finetune", "evaluate")]
        yield line(item, folder / "runs/paper/finetune" / item, usage)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="One step of every training stage at the paper's dimensions."
    )
    parser.add_argument("--fp32", action="store_true", help="instead of the preset's precision")
    parser.add_argument("items", nargs="*", metavar="ITEM", help=", ".join(ITEMS))
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = SMALL | {"precision": "fp32"} if words.fp32 else SMALL
        tree = settings(folder / "teacher.safetensors", values)
        YAML().dump(tree, folder / "params.yaml")
        shutil.copy(params.FINE_TUNES, folder)
        write_data(folder / "data/paper", tree)
        write_teacher(folder / "teacher.safetensors")
        for text in run(folder, tuple(words.items) or ITEMS):
            print(text, flush=True)


if __name__ == "__main__":
    main()
