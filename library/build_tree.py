"""The package `vlbeit` as files: modules of this project under one name, so that they do not take
`model` and `pipeline` from whoever installs them."""

import ast
import shutil
from pathlib import Path

from pipeline.inference import closure
from pipeline.utils.import_graph import PACKAGES

ROOT = Path(__file__).resolve().parents[1]
NAME = "vlbeit"


def write(folder: Path) -> None:
    """Write the package into a folder, which is made where there is none."""
    package = folder / NAME
    for path in closure.files(ROOT):
        target = package / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(renamed((ROOT / path).read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copy(ROOT / "library" / NAME / "__init__.py", package)


def renamed(source: str) -> str:
    """A module whose imports of this project's packages are of `vlbeit`'s; all else stays.

    Raises:
        ValueError: it has `import model.x`, whose name would change where it is used.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and _is_ours(node.module):
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = line.replace("from ", f"from {NAME}.", 1)
        if isinstance(node, ast.Import) and any(_is_ours(alias.name) for alias in node.names):
            raise ValueError(f"line {node.lineno}: expected `from ... import ...`")
    return "".join(lines)


def _is_ours(module: str | None) -> bool:
    return module is not None and module.split(".")[0] in PACKAGES
