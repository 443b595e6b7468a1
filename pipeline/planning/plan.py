"""The whole reproduction at a scale before it starts: what is fetched and made, what is computed,
and what it takes."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from textwrap import fill

from pipeline.config import yaml_reader
from pipeline.config.limits import Positive, ShareAboveZero
from pipeline.config.params import Params, lists
from pipeline.planning import data_cost, evaluation_cost, provenance, training_cost
from pipeline.planning.data_cost import PlannedSource
from pipeline.planning.evaluation_cost import ForwardCost
from pipeline.planning.item import needed
from pipeline.planning.provenance import CHOICE, PAPER, RELATIVE, RUN, UNSTATED, Number
from pipeline.planning.training_cost import TrainingRun
from pipeline.reporting.render import DASH, aligned
from pipeline.tasks.evaluations import IMPORT
from pipeline.tokenizers import vqkd_training
from pipeline.training.train_state import KEPT_CHECKPOINTS
from pipeline.utils import memory
from pipeline.utils.progress import duration, size

DVC = Path("dvc.yaml")
HOUR = 3600


@dataclass(frozen=True)
class PlanParams:
    """Block `plan`: what the plan assumes. Nothing else reads it."""

    device: str  # what a worker runs on
    bf16: Positive  # FLOP/s at most, dense
    fp32: Positive
    utilization: ShareAboveZero  # share of that which is reached
    memory: Positive  # bytes of the device
    download: Positive  # bytes per second
    two_cores: Positive  # FLOP/s that two cores of a CPU reach in fp32

    def hours(self, flops: float, precision: str) -> float:
        """Of one device; `auto` as fp32, in which it takes longest."""
        rate = self.bf16 if precision == "bf16" else self.fp32
        return flops / (rate * self.utilization) / HOUR


def pages(params: Params) -> Iterator[str]:
    """The plan in Markdown, section by section."""
    assumed = params.load(PlanParams, "plan")
    sources = data_cost.planned_sources(params)
    runs = list(training_cost.runs(params))
    forward = _forward_costs(params, sources, runs)
    yield f"# Plan of scale {params.scale}\n\n{_assumptions(assumed)}"
    yield f"## Stages\n\n{_stages(params)}"
    yield f"## Sources\n\n{_sources(sources, assumed)}"
    yield f"## Training\n\n{_training(runs, assumed)}"
    yield f"## Other computing\n\n{_forward(forward, assumed)}"
    yield f"## Memory of a worker\n\n{_memory(runs, assumed)}"
    yield f"## Disk\n\n{_disk(params, sources, runs, forward)}"
    yield f"## Where the numbers come from\n\n{_provenance(list(provenance.numbers(params.file)))}"


def item_pages(params: Params, item: str) -> Iterator[str]:
    """The plan of one DVC item and of what it depends on; `params` is params.yaml.

    Raises:
        UserError: there is no such item.
    """
    assumed, stages = params.load(PlanParams, "plan"), needed(item)
    every = data_cost.planned_sources(params)
    sources = [source for source in every if not _downloads(source).isdisjoint(stages)]
    all_runs = list(training_cost.runs(params))
    runs = [run for run in all_runs if _is_among(run.stage, stages)]
    costs = _forward_costs(params, every, all_runs)
    forward = [cost for cost in costs if _is_among(cost.stage, stages)]
    yield f"# Plan of {item}, scale {params.scale}\n\n{_assumptions(assumed)}"
    listed = _prose(", ".join(stages))
    yield f"## Stages\n\n{len(stages)} stages, those that are up to date included:\n\n{listed}"
    if sources:
        yield f"## Sources\n\n{_sources(sources, assumed)}"
    if runs:
        yield f"## Training\n\n{_training(runs, assumed)}"
    if forward:
        yield f"## Other computing\n\n{_forward(forward, assumed)}"
    if runs:
        yield f"## Memory of a worker\n\n{_memory(runs, assumed)}"
    yield f"## Disk\n\n{_disk(params, sources, runs, forward)}"


def _downloads(source: PlannedSource) -> set[str]:
    """The stages that may get a source."""
    kinds = ("download", "download_urls", "import")
    return {f"{kind}@{source.name}" for kind in kinds} | {f"released_{source.name}"}


def _is_among(stage: str, stages: Collection[str]) -> bool:
    """Whether a stage as costs name it, `finetune vqa`, is one of DVC's; `visual_tokens` stands for
    several."""
    name = stage.replace(" ", "@")
    return any(one == name or one.startswith(f"{name}@") for one in stages)


def _forward_costs(
    params: Params, sources: Sequence[PlannedSource], runs: Sequence[TrainingRun]
) -> list[ForwardCost]:
    return [
        evaluation_cost.visual_tokens(params, sources),
        *evaluation_cost.of_fine_tunes(runs, params, sources),
        *evaluation_cost.of_imports(params, sources),
    ]


def _assumptions(assumed: PlanParams) -> str:
    return _prose(
        f"Assumed (`plan` in params.yaml): a worker has one {assumed.device} of "
        f"{size(assumed.memory)} and {assumed.bf16 / 1e12:g} TFLOP/s in bf16, "
        f"{assumed.fp32 / 1e12:g} in fp32, of which {assumed.utilization:.0%} are reached; "
        f"{size(assumed.download)}/s come over the network."
    )


def _stages(params: Params) -> str:
    """In the order of dvc.yaml, with the items of each."""
    lines, total = [], 0
    for name, stage in yaml_reader.parse(DVC.read_bytes())["stages"].items():
        items = _items(params, stage.get("foreach", ()))
        total += max(len(items), 1)
        listed = f" ({len(items)}): {', '.join(items)}" if items else ""
        lines.append(_prose(f"- {name}{listed}", "  "))
    return "\n".join([f"{total} stages, in the order of {DVC}:", "", *lines])


def _items(params: Params, foreach: str | Collection[str]) -> Collection[str]:
    """Names of a stage's items, which dvc.yaml lists or takes from a file."""
    if foreach in ("${fine_tunes}", "${evaluations}"):
        return lists(params).subtree(foreach[2:-1])
    return params.subtree(foreach[2:-1]) if isinstance(foreach, str) else foreach


