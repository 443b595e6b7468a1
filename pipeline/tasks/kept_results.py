"""Results of a long evaluation, kept in its work folder as they come: one that was killed goes on
after them, and ends with the same bytes as one that was left alone.

Every minute, what came since the last one goes into a file. So an evaluation of less than a minute
writes none.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from model import weights_file
from pipeline.tasks.batch_results import B, BatchMap, Outputs
from pipeline.utils import files, workdir
from pipeline.utils.progress import Progress

MINUTE = 60.0  # seconds


@dataclass(frozen=True)
class KeptResults:
    """Of one evaluation. Its batches must be the same in every attempt."""

    folder: Path
    every: float = MINUTE  # seconds from one file to the next

    def map_of(self, name: str, total: int) -> BatchMap:
        """Runs a function over the batches of a part of the evaluation, but not over those whose
        results were kept by an earlier attempt.

        Args:
            name: of the part, in files and in the lines of progress.
            total: samples of the part, counted by the first of a batch's results.
        """
        return partial(self._map, name, total)

    def _map(
        self, name: str, total: int, function: Callable[[B], Outputs], batches: Iterable[B]
    ) -> Iterator[tuple[B, Outputs]]:
        kept = self._read(name)
        fresh: list[Outputs] = []
        written = time.monotonic()
        with Progress(name, total) as progress:
            for number, batch in enumerate(batches):
                outputs = next(kept, None)
                if outputs is not None:
                    progress.skip(len(outputs[0]))
                else:
                    outputs = function(batch)
                    fresh.append(outputs)
                    progress.advance(len(outputs[0]))
                    if time.monotonic() - written >= self.every:
                        self._write(name, number + 1 - len(fresh), fresh)
                        fresh, written = [], time.monotonic()
                yield batch, outputs

    def _write(self, name: str, first: int, results: Sequence[Outputs]) -> None:
        """Results of the batches from `first`."""
        tensors = {}
        for number, outputs in enumerate(results, first):
            for position, values in enumerate(outputs):
                tensors[f"{number:09d}.{position}"] = values.clone().contiguous()
        with files.replacing(self._path(name, first)) as temporary:
            save_file(tensors, temporary)

    def _read(self, name: str) -> Iterator[Outputs]:
        """What is kept of the first batches, up to a file that is missing or damaged."""
        number = 0
        while (path := self._path(name, number)).exists():
            try:
                tensors = weights_file.read(path)
            except ValueError as error:
                print(f"{error}; its results are computed again", file=sys.stderr)
                return
            outputs: dict[str, Outputs] = {}
            for key in sorted(tensors):
                batch, _, _ = key.partition(".")
                outputs[batch] = (*outputs.get(batch, ()), tensors[key])
            yield from outputs.values()
            number += len(outputs)

    def _path(self, name: str, first: int) -> Path:
        return self.folder / f"{name.replace(' ', '-')}-{first:09d}.safetensors"


@contextmanager
def of_evaluation(
    stage: str, params: dict[str, Any], inputs: Iterable[Path], outs: Iterable[Path]
) -> Iterator[KeptResults]:
    """What is kept of an evaluation that writes the outputs `outs` in this block. After it the work
    folder goes: at once where nothing was kept, else when dvc.lock records the outputs.

    Args:
        stage, params, inputs: what a work folder is known by (`workdir.folder`).

    Raises:
        UserError: see `workdir.folder` and `workdir.locked`.
    """
    work_dir = workdir.folder(stage, params, inputs)
    with workdir.locked(work_dir):
        yield KeptResults(work_dir)
    if any(work_dir.glob("*.safetensors")):
        workdir.note_published(work_dir, outs)
    else:
        shutil.rmtree(work_dir)
