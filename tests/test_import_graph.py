"""The import graph has what Python loads."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.utils.import_graph import ImportGraph
from tests.helpers.tiny import ROOT

LOADED = """
import importlib, sys
for name in sys.argv[1:]: importlib.import_module(name)
print(*(m.__file__ for n, m in sys.modules.items() if n.split(".")[0] in ("model", "pipeline", "stages") and m.__file__))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two stages; `a` imports `shared` and, in a function, `late`; `b` imports a package whose
    module `vqa` is loaded by name."""
    for path, text in {
        "stages/a.py": "from pipeline import shared\ndef main():\n    from pipeline.late import x\n",
        "stages/b.py": "from pipeline import errors\nfrom pipeline.tasks import load\n",
        "pipeline/__init__.py": "",
        "pipeline/shared.py": "from model import net\n",
        "pipeline/late.py": "x = 1\n",
        "pipeline/errors.py": "y = 1\n",
        "pipeline/tasks/__init__.py": "load = 1\n",
        "pipeline/tasks/vqa/__init__.py": "",
        "pipeline/tasks/vqa/task.py": "from model.heads import vqa\n",
        "model/net.py": "n = 1\n",
        "model/heads/vqa.py": "v = 1\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("module", "files"),
    [
        ("stages.a", ["model/net.py", "pipeline/late.py", "pipeline/shared.py", "stages/a.py"]),
        ("stages.b", ["pipeline/errors.py", "pipeline/tasks/__init__.py", "stages/b.py"]),
        (
            "pipeline.tasks.vqa",
            ["model/heads/vqa.py", "pipeline/tasks/__init__.py", "pipeline/tasks/vqa/task.py"],
        ),
    ],
)
def test_the_closure_has_all_imports_and_no_more(
    project: Path, module: str, files: list[str]
) -> None:
    assert ImportGraph(project).closure([module]) == files


@pytest.mark.parametrize(
    "modules",
    [
        ["stages.finetune", "pipeline.tasks.vqa"],
        ["stages.pretrain", "pipeline.pretraining.task"],
        ["stages.shard", "pipeline.data.datasets.coco"],
        ["stages.table"],
    ],
)
def test_the_closure_covers_what_python_loads(modules: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [Path(path) for path in done.stdout.split()]
    loaded = {str(path.relative_to(ROOT)) for path in paths if path.read_text().strip()}
    assert loaded and loaded <= set(ImportGraph(ROOT).closure(modules))
