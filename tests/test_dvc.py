"""dvc.yaml and params.yaml: dependencies are neither missing nor superfluous, and every key exists at every scale."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.params import SCALES
from tests.closure import HARMLESS, ROOT, closure

CODE = ("model", "pipeline", "stages")
PLUG_INS = ("pipeline/sources/", "pipeline/tasks/", "pipeline/world/")  # loaded by name, which no import shows
TREE = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    """DVC's stages with all templates resolved, by name."""
    repo = pytest.importorskip("dvc.repo").Repo(str(ROOT))
    return {stage.name: stage for stage in repo.index.stages}


def test_dependencies_are_the_modules_that_can_change_an_output(stages: dict[str, Any]) -> None:
    wrong = []
    superfluous: dict[str, set[str]] = {}  # of a template: what none of its items needs
    for name, stage in stages.items():
        declared = code_files(stage)
        plug_ins = [module_of(path) for path in declared if path.startswith(PLUG_INS)]
        needed = closure([stage.cmd.split()[2], *plug_ins]) - HARMLESS
        wrong += [f"{name}: lacks {path}" for path in sorted(needed - declared)]
        template = name.partition("@")[0]
        superfluous[template] = superfluous.get(template, declared) & (declared - needed)
    wrong += [f"{name}: does not need {path}" for name, paths in superfluous.items() for path in sorted(paths)]
    assert not wrong, "\n".join(wrong)


def test_outputs_belong_to_one_scale(stages: dict[str, Any]) -> None:
    scale = TREE["scale"]
    places = {f"data/{scale}", f"runs/{scale}", f"results/{scale}"}
    assert {"/".join(out.def_path.split("/")[:2]) for stage in stages.values() for out in stage.outs} == places


def test_parameters_that_stages_depend_on_exist(stages: dict[str, Any]) -> None:
    keys = {key for stage in stages.values() for dep in stage.deps for key in getattr(dep, "params", ())}
    assert keys and not [key for key in keys if not exists(key)]


def test_scales_have_the_same_keys() -> None:
    first, *others = (set(keys(TREE[scale])) for scale in SCALES)
    for scale, other in zip(SCALES[1:], others, strict=True):
        assert first ^ other == set(), scale


def code_files(stage: Any) -> set[str]:
    """The Python files among a stage's dependencies that hold anything, folders unfolded."""
    paths = [ROOT / dep.def_path for dep in stage.deps if dep.def_path.split("/")[0] in CODE]
    assert all(path.exists() for path in paths)
    found = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return {str(file.relative_to(ROOT)) for file in found if file.suffix == ".py" and file.read_text().strip()}


def module_of(path: str) -> str:
    """`pipeline/tasks/__init__.py` as `pipeline.tasks`."""
    return ".".join(Path(path).with_suffix("").parts).removesuffix(".__init__")


def exists(key: str) -> bool:
    """Whether params.yaml has a dotted key."""
    node: Any = TREE
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
