"""Every training stage of a preset at its own sizes on a CPU: `python -m benchmarks.full_size PRESET
[--fp32] [--threads N] [ITEM ...]`.

PRESET is `paper` or `one-gpu`. One optimizer step and one evaluation of the visual tokenizer, of
every pretraining and of each fine-tune (all, or the named ones; imagenet1k and ade20k start from
imagenet22k), by the stages of a real run: sizes, vocabularies, resolutions, precision, rates. Only
steps, batches, workers and data are smaller: a batch is two samples, and the data are generated, in
the form of shards. `paper` trains the visual tokenizer, `one-gpu` imports a made-up file in the
layout of the released one, and what else is started from is imported, too, also from made-up
files. `--fp32` is for CPUs without instructions for bf16, which take minutes for a step. Prints a
row of a table per stage: CPU seconds, on which other load on the machine counts little, and the
peak of resident memory. Stops with an error where one needs more than 24 GiB or its losses are not
finite.
"""

import argparse
import math
import multiprocessing
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ruamel.yaml import YAML

from benchmarks import full_size_data
from benchmarks.full_size_data import BATCH
from model.checkpoint import model_class
from pipeline.config import params
from pipeline.config.params import Params
from pipeline.planning import training_cost
from pipeline.released import imports
from pipeline.tasks import fine_tunes
from pipeline.tokenizers import vqkd_training
from pipeline.tracking import client as tracking
from pipeline.training import curves
from pipeline.utils import files

LIMIT = 24 * 1024  # MiB
ITEMS = {
    "paper": ("vqa", "nlvr2", "coco", "flickr30k", "imagenet22k", "imagenet1k", "ade20k"),
    "one-gpu": (
        "coco",
        "vqa",
        "coco-beitv2",
        "vqa-beitv2",
        "vqa-vlmo",
        "vqa-beit3",
        "flickr30k-vlmo",
        "flickr30k-beit3",
    ),
}
TEACHER, TOKENIZER, RELEASED = "teacher.safetensors", "vqkd.pth", "released"  # made-up files
DASH = "–"
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


