"""How many of the paper's pretraining images and captions a run has.

The counts are those of the training splits, after everything that sharding leaves out: what
pretraining sees. The paper's are in the YAML of each data set.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.data import datasets
from pipeline.data.datasets import facts
from pipeline.data.datasets.facts import ImageCounts
from pipeline.errors import UserError
from pipeline.reporting.tables import Table, TableColumn, TableRow, TableSection
from pipeline.utils import files

_TITLE = "Pretraining data: what the paper has, and what of it this run has"
_KINDS = ("images", "captions")


def applies(source: str) -> bool:
    """Whether the paper pretrains on images of this data set."""
    return facts.read(source).pretraining is not None


def metrics(source: str, shards: Path) -> dict[str, float]:
    """Shares of the paper's counts, in 0..1; none for a data set that it does not pretrain on."""
    return {f"coverage_{name}": here / paper for name, paper, here in _compared(source, shards)}


def sentence(source: str, shards: Path) -> str:
    """The same in words."""
    parts = [
        f"{here:,} of the paper's {paper:,} {name} ({here / paper:.1%})"
        for name, paper, here in _compared(source, shards)
    ]
    return f"{source}: {', '.join(parts)}"


def check(source: str, shards: Path, minimum: float, key: str) -> None:
    """Stop where less than the share `minimum` (0..1) of the paper's images or captions is there.

    Raises:
        UserError: it is less; `key` is where `minimum` stands in params.yaml.
    """
    for name, paper, here in _compared(source, shards):
        if here < minimum * paper:
            raise UserError(
                f"params.yaml: {key}: {source}: found {here:,} {name}, {here / paper:.1%} of the "
                f"paper's {paper:,}; wanted {minimum:.1%}; lower it to go on with these"
            )


def table(shards: Path, section: str, note: str) -> Table:
    """All data sets that the paper pretrains on, pairs before images alone; `shards` is the folder
    of their folders."""
    rows, paper_pairs, pairs_here = [], [], []
    for source, paper in _paper().items():
        here = _counted(shards / source)
        rows.append(_row(source, paper, here))
        if paper.captions:
            paper_pairs.append(paper)
            pairs_here.append(here)
    rows.append(_row("all pairs", _sum(paper_pairs), _sum(pairs_here)))
    return Table(_TITLE, _columns(), [TableSection(section, rows)], note, head="Source")


def _columns() -> list[TableColumn]:
    columns = []
    for kind in _KINDS:
        group = kind.capitalize()
        columns.append(TableColumn(f"{kind}_paper", group, "paper", 0))
        columns.append(TableColumn(f"{kind}_here", group, "here", 0))
        columns.append(TableColumn(f"{kind}_share", group, "%", 1))
    return columns


def _paper() -> dict[str, ImageCounts]:
    """The paper's counts by data set, those with captions first."""
    pairs: dict[str, ImageCounts] = {}
    images: dict[str, ImageCounts] = {}
    for source in datasets.names():
        counts = facts.read(source).pretraining
        if counts is not None:
            (pairs if counts.captions else images)[source] = counts
    return pairs | images


def _counted(shards: Path) -> ImageCounts:
    """Training images and captions in a folder of shards; none where these were never made, as with
    released weights, whose evaluation needs no data of pretraining."""
    if not (shards / "index.json").exists():
        return ImageCounts(0, 0)
    split = files.read_json(shards / "index.json")["splits"].get("train", {"rows": 0, "samples": 0})
    return ImageCounts(split["rows"], split["samples"])


def _compared(source: str, shards: Path) -> Iterator[tuple[str, int, int]]:
    """Name, the paper's count and ours, of what the paper has."""
    paper = facts.read(source).pretraining
    if paper is not None:
        here = _counted(shards)
        yield "images", paper.images, here.images
        if paper.captions:
            yield "captions", paper.captions, here.captions


def _sum(counts: Iterable[ImageCounts]) -> ImageCounts:
    images = captions = 0
    for count in counts:
        images += count.images
        captions += count.captions
    return ImageCounts(images, captions)


def _row(label: str, paper: ImageCounts, here: ImageCounts) -> TableRow:
    cells: list[float | None] = [paper.images, here.images, 100 * here.images / paper.images]
    if paper.captions:
        cells += [paper.captions, here.captions, 100 * here.captions / paper.captions]
    else:
        cells += [None, None, None]
    return TableRow(label, cells)
