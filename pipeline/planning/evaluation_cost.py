"""What a scale computes without training: visual tokens, and the evaluation of every fine-tune."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from model.backbone.config import BackboneConfig
from model.heads.segmentation import HeadConfig
from pipeline import tasks
from pipeline.config.params import Params, convert
from pipeline.planning.data_cost import PlannedSource, views
from pipeline.planning.training_cost import ANSWERS, TrainingRun, tokenizer_config
from pipeline.tokenizers import vqkd_training
from pipeline.utils import flops

CAPTIONS = 5  # of a picture
WINDOWS = 2  # of a picture of 4:3, as ADE20K's usually are
LOOKS = 2  # with their own pictures, and with others


@dataclass(frozen=True)
class Computed:
    """Forward passes of a stage."""

    stage: str
    what: str
    flops: float
    precision: str


def visual_tokens(params: Params, sources: Sequence[PlannedSource]) -> Computed:
    """The ids of all views, always in fp32."""
    config = tokenizer_config(vqkd_training.load_params(params))
    count = views(params, sources)
    return Computed(
        "visual_tokens", f"{count:,.0f} views", count * flops.visual_tokens(config), "fp32"
    )


def evaluations(
    runs: Sequence[TrainingRun], params: Params, sources: Sequence[PlannedSource]
) -> Iterator[Computed]:
    """The evaluation of every fine-tune, which has no autocast."""
    tested = {source.name: source.tested for source in sources}
    for run in runs:
        kind, _, name = run.stage.partition(" ")
        if kind == "finetune":
            item = tasks.item(name)
            chosen = tasks.evaluate_params(params, item)
            inputs = params.block(*tasks.finetune_blocks(item))
            what, cost = _TASKS[item.task](run.backbone, tested[item.data], chosen, inputs)
            yield Computed(f"evaluate {name}", what, cost, "fp32")


def _retrieval(
    backbone: BackboneConfig, tested: float, chosen: Any, tuned: dict[str, Any]
) -> tuple[str, float]:
    text, captions = tuned["inputs"]["text_length"], tested * CAPTIONS
    picture, caption = flops.dual(backbone, text)
    matches = chosen.rerank_k * (tested + captions)
    return (
        f"{tested:,.0f} pictures, {captions:,.0f} captions, {matches:,.0f} matches",
        tested * picture + captions * caption + matches * flops.match(backbone, text),
    )


def _vqa(
    backbone: BackboneConfig, tested: float, chosen: Any, tuned: dict[str, Any]
) -> tuple[str, float]:
    return f"{tested:,.0f} questions", tested * flops.vqa(
        backbone, tuned["inputs"]["text_length"], ANSWERS
    )


def _nlvr2(
    backbone: BackboneConfig, tested: float, chosen: Any, tuned: dict[str, Any]
) -> tuple[str, float]:
    return (
        f"{tested:,.0f} examples, twice",
        LOOKS * tested * flops.nlvr2(backbone, tuned["inputs"]["text_length"]),
    )


def _classification(
    backbone: BackboneConfig, tested: float, chosen: Any, tuned: dict[str, Any]
) -> tuple[str, float]:
    return f"{tested:,.0f} pictures", tested * flops.classification(backbone, tuned["classes"])


def _segmentation(
    backbone: BackboneConfig, tested: float, chosen: Any, tuned: dict[str, Any]
) -> tuple[str, float]:
    looks = sum(ratio**2 for ratio in chosen.ratios) * (2 if chosen.flip else 1)
    head = convert(HeadConfig, tuned["head"], "head")
    windows = WINDOWS * looks * tested
    return f"{tested:,.0f} pictures, about {windows:,.0f} windows", windows * flops.decoded(
        backbone, head
    )


_TASKS = {
    "retrieval": _retrieval,
    "vqa": _vqa,
    "nlvr2": _nlvr2,
    "classification": _classification,
    "segmentation": _segmentation,
}