def _sources(sources: Sequence[PlannedSource], assumed: PlanParams) -> str:
    head = "source,origin,files,bytes,by hand,to fetch,at that rate,records,sharding on a core"
    rows = [head.split(","), *(_source_row(source, assumed) for source in sources)]
    fetch = data_cost.to_fetch(sources)
    sharding = duration(_total("core_seconds", sources))
    total = (
        f"In all, each file once, {size(data_cost.raw(sources))} of official files and images. To "
        f"be fetched: {size(fetch)}, {duration(fetch / assumed.download)} at that rate. Sharding: "
        f"{sharding} of one core."
    )
    steps = []
    for source in sources:
        for how, files in groupby(source.by_hand, key=attrgetter("by_hand")):
            listed = ", ".join(map(attrgetter("name"), files))
            steps.append(_prose(f"- {source.name}: {listed}: {how}", "  "))
    by_hand = ["", "By hand:", *steps] if steps else []
    return "\n".join([aligned(rows), "", _prose(total), *by_hand])


def _source_row(source: PlannedSource, assumed: PlanParams) -> list[str]:
    by_hand = _total("bytes", source.by_hand)
    return [
        source.name,
        source.origin,
        str(len(source.files) or DASH),
        size(source.raw),
        size(by_hand) if source.by_hand else DASH,
        _to_fetch(source),
        duration(source.to_fetch / assumed.download) if source.to_fetch else DASH,
        f"{source.records:,.0f} {source.unit}",
        duration(source.core_seconds) if source.core_seconds else DASH,
    ]


def _to_fetch(source: PlannedSource) -> str:
    if source.origin == "none":
        return DASH
    return size(source.to_fetch) if source.files else "generated"


