"""The whole reproduction at a scale before it starts: what is fetched and made, what is computed,
and what it takes."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from textwrap import fill

from pipeline.config import yaml_reader
from pipeline.config.params import Params
from pipeline.planning import data_cost, evaluation_cost, provenance, training_cost
from pipeline.planning.data_cost import PlannedSource
from pipeline.planning.evaluation_cost import ForwardCost
from pipeline.planning.provenance import CHOICE, PAPER, RELATIVE, RUN, UNSAID, Number
from pipeline.planning.training_cost import TrainingRun
from pipeline.reporting.render import DASH, aligned
from pipeline.tasks import fine_tunes
from pipeline.tokenizers import vqkd_training
from pipeline.training.train_state import KEPT_CHECKPOINTS
from pipeline.utils import memory
from pipeline.utils.progress import duration, size

DVC = Path("dvc.yaml")
HOUR = 3600


@dataclass(frozen=True)
class PlanParams:
    """Block `plan`: what the plan takes for granted. Nothing else reads it."""

    device: str  # what a worker runs on
    bf16: float  # FLOP/s at most, dense
    fp32: float
    utilization: float  # share of that which is reached
    memory: float  # bytes of the device
    download: float  # bytes per second

    def hours(self, flops: float, precision: str) -> float:
        """Of one device."""
        return flops / (getattr(self, precision) * self.utilization) / HOUR


def pages(params: Params) -> Iterator[str]:
    """The plan in Markdown, section by section."""
    chosen = params.load(PlanParams, "plan")
    sources = data_cost.planned_sources(params)
    runs = list(training_cost.runs(params))
    computed = [
        evaluation_cost.visual_tokens(params, sources),
        *evaluation_cost.evaluations(runs, params, sources),
    ]
    yield f"# Plan of scale {params.scale}\n\n{_assumptions(chosen)}"
    yield f"## Stages\n\n{_stages(params)}"
    yield f"## Sources\n\n{_sources(sources, chosen)}"
    yield f"## Training\n\n{_training(runs, chosen)}"
    yield f"## Other computing\n\n{_computing(computed, chosen)}"
    yield f"## Memory of a worker\n\n{_memory(runs, chosen)}"
    yield f"## Disk\n\n{_disk(params, sources, runs)}"
    yield f"## Where the numbers come from\n\n{_provenance(list(provenance.numbers(params.file)))}"


def _assumptions(chosen: PlanParams) -> str:
    return _prose(
        f"Taken for granted (`plan` in params.yaml): a worker has one {chosen.device} of "
        f"{size(chosen.memory)} and {chosen.bf16 / 1e12:g} TFLOP/s in bf16, {chosen.fp32 / 1e12:g} in fp32, of which "
        f"{chosen.utilization:.0%} are reached; {size(chosen.download)}/s come over the network."
    )


def _stages(params: Params) -> str:
    """In the order of dvc.yaml, with the items of each."""
    lines, total = [], 0
    for name, stage in yaml_reader.parse(DVC.read_bytes())["stages"].items():
        items = _items(params, stage.get("foreach", ()))
        total += max(len(items), 1)
        lines.append(
            _prose(f"- {name}" + (f" ({len(items)}): {', '.join(items)}" if items else ""), "  ")
        )
    return "\n".join([f"{total} stages, in the order of {DVC}:", "", *lines])


def _items(params: Params, foreach: str | Collection[str]) -> Collection[str]:
    """Names of a stage's items, which dvc.yaml lists or takes from a file."""
    if foreach == "${fine_tunes}":
        return fine_tunes.names()
    return params.subtree(foreach[2:-1]) if isinstance(foreach, str) else foreach


