"""The project's modules that a module imports, directly or not, read from the sources without running them.

`python -m tests.closure stages.shard pipeline.sources.cc3m` prints the `deps:` of a stage that loads these modules.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("model", "pipeline", "stages")

# Modules that a stage imports but whose code cannot change what it writes.
HARMLESS = frozenset({
    "pipeline/errors.py",  # words for people
    "pipeline/launch.py",  # where the same function runs
    "pipeline/pool.py",  # likewise
    "pipeline/params.py",  # the values themselves are dependencies
    "pipeline/stage.py",  # command line
    "pipeline/tracking.py",  # what is told to MLflow
    "pipeline/work.py",  # where unfinished work is kept
})


def closure(modules: Iterable[str]) -> set[str]:
    """Files, relative to the root, behind these modules and all that they import; empty files are left out."""
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen or (path := file_of(name)) is None:
            continue
        seen.add(name)
        waiting += [*imported(path), name.rpartition(".")[0]]
    paths = {file_of(name) for name in seen}
    return {str(path.relative_to(ROOT)) for path in paths if path.read_text(encoding="utf-8").strip()}


def dependencies(modules: Iterable[str]) -> list[str]:
    """The closure without what is harmless, in order."""
    return sorted(closure(modules) - HARMLESS)


def file_of(module: str) -> Path | None:
    """The file of a module of this project."""
    if module.split(".")[0] not in PACKAGES:
        return None
    path = ROOT.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere, in functions too; `from a import b` gives `a` and `a.b`."""
    for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield child
            yield from _executed(child)


if __name__ == "__main__":
    print("\n".join(f"- {path}" for path in dependencies(sys.argv[1:])))
