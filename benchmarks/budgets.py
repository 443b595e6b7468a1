"""What more minutes give: `python -m benchmarks.budgets 0.5 1 2`, in a fresh clone, scores against
minutes.

For each factor all training is that much longer or shorter (steps of pretraining and fine-tunes, of
their warm-up, and of what is measured on the way), and `make repro` runs what that changes. The data
are made first and are not counted. In the end params.yaml is as it was; a factor that has run before
in the same folder comes from DVC's cache, so its minutes are none.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config import params
from pipeline.orchestration import repro
from pipeline.orchestration.edited_params import edited
from pipeline.utils import files

DATA = ("shard", "shard_pairs", "text_tokens", "visual_tokens")
STEPS = ("steps", "warmup_steps", "evaluate_every", "checkpoint_every")
# Title, result, and metric in it.
SCORES = (
    ("VQAv2 test-dev", "vqa", "test_dev"),
    ("NLVR2 test-P", "nlvr2", "test_p"),
    ("COCO TR R@1", "coco", "tr_r1"),
    ("COCO IR R@1", "coco", "ir_r1"),
    ("Flickr30k TR R@1", "flickr30k", "tr_r1"),
    ("Flickr30k IR R@1", "flickr30k", "ir_r1"),
    ("ImageNet-1k top-1", "imagenet1k", "acc1"),
    ("ADE20K mIoU", "ade20k", "miou"),
    ("NLVR2 after MVLM alone", "nlvr2-mvlm", "test_p"),
    ("NLVR2 without pretraining", "nlvr2-none", "test_p"),
)


def main(words: Sequence[str]) -> None:
    subprocess.run(["dvc", "repro", "--quiet", *DATA], check=True)
    rows = [_row(float(word)) for word in words]
    print(f"| training | minutes | {' | '.join(title for title, *_ in SCORES)} |")
    print(f"|---|{'---:|' * (1 + len(SCORES))}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _row(factor: float) -> list[str]:
    """The factor, the minutes that it took, and the test scores, in percent."""
    with edited(partial(_lengthen_all, factor=factor)):
        start = time.monotonic()
        repro.main()
        minutes = (time.monotonic() - start) / 60
        metrics = files.read_json(Path("results", params.scale(), "metrics.json"))
    scores = [f"{metrics[name][metric]:.1f}" for _, name, metric in SCORES]
    return [f"x {factor:g}", f"{minutes:.1f}", *scores]


def _lengthen_all(tree: Any, factor: float) -> None:
    """Make all training of params.yaml so many times as long."""
    for block in (*tree["pretrain"]["budgets"].values(), *tree["finetune"].values()):
        _lengthen(block, factor)
    _lengthen(tree["pretrain"]["common"], factor)


def _lengthen(block: Any, factor: float) -> None:
    """Multiply a block's numbers of steps, and those of its loop, in place."""
    for part in (block, block.get("loop", {})):
        for key in set(STEPS) & set(part):
            part[key] = max(round(part[key] * factor), 1) if part[key] else 0


if __name__ == "__main__":
    main(sys.argv[1:])