def _sources(sources: Sequence[PlannedSource], chosen: PlanParams) -> str:
    rows = [
        [
            "source",
            "origin",
            "files",
            "bytes",
            "by hand",
            "to fetch",
            "at that rate",
            "records",
            "sharding, core",
        ]
    ]
    rows += [
        [
            source.name,
            source.origin,
            str(len(source.files) or DASH),
            size(source.raw),
            size(sum(file.bytes for file in source.by_hand)) if source.by_hand else DASH,
            size(source.to_fetch) if source.files else "generated",
            duration(source.to_fetch / chosen.download) if source.to_fetch else DASH,
            f"{source.records:,.0f} {source.unit}",
            duration(source.core_seconds) if source.core_seconds else DASH,
        ]
        for source in sources
    ]
    fetch = sum(source.to_fetch for source in sources)
    total = (
        f"All together {size(sum(source.raw for source in sources))} of official files and pictures. To be "
        f"fetched: {size(fetch)}, {duration(fetch / chosen.download)} at that rate. Sharding: "
        f"{duration(sum(source.core_seconds for source in sources))} of one core."
    )
    steps = [
        _prose(f"- {source.name}: {', '.join(file.name for file in files)}: {how}", "  ")
        for source in sources
        for how, files in groupby(source.by_hand, key=lambda file: file.by_hand)
    ]
    return "\n".join(
        [aligned(rows), "", _prose(total), *(["", "By hand:", *steps] if steps else [])]
    )


def _training(runs: Sequence[TrainingRun], chosen: PlanParams) -> str:
    rows = [
        [
            "run",
            "parameters",
            "samples",
            "steps",
            "FLOPs of a step",
            "and besides",
            "in all",
            "device hours",
            "workers",
            "time",
        ]
    ]
    total = 0.0
    for name, count, run in _alike(runs):
        hours = chosen.hours((run.step_flops + run.extra_flops) * run.steps, run.loop.precision)
        total += count * hours
        rows.append(
            [
                name,
                f"{run.weights.trained:,}",
                f"{run.samples:,}",
                f"{run.steps:,}",
                f"{run.step_flops:.3g}",
                f"{run.extra_flops:.2g}" if run.extra_flops else DASH,
                f"{run.step_flops * run.steps:.3g}",
                _hours(hours),
                str(run.workers or 1),
                duration(hours * HOUR / max(run.workers, 1)),
            ]
        )
    note = (
        f"In all {sum(run.step_flops * run.steps for run in runs):.3g} FLOPs, {_hours(total)} device hours. "
        "Parameters are those that are trained. FLOPs: forward and backward passes, with texts of the greatest "
        "length; besides: blocks that are computed again, features that are cached, teachers, ids of online views. "
        "Held-out evaluation during training is not in it."
    )
    return f"{aligned(rows)}\n\n{_prose(note)}"


def _computing(computed: Sequence[ForwardCost], chosen: PlanParams) -> str:
    rows = [["stage", "what", "FLOPs", "precision", "device hours"]]
    alike: dict[tuple, list[str]] = {}
    for one in computed:
        alike.setdefault((one.description, one.flops, one.precision), []).append(one.stage)
    rows += [
        [_named(stages), what, f"{flops:.3g}", precision, _hours(chosen.hours(flops, precision))]
        for (what, flops, precision), stages in alike.items()
    ]
    total = sum(chosen.hours(one.flops, one.precision) for one in computed)
    note = (
        f"In all {_hours(total)} device hours, on one device a stage. Evaluation: of what is tested; VQA's "
        "validation questions are not in it."
    )
    return f"{aligned(rows)}\n\n{_prose(note)}"


def _memory(runs: Sequence[TrainingRun], chosen: PlanParams) -> str:
    rows = [
        [
            "run",
            "micro-batch",
            "passes of a step",
            "weights and optimiser",
            "activations",
            "in all",
            "",
            "checkpointed",
            "the other kind",
        ]
    ]
    for name, _, run in _alike(runs):
        kept, model = (
            run.activation_bytes(checkpointed=run.loop.activation_checkpointing),
            run.model_bytes,
        )
        other = "fsdp2" if run.loop.parallel == "ddp" else "ddp"
        otherwise = memory.model(run.weights, other, run.workers, run.precision) + kept
        rows.append(
            [
                name,
                f"{run.samples / run.loop.gradient_accumulation:,g}",
                f"{run.loop.gradient_accumulation // max(run.workers, 1):g}",
                size(model),
                size(kept),
                size(model + kept),
                "fits" if model + kept < chosen.memory else "too much",
                size(model + run.activation_bytes(checkpointed=True)) if run.backbone else DASH,
                f"{size(otherwise)} ({other})" if run.workers > 1 and run.backbone else DASH,
            ]
        )
    note = (
        "Activations: what layers keep for the backward pass, by a formula that is within 3% of what they are seen "
        "to keep. Not in it: what CUDA, NCCL and the allocator take for themselves."
    )
    return f"{aligned(rows)}\n\n{_prose(note)}"


