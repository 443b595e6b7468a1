"""What a scale computes without training: visual tokens, and the evaluation of every fine-tune."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from model.meta import on_meta
from pipeline import tasks
from pipeline.config.params import Params
from pipeline.planning.data_cost import PlannedSource, views
from pipeline.planning.training_cost import TrainingRun, tokenizer_config
from pipeline.released import imports
from pipeline.tasks import evaluations, fine_tunes
from pipeline.tasks.evaluations import Evaluation
from pipeline.tokenizers import vqkd_training
from pipeline.utils import flops, memory
from pipeline.utils.memory import ParameterCounts


@dataclass(frozen=True)
class ForwardCost:
    """Forward passes of a stage."""

    stage: str
    description: str  # of what is counted
    flops: float
    precision: str
    model: str = ""  # folder in `runs/SCALE`, of an evaluation
    weights: float = 0.0  # its bytes, in fp32
    batch_bytes: float = 0.0  # that a batch takes beside them

    @property
    def memory(self) -> float:
        """Bytes on the device."""
        return self.weights + self.batch_bytes


def visual_tokens(params: Params, sources: Sequence[PlannedSource]) -> ForwardCost:
    """The ids of all views, always in fp32."""
    config = tokenizer_config(vqkd_training.load_params(params))
    count = views(params, sources)
    cost = count * flops.visual_tokens(config)
    return ForwardCost("visual_tokens", f"{count:,.0f} views", cost, "fp32")


def of_fine_tunes(
    runs: Sequence[TrainingRun], params: Params, sources: Sequence[PlannedSource]
) -> Iterator[ForwardCost]:
    """Every evaluation of a fine-tune among the runs."""
    of_model = {run.stage.replace(" ", "/"): run for run in runs if run.config is not None}
    for name in evaluations.names(params):
        listed = evaluations.load(name, params)
        if run := of_model.get(listed.model):
            inputs = fine_tunes.load(listed.model.partition("/")[2], params).load_params(params)
            cost = _evaluation(name, listed, run.config, inputs.inputs, params, sources)
            yield replace(cost, weights=_bytes(run.weights))


def of_imports(params: Params, sources: Sequence[PlannedSource]) -> Iterator[ForwardCost]:
    """Every evaluation of released weights."""
    for name in evaluations.names(params):
        listed = evaluations.load(name, params)
        if listed.is_of_released_weights:
            entry = listed.model.removeprefix(evaluations.IMPORT)
            imported = imports.load(entry, params)
            cls, config = imported.planned()
            inputs = imported.checked_inputs(f"imports.{entry}")
            cost = _evaluation(name, listed, config, inputs, params, sources)
            counts = ParameterCounts.of(on_meta(partial(cls, config)))
            yield replace(cost, weights=_bytes(counts))


def _bytes(counts: ParameterCounts) -> float:
    return memory.WIDE * (counts.trained + counts.frozen)


def _evaluation(
    name: str,
    listed: Evaluation,
    config: Any,
    inputs: Any,
    params: Params,
    sources: Sequence[PlannedSource],
) -> ForwardCost:
    tested = next(source.tested for source in sources if source.name == listed.data)
    evaluate_params = listed.load_params(params)
    module = tasks.load(listed.task, "cost")
    cost = module.evaluation(config, inputs, evaluate_params, tested)
    return ForwardCost(
        f"evaluate {name}",
        cost.description,
        cost.flops,
        evaluate_params.precision,
        listed.model,
        batch_bytes=cost.batch_bytes,
    )