def _training(runs: Sequence[TrainingRun], assumed: PlanParams) -> str:
    head = "run,parameters,samples,steps,FLOPs of a step,extra,in all,device hours,workers,time"
    rows, total_flops, total_hours = [head.split(",")], 0.0, 0.0
    for name, count, run in _alike(runs):
        hours = assumed.hours((run.step_flops + run.extra_flops) * run.steps, run.loop.precision)
        total_hours += count * hours
        total_flops += count * run.step_flops * run.steps
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
        f"In all {total_flops:.3g} FLOPs, {_hours(total_hours)} device hours. Parameters are those "
        "that are trained. FLOPs: forward and backward passes, with texts of the greatest length; "
        "extra: blocks that are computed again, features that are cached, teachers, ids of online "
        "views. Validation during training is not in it."
    )
    return f"{aligned(rows)}\n\n{_prose(note)}"


def _forward(costs: Sequence[ForwardCost], assumed: PlanParams) -> str:
    """What is computed without training; stages that take the same are one row."""
    stages_of: dict[tuple[str, float, str, float], list[str]] = {}
    for cost in costs:
        alike = (cost.description, cost.flops, cost.precision, cost.memory)
        stages_of.setdefault(alike, []).append(cost.stage)
    head = "stage,what,FLOPs,precision,device hours,on two cores,memory"
    rows, total = [head.split(",")], 0.0
    for (description, flops, precision, taken), stages in stages_of.items():
        hours = assumed.hours(flops, precision)
        total += len(stages) * hours
        on_cores = duration(flops / assumed.two_cores)
        rows.append(
            [
                _named(stages),
                description,
                f"{flops:.3g}",
                precision,
                _hours(hours),
                on_cores,
                size(taken) if taken else DASH,
            ]
        )
    note = (
        f"In all {_hours(total)} device hours, on one device a stage. Evaluation: of what is "
        "tested; VQA's validation questions are not in it. Two cores: projected, in fp32, by the "
        "FLOP/s that they have been seen to reach. Memory: weights, and what a block makes of a "
        "batch, or neck and decode head of a batch of windows; torch allocates 0.64 to 1.07 times "
        "as much for a batch. Results that are held until the end are not in it."
    )
    return f"{aligned(rows)}\n\n{_prose(note)}"


def _memory(runs: Sequence[TrainingRun], assumed: PlanParams) -> str:
    head = (
        "run,micro-batch,passes of a step,weights and optimizer,activations,in all,,checkpointed,"
        "the other kind"
    )
    rows = [head.split(","), *(_memory_row(name, run, assumed) for name, _, run in _alike(runs))]
    note = (
        "Activations: what layers keep for the backward pass, by a formula that is within 3% of "
        "what they are seen to keep. Not in it: what CUDA, NCCL and the allocator take for "
        "themselves."
    )
    return f"{aligned(rows)}\n\n{_prose(note)}"


def _memory_row(name: str, run: TrainingRun, assumed: PlanParams) -> list[str]:
    activations = run.activation_bytes(checkpointed=run.loop.activation_checkpointing)
    model = run.model_bytes
    other = "fsdp2" if run.loop.parallel == "ddp" else "ddp"
    otherwise = memory.model(run.weights, other, run.workers, run.precision) + activations
    micro_batches = run.loop.gradient_accumulation
    return [
        name,
        f"{run.samples / micro_batches:,g}",
        f"{micro_batches // max(run.workers, 1):g}",
        size(model),
        size(activations),
        size(model + activations),
        "fits" if model + activations < assumed.memory else "too much",
        size(model + run.activation_bytes(checkpointed=True)) if run.backbone else DASH,
        f"{size(otherwise)} ({other})" if run.workers > 1 and run.backbone else DASH,
    ]


