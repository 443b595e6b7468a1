"""The library `vlbeit` holds what using models takes, under one name, and runs docs/use.md beside
a `model.py` and a `pipeline.py` of others."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from library import build_tree
from model import checkpoint
from pipeline import tasks
from pipeline.inference import closure
from pipeline.utils.import_graph import imported
from tests.helpers.doc_examples import examples
from tests.helpers.exported import BASE, write_project
from tests.helpers.tiny import ROOT

# See test_tracking, test_graphs, test_hub.
ELSEWHERE = ("From MLflow", "As a graph 2", "The hub")
RUNNER = ROOT / "tests/helpers/run_examples.py"
EXAMPLES = {
    heading: code for heading, code in examples("docs/use.md").items() if heading not in ELSEWHERE
}
SHAPES = {
    "Features of images": {"features": [2, 16]},
    "Features of texts": {"features": [2, 16]},
    "Similarity of images and captions": {"cosines": [2, 2], "probabilities": [2]},
    "A question about an image": {},
    "A question about an image 2": {},
    "Classes of images and of their pixels": {"mask": [16, 16]},
    "The backbone itself": {"text": [1, 4], "images": [1, 3, 16, 16]},
    "The timm model": {"logits": [1, 1000], "maps": [[1, 16, 14, 14]] * 4},
    "As a graph": {"pixels": [2, 3, 16, 16], "ids": [2, 12], "mask": [2, 12], "logits": [2, 4]},
    "The timm model 2": {"images": [1, 3, 100, 100], "vectors": [1, 626, 16]},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported models, beside modules of somebody else."""
    root = tmp_path_factory.mktemp("project")
    write_project(root)
    for name in ("model", "pipeline"):
        (root / f"{name}.py").write_text("raise SystemExit('imported what is not its own')\n")
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    build_tree.write(folder)
    return folder


def run_examples(python: Path | str, project: Path, **environment: str) -> dict[str, Any]:
    """What the examples leave, run in the project's folder, which comes first on the path."""
    sizes = {"embed_dim": BASE.embed_dim, "num_heads": BASE.num_heads, "mlp_dim": BASE.mlp_dim}
    done = subprocess.run(
        [python, "-c", RUNNER.read_text(encoding="utf-8")],
        cwd=project,
        env={**os.environ, **environment},
        input=json.dumps({"examples": EXAMPLES, "base": sizes}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_examples_of_the_documentation_run(project: Path, tree: Path) -> None:
    left = run_examples(sys.executable, project, PYTHONPATH=str(tree))
    assert left == SHAPES


def test_files_are_those_of_the_checkout_but_for_their_imports(tree: Path) -> None:
    expected = {"vlbeit/__init__.py", *(f"vlbeit/{path}" for path in closure.files(ROOT))}
    written = {str(path.relative_to(tree)): path for path in tree.rglob("*") if path.is_file()}
    assert set(written) == expected
    for path in closure.files(ROOT):
        copy = written[f"vlbeit/{path}"]
        undone = re.sub(r"^(\s*from )vlbeit\.", r"\1", copy.read_text(), flags=re.MULTILINE)
        assert undone == (ROOT / path).read_text(), path
        assert not {"model", "pipeline", "stages"} & {name.split(".")[0] for name in imported(copy)}


def test_what_is_imported_by_name_is_there() -> None:
    files = closure.files(ROOT)
    modules = {f"model{name.replace('.', '/')}.py" for name in checkpoint.MODULES.values()}
    modules |= {str(path.relative_to(ROOT)) for path in (ROOT / "model/heads").glob("*.py")}
    modules |= {f"pipeline/tasks/{task}/row_predictor.py" for task in tasks.names()}
    assert modules <= set(files)
    assert not [path for path in files if "/training/" in path or "mlflow" in path]


@pytest.mark.parametrize(
    ("source", "renamed"),
    [
        ("from model import a\n", "from vlbeit.model import a\n"),
        ("def f():\n    from pipeline.b import (\n        c,\n    )\n", None),
        ('"""\nfrom model import a\n"""\nfrom models import b\n', None),
    ],
)
def test_only_imports_are_renamed(source: str, renamed: str | None) -> None:
    expected = renamed or source.replace("from pipeline", "from vlbeit.pipeline")
    assert build_tree.renamed(source) == expected


def test_an_import_that_renaming_would_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2: expected `from"):
        build_tree.renamed("x = 1\nimport model.checkpoint\n")


@pytest.mark.slow
def test_the_wheel_in_an_environment_of_its_own(project: Path, tmp_path: Path) -> None:
    build = ["uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT / "library"]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    folders = {name.partition("/")[0] for name in ZipFile(wheel).namelist()}
    assert folders == {"vlbeit", f"{wheel.stem.rpartition('-py3')[0]}.dist-info"}
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    # Pinned, since the newest torch may be a build for GPUs of gigabytes.
    install = ["-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel]
    subprocess.run([python, *install], check=True)
    assert run_examples(python, project, PYTHONPATH="") == SHAPES
