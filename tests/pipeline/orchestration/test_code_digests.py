"""Digests of the code behind stages: what Python loads, and nothing that an edit elsewhere
changes."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.orchestration.code_digests import HARMLESS, Code

ROOT = Path(__file__).resolve().parents[3]
LOADED = """
import importlib, sys
for name in sys.argv[1:]: importlib.import_module(name)
print(*(m.__file__ for n, m in sys.modules.items() if n.split(".")[0] in ("model", "pipeline", "stages") and m.__file__))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two stages; `a` imports `shared` and, in a function, `late`; `b` loads the task `vqa` by
    name."""
    for path, text in {
        "stages/a.py": "from pipeline import shared\ndef main():\n    from pipeline.late import x\n",
        "stages/b.py": "from pipeline import errors\nfrom pipeline.tasks import load\n",
        "pipeline/__init__.py": "",
        "pipeline/shared.py": "from model import net\n",
        "pipeline/late.py": "x = 1\n",
        "pipeline/errors.py": "y = 1\n",
        "pipeline/tasks/__init__.py": "load = 1\n",
        "pipeline/tasks/vqa/__init__.py": "",
        "pipeline/tasks/vqa/training/task.py": "from model import vqa\n",
        "pipeline/data/datasets/coco.py": "z = 1\n",
        "pipeline/data/synthetic/scenes/scene.py": "s = 1\n",
        "pipeline/data/synthetic/writers/coco.py": "w = 1\n",
        "model/net.py": "n = 1\n",
        "model/heads/vqa.py": "v = 1\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("edited", "changed"),
    [
        ("model/net.py", {"stages.a"}),
        ("pipeline/late.py", {"stages.a"}),
        ("pipeline/shared.py", {"stages.a"}),
        ("stages/b.py", {"stages.b"}),
        ("pipeline/tasks/__init__.py", {"stages.b", "tasks.vqa"}),
        ("model/heads/vqa.py", {"tasks.vqa"}),
        ("pipeline/tasks/vqa/training/task.py", {"tasks.vqa"}),
        ("pipeline/data/datasets/coco.py", {"sources.coco"}),
        ("pipeline/data/synthetic/writers/coco.py", {"world"}),
        ("pipeline/errors.py", set()),
    ],
)
def test_an_edit_changes_the_digests_of_what_imports_it(
    project: Path, edited: str, changed: set[str]
) -> None:
    before = flat(Code(project).digests())
    path = project / edited
    path.write_text(path.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    after = flat(Code(project).digests())
    assert {key for key in after if after[key] != before[key]} == changed


@pytest.mark.parametrize(
    "modules",
    [
        ["stages.finetune", "pipeline.tasks.vqa.training.task"],
        ["stages.pretrain", "pipeline.pretraining.task"],
        ["stages.shard", "pipeline.data.datasets.coco"],
        ["stages.table"],
    ],
)
def test_they_cover_what_python_loads(modules: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {
        str(Path(path).relative_to(ROOT))
        for path in done.stdout.split()
        if Path(path).read_text().strip()
    }
    assert loaded and loaded - HARMLESS <= set(Code(ROOT).dependencies(modules))


def flat(digests: dict) -> dict[str, str]:
    """`{"stages": {"a": digest}}` as `{"stages.a": digest}`."""
    return {
        f"{kind}.{name}": digest
        for kind, group in digests.items()
        if isinstance(group, dict)
        for name, digest in group.items()
    } | {"world": digests["world"]}
