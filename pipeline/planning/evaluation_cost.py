"""What a scale computes without training: visual tokens, and the evaluation of every fine-tune."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline import tasks
from pipeline.config.params import Params
from pipeline.planning.data_cost import PlannedSource, views
from pipeline.planning.training_cost import TrainingRun, tokenizer_config
from pipeline.tasks import evaluations, fine_tunes
from pipeline.tokenizers import vqkd_training
from pipeline.utils import flops


@dataclass(frozen=True)
class ForwardCost:
    """Forward passes of a stage."""

    stage: str
    description: str  # of what is counted
    flops: float
    precision: str


def visual_tokens(params: Params, sources: Sequence[PlannedSource]) -> ForwardCost:
    """The ids of all views, always in fp32."""
    config = tokenizer_config(vqkd_training.load_params(params))
    count = views(params, sources)
    cost = count * flops.visual_tokens(config)
    return ForwardCost("visual_tokens", f"{count:,.0f} views", cost, "fp32")


def of_fine_tunes(
    runs: Sequence[TrainingRun], params: Params, sources: Sequence[PlannedSource]
) -> Iterator[ForwardCost]:
    """The evaluation of every fine-tune among the runs."""
    tested = {source.name: source.tested for source in sources}
    for run in runs:
        kind, _, name = run.stage.partition(" ")
        if kind != "finetune" or run.backbone is None:
            continue
        fine_tune = fine_tunes.load(name, params)
        evaluate_params = evaluations.load(name, params).load_params(params)
        cost = tasks.load(fine_tune.task, "cost").evaluation(
            fine_tune.load_params(params),
            evaluate_params,
            run.backbone,
            tested[fine_tune.data],
        )
        yield ForwardCost(
            f"evaluate {name}", cost.description, cost.flops, evaluate_params.precision
        )
