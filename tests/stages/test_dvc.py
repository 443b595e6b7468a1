"""dvc.yaml and params.yaml: dependencies are neither missing nor superfluous, and every key exists
at every scale."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.config import params as settings
from pipeline.config.params import SCALES
from pipeline.orchestration.code_digests import Code
from stages import params

ROOT = Path(__file__).resolve().parents[2]
TREE = settings.inherited(YAML(typ="safe", pure=True).load(ROOT / "params.yaml"))


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    """DVC's stages with all templates resolved, by name."""
    repo = pytest.importorskip("dvc.repo").Repo(str(ROOT))
    return {stage.name: stage for stage in repo.index.stages}


def test_stages_depend_on_their_own_code(stages: dict[str, Any]) -> None:
    for name, stage in stages.items():
        if (module := stage.cmd.split()[2]) not in ("stages.params", "stages.code"):
            assert module in keys_of(stage), name


def test_stages_depend_on_what_they_load_by_name(stages: dict[str, Any]) -> None:
    for item, entry in TREE["items"].items():
        for name in ("finetune", "evaluate"):
            assert f"tasks.{entry['task']}" in keys_of(stages[f"{name}@{item}"])
    for source in TREE[TREE["scale"]]["download"]:
        assert {"world", f"sources.{source}"} <= keys_of(stages[f"download@{source}"])
        assert f"sources.{source}" in keys_of(stages[f"shard@{source}"])


def test_outputs_belong_to_one_scale(stages: dict[str, Any]) -> None:
    scale = TREE["scale"]
    places = {f"data/{scale}", f"runs/{scale}", f"results/{scale}"}
    assert {
        "/".join(out.def_path.split("/")[:2]) for stage in stages.values() for out in stage.outs
    } == places


def test_parameters_and_code_that_stages_depend_on_exist(stages: dict[str, Any]) -> None:
    digests, seen = Code(ROOT).digests(), params.seen(TREE, TREE["scale"])
    for stage in stages.values():
        for dep in stage.deps:
            for key in getattr(dep, "params", ()):
                assert (
                    key in seen if dep.def_path.endswith("params.json") else exists(digests, key)
                ), key


def test_scales_have_the_same_keys() -> None:
    first, *others = (set(keys(TREE[scale])) for scale in SCALES)
    for scale, other in zip(SCALES[1:], others, strict=True):
        assert first ^ other == set(), scale


@pytest.mark.parametrize("block", ["nlvr2", "flickr30k"])
def test_what_dvc_sets_in_a_block_holds_in_it_and_in_the_block_like_it(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dvc exp run -S`, of a value within a block within the block, and of a value that the other
    block has itself."""
    apply = pytest.importorskip("dvc.utils.hydra").apply_overrides
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    apply(
        tmp_path / "params.yaml",
        [f"finetune.{block}.loop.gradient_accumulation=2", f"finetune.{block}.steps=7"],
    )
    tuned, expected = settings.read()["small"]["finetune"], deepcopy(TREE["small"]["finetune"])
    for name in (block, f"{block}_ablation"):
        expected[name]["loop"]["gradient_accumulation"] = 2
    expected[block]["steps"] = 7
    assert tuned == expected


def keys_of(stage: Any) -> set[str]:
    """Keys of parameters and code that a stage depends on."""
    return {key for dep in stage.deps for key in getattr(dep, "params", ())}


def exists(node: Any, key: str) -> bool:
    """Whether a tree has a dotted key."""
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def keys(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """All dotted keys. A block that may be absent at a scale (null) counts as one key."""
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")