def _disk(
    params: Params,
    sources: Sequence[PlannedSource],
    runs: Sequence[TrainingRun],
    forward: Sequence[ForwardCost],
) -> str:
    """What is kept, and beside it for a while; without what there is none of."""
    tokenizer = vqkd_training.load_params(params).dimensions
    patches = (tokenizer.image_size // tokenizer.patch_size) ** 2
    largest, models = 0.0, 0.0
    for run in runs:
        counts = run.weights
        weights = memory.WIDE * (counts.trained + counts.frozen)
        checkpoint = weights + memory.WIDE * memory.MOMENTS * counts.trained
        largest = max(largest, KEPT_CHECKPOINTS * (checkpoint + weights))
        models += weights
    imported = {cost.model: cost.weights for cost in forward if cost.model.startswith(IMPORT)}
    entries = {
        "official files and fetched images": data_cost.raw(sources),
        "shards": _total("shards", sources),
        "runs of the largest source while it is sharded": max(
            map(attrgetter("shards"), sources), default=0.0
        ),
        "visual tokens": data_cost.visual_token_bytes(params, sources, patches),
        f"checkpoints of the largest run while it trains ({KEPT_CHECKPOINTS}, each with "
        "its best weights)": largest,
        f"models of {len(runs)} runs": models,
        "imported models": sum(imported.values()),
    }
    entries = {what: taken for what, taken in entries.items() if taken}
    entries["all at once, at most"] = sum(entries.values())
    rows = [["what", "bytes"], *zip(entries, map(size, entries.values()), strict=True)]
    return aligned(list(map(list, rows)))


def _provenance(numbers: Sequence[Number]) -> str:
    """How many numbers of each block come from where."""
    kinds = (PAPER, RELATIVE, CHOICE, RUN, UNSTATED)
    rows, total = [["block", *kinds]], Counter[str]()
    for block, group in groupby(numbers, key=_block):
        counts = Counter(map(attrgetter("source"), group))
        total += counts
        rows.append([block, *(str(counts[kind] or DASH) for kind in kinds)])
    rows.append(["all", *(str(total[kind]) for kind in kinds)])
    note = (
        f"By the comment on a number's line: whom it names first. {RELATIVE}: BEiT, BEiTv2, VLMo, "
        f"mmsegmentation and others; {RUN}: workers, portions, intervals and seeds."
    )
    listed = [_listed(kind, numbers) for kind in (PAPER, CHOICE, UNSTATED)]
    return "\n\n".join([aligned(rows), _prose(note), *listed])


def _listed(kind: str, numbers: Sequence[Number]) -> str:
    """All numbers of a kind, block by block."""
    lines = [f"{kind}:"]
    of_kind = [number for number in numbers if number.source == kind]
    for block, group in groupby(of_kind, key=_block):
        values = []
        for number in group:
            key = number.key.removeprefix(block).lstrip(".")
            values.append(f"{key} {number.value}")
        lines.append(_prose(f"- {block}: {', '.join(values)}", "  "))
    return "\n".join(lines)


def _block(number: Number) -> str:
    """The stage, and which fine-tune."""
    parts = number.key.split(".")
    is_nested = parts[0] in ("pretrain", "finetune", "evaluate") and len(parts) > 2
    return ".".join(parts[:2]) if is_nested else parts[0]


def _prose(text: str, indent: str = "") -> str:
    return fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _alike(runs: Sequence[TrainingRun]) -> Iterator[tuple[str, int, TrainingRun]]:
    """Runs in order; those that differ in nothing but the name are one: its name, how many, and the
    first."""
    groups: dict[tuple, list[TrainingRun]] = {}
    for run in runs:
        alike = (run.steps, run.workers, run.loop, run.weights, run.backbone, run.streams)
        groups.setdefault(alike, []).append(run)
    for group in groups.values():
        stages = list(map(attrgetter("stage"), group))
        yield _named(stages), len(group), group[0]


def _total(attribute: str, objects: Iterable[object]) -> float:
    """The sum of an attribute of all."""
    return sum(map(attrgetter(attribute), objects))


def _named(stages: Sequence[str]) -> str:
    """The first of several stages that take the same, and how many these are."""
    return stages[0] + (f" and {len(stages) - 1} more" if len(stages) > 1 else "")


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.1g}"
