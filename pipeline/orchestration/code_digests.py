"""What code a stage depends on: digests of the modules that it imports, directly or not.

DVC compares a stage's `stages.NAME`, and the `sources.NAME`, `tasks.NAME` or `world` that it loads
by name, with those of its last run, so an edit re-runs what it can change and no more. Modules are
read, not run.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("model", "pipeline", "stages")

# Modules that a stage imports but whose code cannot change what it writes.
HARMLESS = frozenset(
    {
        "pipeline/errors.py",  # likewise
        "pipeline/data/download/http_client.py",  # how files come: checksums tell what they are
        "pipeline/orchestration/ray_train.py",  # where the same function runs
        "pipeline/orchestration/parallel_map.py",  # likewise
        "pipeline/config/params.py",  # the values themselves are dependencies
        "pipeline/utils/progress.py",  # words for people
        "pipeline/utils/entry_point.py",  # command line
        "pipeline/tracking/client.py",  # what is told to MLflow
        "pipeline/data/url_fetch/progress.py",  # words for people
        "pipeline/utils/workdir.py",  # where unfinished work is kept
    }
)


class Code:
    """The modules of a project, whose folder is `root`."""

    def __init__(self, root: Path = Path()):
        self.root = root
        self.imports = cache(self._imports)  # many closures share modules

    def digests(self) -> dict[str, dict[str, str] | str]:
        """Digest by kind and name of whatever `dvc.yaml` can depend on."""
        kinds = {"stages": "stages", "sources": "pipeline.data.datasets", "tasks": "pipeline.tasks"}
        return {
            kind: {name: self.digest(f"{package}.{name}") for name in self.names(package)}
            for kind, package in kinds.items()
        } | {"world": self.digest(*self.below("pipeline.data.synthetic"))}

    def digest(self, *modules: str) -> str:
        """64 bits of SHA-256, in hexadecimal, of the names and contents of all files behind these
        modules."""
        total = hashlib.sha256()
        for path in self.dependencies(modules):
            content = (self.root / path).read_bytes()
            total.update(f"{path} {len(content)}\n".encode() + content)
        return total.hexdigest()[
            :16
        ]  # short: it is written to dvc.lock several times for each stage

    def dependencies(self, modules: Iterable[str]) -> list[str]:
        """Files, relative to the root, behind these modules and all that they import; not harmless
        nor empty ones."""
        seen: set[str] = set()
        waiting = [name for module in modules for name in (module, *self._plug_in(module))]
        while waiting:
            name = waiting.pop()
            if name not in seen and self.file_of(name):
                seen.add(name)
                waiting += [*self.imports(name), name.rpartition(".")[0]]
        paths = {self.file_of(name) for name in seen}
        return sorted(
            {str(path.relative_to(self.root)) for path in paths if path.read_bytes().strip()}
            - HARMLESS
        )

    def names(self, package: str) -> list[str]:
        """Modules and packages right in a package."""
        folder = self.root.joinpath(*package.split("."))
        return sorted(
            path.stem
            for path in folder.iterdir()
            if path.stem != "__init__" and (path.suffix == ".py" or (path / "__init__.py").exists())
        )

    def below(self, package: str) -> list[str]:
        """All modules in a package, however deep."""
        folder = self.root.joinpath(*package.split("."))
        return sorted(module_of(path.relative_to(self.root)) for path in folder.rglob("*.py"))

    def file_of(self, module: str) -> Path | None:
        """The file of a module of this project."""
        if module.split(".")[0] not in PACKAGES:
            return None
        path = self.root.joinpath(*module.split("."))
        candidates = (path.with_suffix(".py"), path / "__init__.py")
        return next((candidate for candidate in candidates if candidate.exists()), None)

    def _plug_in(self, module: str) -> list[str]:
        """What is loaded from a package by name, and no import shows: the modules of a task."""
        path = self.file_of(module)
        return self.below(module) if path and path.name == "__init__.py" else []

    def _imports(self, module: str) -> list[str]:
        return sorted(set(imported(self.file_of(module))))


def module_of(path: Path) -> str:
    """`pipeline/tasks/__init__.py` as `pipeline.tasks`."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere, in functions too; `from a import b` gives `a` and
    `a.b`."""
    for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if not (
            isinstance(child, ast.If)
            and isinstance(child.test, ast.Name)
            and child.test.id == "TYPE_CHECKING"
        ):
            yield child
            yield from _executed(child)
