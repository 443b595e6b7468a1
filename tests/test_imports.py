"""Which packages from outside may be imported where. Layers of our own packages are import-linter's
(pyproject.toml)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.utils.import_graph import imported
from tests.helpers.tiny import ROOT

FILES = {
    package: sorted((ROOT / package).rglob("*.py")) for package in ("model", "pipeline", "stages")
}
# All but the modules that read and write model folders.
FOLDERS = ("checkpoint.py", "hub.py", "weights_file.py")
NETWORKS = [path for path in FILES["model"] if path.name not in FOLDERS]
NETWORK_PACKAGES = {"model", "numpy", "scipy", "timm", "torch", "torchvision"}
HEAVY = {"mlflow", "pandas", "ray", "timm", "torch"}
DATA_STAGES = ("download", "shard", "text_tokenizer", "text_tokens")


def top_level(path: Path) -> set[str]:
    """Top-level packages that a file imports."""
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_networks_neither_read_nor_write_anything(path: Path) -> None:
    standard = sys.stdlib_module_names - {"json", "os", "pathlib", "shutil"}
    assert top_level(path) <= NETWORK_PACKAGES | standard
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"print", "open"}


def test_yaml_is_read_as_yaml_1_2() -> None:
    for path in (path for paths in FILES.values() for path in paths):
        assert "yaml" not in top_level(path), f"{path}: PyYAML takes 5e-05 for a string"


def test_data_stages_start_without_the_heavy_packages() -> None:
    sources = [
        f"pipeline.data.datasets.{path.stem}"
        for path in FILES["pipeline"]
        if path.parent.name == "datasets" and path.stem != "__init__"
    ]
    modules = [f"stages.{stage}" for stage in DATA_STAGES] + sources
    code = f"import sys, {', '.join(modules)}; print({HEAVY} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_the_shapes_of_a_model_take_none_of_torchs_compiler() -> None:
    """On the meta device it does arithmetic in Python, with SymPy: seconds of every process."""
    code = """
import sys
from model.meta import on_meta
from pipeline.config import params
from pipeline.released import imports
preset = params.preset("small")
for name in preset.subtree("imports"):
    cls, config = imports.load(name, preset).planned()
    on_meta(lambda: cls(config))
print({"sympy", "timm", "torch._dynamo"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