def settings(preset: str, folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """A preset with these values and with the made-up files in `folder`. The paper's tokenizer is
    trained, with a teacher of random weights."""
    tree = changed(params.preset(preset).tree, values)
    tokenizer = {"official_file": str(folder / TOKENIZER)}
    if preset == "paper":
        tokenizer = {"origin": "train", "teacher_file": str(folder / TEACHER)}
    tree["visual_tokenizer"] |= tokenizer
    origin = {"origin": "local", "path": str(folder / RELEASED), "official": False}
    tree["imported_weights"] |= origin
    return tree


def wanted_imports(preset: Params, items: Sequence[str]) -> list[str]:
    """What warm starts and these fine-tunes start from, each once."""
    starts = [warm["init"] for warm in preset.subtree("pretrain.warm_starts").values()]
    starts += [fine_tunes.load(item, preset).init for item in items]
    found = [name.removeprefix("import/") for name in starts if name.startswith("import/")]
    return list(dict.fromkeys(found))


def make_up(folder: Path, preset: Params, names: Sequence[str]) -> None:
    """Write the files that stages start from."""
    tokenizer = vqkd_training.load_params(preset)
    if tokenizer.origin == "train":
        full_size_data.write_teacher(folder / TEACHER)
    else:
        path, config = folder / TOKENIZER, training_cost.tokenizer_config(tokenizer)
        full_size_data.write_visual_tokenizer(path, config)
    (folder / RELEASED).mkdir()
    for name in names:
        full_size_data.write_released(folder / RELEASED, imports.load(name, preset))


# Measuring


class Measured(NamedTuple):
    """What a stage took."""

    cpu: float  # seconds of all cores
    peak: float  # MiB of resident memory


def measured(folder: Path, stages: Sequence[Sequence[str]]) -> Measured:
    """Run stages, each given by its name and its arguments, in a project folder and in this
    process."""
    os.chdir(folder)
    tracking.installed = lambda: False  # a run that leads to nothing is not worth a note
    for name, *words in stages:
        import_module(f"stages.{name}").main(*words)
    return Measured(time.process_time(), peak())


def peak() -> float:
    """Most memory that this process has had, MiB. What getrusage says begins with what the process
    had that started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kibibytes) / 1024


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process whose memory nobody has used."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def run_stages(folder: Path, *stages: Sequence[str]) -> Measured:
    """Stages in a process of their own."""
    usage = in_fresh_process(measured, folder, stages)
    shutil.rmtree(folder / ".work", ignore_errors=True)  # checkpoints of gigabytes
    return usage


def size(folder: Path) -> tuple[int, int]:
    """Pixels of a saved model's images, and the number of its parameters."""
    tree = files.read_json(folder / "config.json")
    cls = model_class(tree.pop("model"))
    config = cls.Config.from_dict(tree)
    with torch.device("meta"):
        model = cls(config)
    pixels = getattr(config, "backbone", config).image_size
    return pixels, sum(parameter.numel() for parameter in model.parameters())


def losses(out: Path) -> dict[str, float]:
    """Those of a run's one step, none where it took none.

    Raises:
        SystemExit: one of them, or the norm of the gradient, is not finite.
    """
    if not (out / "train.csv").exists():
        return {}
    found: dict[str, float] = {}
    for row in curves.read_published(out):
        found |= row.values if row.kind == "train" else {}
    if not all(map(math.isfinite, found.values())):
        raise SystemExit(f"{out}: not finite: {found}")
    return {key: found[key] for key in found if key not in ("lr", "grad_norm", "finite", "loss")}


HEAD = """\
| stage | pixels | parameters | CPU s | MiB | evaluation, CPU s | MiB | losses |
|---|---:|---:|---:|---:|---:|---:|---|"""


def line(
    name: str,
    out: Path,
    usage: Measured,
    evaluation: Measured | None = None,
    *,
    trained: bool = True,
) -> str:
    """A row: what came of a stage, and what it and its evaluation took; `trained`: whether the
    stage has trained the model that it has.

    Raises:
        SystemExit: a loss is not finite, or memory exceeds the limit.
    """
    pixels, parameters = size(out / "model")
    cells = [name, f"{pixels}", f"{parameters:,}", *_took(usage)]
    cells += _took(evaluation) if evaluation else [DASH, DASH]
    found = losses(out) if trained else {}
    cells.append(", ".join(f"{key} {loss:.4g}" for key, loss in found.items()) or DASH)
    row = f"| {' | '.join(cells)} |"
    if max(step.peak for step in (usage, evaluation) if step) > LIMIT:
        raise SystemExit(f"{row}\nmore than {LIMIT} MiB")
    return row


def _took(usage: Measured) -> list[str]:
    return [f"{usage.cpu:.0f}", f"{usage.peak:,.0f}"]


def run(folder: Path, preset: Params, items: Sequence[str]) -> Iterator[str]:
    """The table of all stages in a project folder."""
    data, runs = folder / "data" / preset.scale, folder / "runs" / preset.scale
    yield HEAD
    tokenizer = data / "visual_tokenizer"
    yield line("visual tokenizer", tokenizer, run_stages(folder, ["visual_tokenizer"]))
    pairs, *others = preset.subtree("pretrain.common.data.pairs.sources")
    usage = run_stages(folder, ["visual_tokens", pairs])
    yield line(f"visual tokens of {4 * BATCH} images", tokenizer, usage, trained=False)
    others += preset.subtree("pretrain.common.data.images.sources")
    run_stages(folder, *(["visual_tokens", name] for name in {*others} - {pairs}))
    for name in wanted_imports(preset, items):
        yield line(f"import {name}", runs / "import" / name, run_stages(folder, ["imports", name]))
    for name in ("main", *preset.subtree("pretrain.warm_starts")):
        out = runs / "pretrain" / name
        yield line(f"pretrain {name}", out, run_stages(folder, ["pretrain", name]))
    for item in items:
        out = runs / "finetune" / item
        usage = run_stages(folder, ["finetune", item])
        yield line(item, out, usage, run_stages(folder, ["evaluate", item]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description="One step of every training stage of a preset at its own sizes."
    )
    parser.add_argument("preset", choices=ITEMS)
    parser.add_argument("--fp32", action="store_true", help="instead of the preset's precision")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("items", nargs="*", metavar="ITEM", help="fine-tunes")
    words = parser.parse_intermixed_args()
    items = tuple(words.items) or ITEMS[words.preset]
    values = SMALL | {"threads": words.threads, "workers": words.threads}
    values |= {"precision": "fp32"} if words.fp32 else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = settings(words.preset, folder, values)
        YAML().dump(tree, folder / params.FILE)
        shutil.copy(params.FINE_TUNES, folder)
        preset = Params(folder / params.FILE, tree)
        full_size_data.write_data(folder / "data" / preset.scale, tree)
        in_fresh_process(make_up, folder, preset, wanted_imports(preset, items))
        for text in run(folder, preset, items):
            print(text, flush=True)


if __name__ == "__main__":
    main()
