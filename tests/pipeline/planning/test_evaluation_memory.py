"""The plan's memory of evaluations against what torch allocates: those of released weights, at
their resolutions, with heads of their width but fewer, and three blocks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from benchmarks import released
from model.backbone import layers
from pipeline.config.params import Params
from pipeline.planning import data_cost, evaluation_cost
from pipeline.planning.evaluation_cost import ForwardCost
from pipeline.released import imports
from pipeline.tasks import evaluations
from tests.helpers import tiny

BATCH = 4
SIZE = {"patch_size": 16, "depth": 3, "embed_dim": 192, "num_heads": 3, "mlp_dim": 768}
NAMES = (
    "vlmo-vqa",
    "vlmo-nlvr2",
    "vlmo-coco",
    "beit3-vqa",
    "beit3-nlvr2",
    "beit3-coco",
    "beit3-imagenet1k",
    "beit-imagenet1k",
    "beit-ade20k",
    "beitv2-ade20k",
)


@pytest.fixture(scope="module")
def preset() -> Iterator[Params]:
    """One-gpu's parameters of smaller models, on data sets that need no file to be looked at."""
    tree = tiny.preset("one-gpu")
    tree["imported_size"] = SIZE
    for block in tree["evaluate"].values():
        block |= {"batch": BATCH} if "batch" in block else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny.ROOT)
        yield Params(Path("params/one-gpu.yaml"), tree)


@pytest.fixture(scope="module")
def planned(preset: Params) -> dict[str, ForwardCost]:
    sources = data_cost.planned_sources(preset)
    return {cost.stage: cost for cost in evaluation_cost.of_imports(preset, sources)}


def peak(work: Callable[[], Any]) -> int:
    """Most bytes that torch has allocated at a time, beside those that were before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    total = most = 0
    for event in sorted(recorded.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            total += event.nbytes()
            most = max(most, total)
    return most


@pytest.mark.parametrize("name", NAMES)
def test_memory_beside_the_weights_is_about_what_torch_allocates(
    name: str,
    preset: Params,
    planned: dict[str, ForwardCost],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the fused attention of GPUs, which CPUs have for long sequences alone."""
    monkeypatch.setattr(layers, "attention", scaled_dot_product_attention)
    listed = evaluations.load(name, preset)
    imported = imports.load(listed.model.removeprefix(evaluations.IMPORT), preset)
    cls, config = imported.planned()
    model = released.made_up(lambda: cls(config))
    released.forward(listed.task, model, BATCH)()  # what a first pass alone allocates
    found = peak(lambda: released.forward(listed.task, model, BATCH)())
    expected = planned[f"evaluate {name}"].batch_bytes
    print(f"{name}: planned {expected / 1e6:.1f} MB, allocated {found / 1e6:.1f} MB")
    assert 0.55 < found / expected < 1.2