def _disk(params: Params, sources: Sequence[PlannedSource], runs: Sequence[TrainingRun]) -> str:
    tokenizer = vqkd_training.load_params(params).size
    patches = (tokenizer.image_size // tokenizer.patch_size) ** 2
    numbers = [run.weights.trained + run.weights.frozen for run in runs]
    state = [
        memory.WIDE * (run.weights.frozen + (1 + memory.MOMENTS) * run.weights.trained)
        for run in runs
    ]
    entries = [
        ("official files and fetched pictures", sum(source.raw for source in sources)),
        ("shards", sum(source.shards for source in sources)),
        (
            "runs of the largest source while it is sharded",
            max(source.shards for source in sources),
        ),
        ("visual tokens", data_cost.visual_token_bytes(params, sources, patches)),
        (
            f"checkpoints of the largest run while it trains ({KEPT_CHECKPOINTS}, and the best weights)",
            max(
                KEPT_CHECKPOINTS * one + memory.WIDE * count
                for one, count in zip(state, numbers, strict=True)
            ),
        ),
        (f"models of {len(runs)} runs", memory.WIDE * sum(numbers)),
    ]
    rows = [
        ["what", "bytes"],
        *([name, size(count)] for name, count in entries),
        ["all at once, at most", size(sum(count for _, count in entries))],
    ]
    return aligned(rows)


def _provenance(numbers: Sequence[Number]) -> str:
    kinds = (PAPER, RELATIVE, CHOICE, RUN, UNSAID)
    rows = [["block", *kinds]]
    for block, group in groupby(numbers, key=_block):
        found = [number.source for number in group]
        rows.append([block, *(str(found.count(kind) or DASH) for kind in kinds)])
    rows.append(["all", *(str(sum(number.source == kind for number in numbers)) for kind in kinds)])
    note = (
        f"By the comment on a number's line: whom it names first. {RELATIVE}: BEiT, BEiTv2, VLMo, mmsegmentation "
        f"and others; {RUN}: workers, portions, intervals and seeds."
    )
    return "\n\n".join(
        [aligned(rows), _prose(note), *(_listed(kind, numbers) for kind in (PAPER, CHOICE, UNSAID))]
    )


def _listed(kind: str, numbers: Sequence[Number]) -> str:
    """All numbers of a kind, block by block."""
    found = [number for number in numbers if number.source == kind]
    lines = [
        _prose(
            f"- {block}: "
            + ", ".join(
                f"{number.key.removeprefix(block).lstrip('.')} {number.value}" for number in group
            ),
            "  ",
        )
        for block, group in groupby(found, key=_block)
    ]
    return "\n".join([f"{kind}:", *lines])


def _block(number: Number) -> str:
    """The stage, and which fine-tune."""
    parts = number.key.split(".")
    return (
        ".".join(parts[:2])
        if parts[0] in ("pretrain", "finetune", "evaluate") and len(parts) > 2
        else parts[0]
    )


def _prose(text: str, indent: str = "") -> str:
    return fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _alike(runs: Sequence[TrainingRun]) -> Iterator[tuple[str, int, TrainingRun]]:
    """Runs in order; those that differ in nothing but the name are one: its name, how many, and the
    first."""
    groups: dict[tuple, list[TrainingRun]] = {}
    for run in runs:
        groups.setdefault(
            (run.steps, run.workers, run.loop, run.weights, run.backbone, run.streams), []
        ).append(run)
    for group in groups.values():
        yield _named([run.stage for run in group]), len(group), group[0]


def _named(stages: Sequence[str]) -> str:
    """The first of several stages that take the same, and how many these are."""
    return stages[0] + (f" and {len(stages) - 1} more" if len(stages) > 1 else "")


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.1g}"
