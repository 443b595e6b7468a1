"""Comparing what is on disk with the checksums that were taken when it was made.

DVC takes a file for unchanged while its time and size are, so that it neither sees a damaged file
nor mends one, and hands out a damaged object of its cache as it is.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import UserError
from pipeline.utils import dvc_state, files

_MD5 = re.compile(r"[0-9a-f]{32}")


class TrackedFile(NamedTuple):
    """A file that a stage has made; `out`: the output that it is or belongs to."""

    path: Path
    md5: str
    out: str
    stage: str


@dataclass
class Checker:
    """Hashes files, those of several names once.

    Args:
        cache: folder of DVC's objects.
        remote: whether there is one to pull from.
    """

    cache: Path
    remote: bool
    files: int = 0  # checked so far
    size: int = 0  # bytes of them
    _known: dict[tuple[int, int, str], str] = field(default_factory=dict)

    def digest(self, path: Path, kind: str) -> str:
        """Hex digest of a file, by md5 or sha256."""
        facts = path.stat()
        key = (facts.st_dev, facts.st_ino, kind)
        if key not in self._known:
            if (*key[:2], "md5") not in self._known:
                self.files, self.size = self.files + 1, self.size + facts.st_size
            with open(path, "rb") as file:
                self._known[key] = hashlib.file_digest(file, kind).hexdigest()
        return self._known[key]

    def object(self, md5: str) -> Path:
        """Where DVC's cache keeps a content."""
        return self.cache / md5[:2] / md5[2:]

    def is_whole(self, path: Path, md5: str) -> bool:
        """Whether a file is there and has this content."""
        return path.is_file() and self.digest(path, "md5") == md5[:32]


def damages(root: Path) -> Iterator[str]:
    """A line on each damaged file of the project in `root`, the working directory, with the command
    that mends it; last a line on how much was checked.

    Raises:
        UserError: dvc.lock is damaged.
    """
    with closing(dvc_state.open_repo()) as repo:
        remote = repo.config["core"].get("remote") is not None
        cache = Path(repo.cache.local.path)
    if cache.is_relative_to(root):
        cache = cache.relative_to(root)
    checker = Checker(cache, remote)
    tracked = list(_tracked(checker))
    reported = set()
    for file in tracked:
        if file.path.exists() and not checker.is_whole(file.path, file.md5):
            reported.add(file.md5)
            yield f"{file.path}: not what {file.stage} made; {_mending(checker, file)}"
    yield from _damaged_objects(checker, {file.md5: file for file in tracked}, reported)
    yield from _not_as_indexed(checker)
    yield f"checked {checker.files} files of {checker.size / 1e9:.2f} GB"


def _tracked(checker: Checker) -> Iterator[TrackedFile]:
    """The files of all outputs that dvc.lock records. Those of a folder whose list is damaged are
    left out: the list is a damaged object, too."""
    for stage, entry in dvc_state.recorded_stages().items():
        for out in entry.get("outs", []):
            path, md5 = out["path"], out["md5"]
            if not md5.endswith(".dir"):
                yield TrackedFile(Path(path), md5, path, stage)
                continue
            yield TrackedFile(checker.object(md5), md5, path, stage)
            if checker.is_whole(checker.object(md5), md5):
                for file in json.loads(checker.object(md5).read_bytes()):
                    yield TrackedFile(Path(path, file["relpath"]), file["md5"], path, stage)


def _mending(checker: Checker, file: TrackedFile) -> str:
    """The command that brings a damaged output back."""
    kept = checker.object(file.md5)
    if checker.is_whole(kept, file.md5):
        return f"`rm -f {file.path} && dvc checkout {file.out}`"
    return f"`rm -f {file.path} {kept} && {_again(checker, file)}`"


def _again(checker: Checker, file: TrackedFile) -> str:
    return f"dvc {'pull' if checker.remote else 'repro'} {file.stage}"


def _damaged_objects(
    checker: Checker, tracked: dict[str, TrackedFile], reported: set[str]
) -> Iterator[str]:
    for path in sorted(checker.cache.glob("??/*")):
        md5 = path.parent.name + path.name
        if not _MD5.fullmatch(md5[:32]) or md5 in reported or checker.is_whole(path, md5):
            continue
        command = f"rm -f {path}"
        if (file := tracked.get(md5)) is not None:
            whole = file.path != path and checker.is_whole(file.path, md5)
            again = f"dvc commit -f {file.stage}" if whole else _again(checker, file)
            command = f"{command} && {again}"
        yield f"{path}: a damaged object of DVC's cache; `{command}`"


def _not_as_indexed(checker: Checker) -> Iterator[str]:
    """Shards that were damaged before DVC took their checksums, or that it does not know."""
    for index in sorted(Path("data").glob("*/*/*/index.json")):
        for name, sha256 in _indexed(index):
            path = index.parent / name
            if not path.is_file():
                yield f"{path}: missing; `rm -rf {index.parent}`, and run the stage that makes it"
            elif checker.digest(path, "sha256") != sha256:
                yield (
                    f"{path}: not what {index} says; `rm -rf {index.parent}`, and `dvc checkout "
                    f"{index.parent}` or run the stage that makes it"
                )


def _indexed(index: Path) -> Iterator[tuple[str, str]]:
    """Names and SHA-256 of the files in an index of shards."""
    try:
        for facts in files.read_json(index)["splits"].values():
            for entry in facts["files"]:
                yield entry["name"], entry["sha256"]
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{index}: not an index of shards") from None
