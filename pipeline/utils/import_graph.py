"""Which files of the project a module imports, directly or not. Modules are read, not run."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("model", "pipeline", "stages")


class ImportGraph:
    """The modules of a project, whose folder is `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.imports = cache(self._imports)  # many closures share modules

    def closure(self, modules: Iterable[str]) -> list[str]:
        """Paths, relative to the root, of these modules and all that they import, but empty files.

        Of a package its modules are in it, too: they are loaded by name, and no import shows them.
        """
        seen: dict[str, Path] = {}
        pending = [name for module in modules for name in (module, *self._plug_ins(module))]
        while pending:
            name = pending.pop()
            path = self.file_of(name)
            if path is not None and name not in seen:
                seen[name] = path
                pending += [*self.imports(path), name.rpartition(".")[0]]
        paths = {path for path in seen.values() if path.read_bytes().strip()}
        return sorted(str(path.relative_to(self.root)) for path in paths)

    def file_of(self, module: str) -> Path | None:
        """The file of a module of this project."""
        if module.split(".")[0] not in PACKAGES:
            return None
        path = self.root.joinpath(*module.split("."))
        candidates = (path.with_suffix(".py"), path / "__init__.py")
        return next((candidate for candidate in candidates if candidate.exists()), None)

    def _plug_ins(self, module: str) -> list[str]:
        """All modules in a package, however deep."""
        path = self.file_of(module)
        if path is None or path.name != "__init__.py":
            return []
        return sorted(
            module_of(child.relative_to(self.root)) for child in path.parent.rglob("*.py")
        )

    def _imports(self, path: Path) -> list[str]:
        return sorted(set(imported(path)))


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
            assert node.module is not None  # the project has no relative imports
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        is_for_types = (
            isinstance(child, ast.If)
            and isinstance(child.test, ast.Name)
            and child.test.id == "TYPE_CHECKING"
        )
        if not is_for_types:
            yield child
            yield from _executed(child)
