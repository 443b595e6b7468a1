"""How many of the paper's pretraining pictures and captions a run really has.

The counts are those of the training splits, after everything that sharding leaves out: what
pretraining sees.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.reporting.tables import Column, Row, Section, Table
from pipeline.utils import files


@dataclass(frozen=True)
class YieldParams:
    """Block `<scale>.least_yield`: the share of the paper's pictures and captions that a source
    must have, in 0..1."""

    cc3m: float
    sbu: float
    coco: float
    vg: float
    imagenet22k: float


@dataclass(frozen=True)
class Counts:
    """Pictures and captions of a source; `captions` is 0 where it has none."""

    images: int
    captions: int


# What earlier work with the same data reports: VLMo and UNITER (pairs; together the "4M images and
# 10M pairs" of VL-BEiT §3.1), ImageNet's fall 2011 release.
PAPER = {
    "cc3m": Counts(3_010_000, 3_010_000),
    "sbu": Counts(867_000, 867_000),
    "coco": Counts(113_287, 566_747),
    "vg": Counts(108_077, 5_410_000),
    "imagenet22k": Counts(14_197_122, 0),
}
_TITLE = "Pretraining data: what the paper has, and what of it this run has"
_COLUMNS = [
    Column(f"{kind}_{name}", kind.capitalize(), head, digits)
    for kind in ("images", "captions")
    for name, head, digits in (("paper", "paper", 0), ("here", "here", 0), ("share", "%", 1))
]


def found(shards: Path) -> Counts:
    """Training pictures and captions in a folder of shards."""
    split = files.read_json(shards / "index.json")["splits"].get("train", {"rows": 0, "units": 0})
    return Counts(split["rows"], split["units"])


def metrics(source: str, shards: Path) -> dict[str, float]:
    """Shares of the paper's counts; none for a source that is not of its pretraining."""
    return {f"yield_{name}": here / paper for name, paper, here in _compared(source, shards)}


def sentence(source: str, shards: Path) -> str:
    """The same in words."""
    return f"{source}: " + ", ".join(
        f"{here:,} of the paper's {paper:,} {name} ({here / paper:.1%})"
        for name, paper, here in _compared(source, shards)
    )


def check(source: str, shards: Path, least: float, key: str) -> None:
    """Stop where less than the share `least` of the paper's images or captions is there.

    Raises:
        UserError: it is less; `key` is where `least` stands in params.yaml.
    """
    for name, paper, here in _compared(source, shards):
        if here < least * paper:
            raise UserError(
                f"params.yaml: {key}: {source}: found {here:,} {name}, {here / paper:.1%} of the paper's "
                f"{paper:,}; wanted {least:.1%}; lower it to go on with these"
            )


def _compared(source: str, shards: Path) -> Iterator[tuple[str, int, int]]:
    """Name, the paper's count and ours, of what the paper has."""
    if source in PAPER:
        paper, here = PAPER[source], found(shards)
        yield "images", paper.images, here.images
        if paper.captions:
            yield "captions", paper.captions, here.captions


def table(shards: Path, section: str, note: str) -> Table:
    """All of the paper's sources; `shards` is the folder of their folders."""
    here = {source: found(shards / source) for source in PAPER}
    pairs = [source for source in PAPER if PAPER[source].captions]
    rows = [_row(source, PAPER[source], here[source]) for source in PAPER]
    rows.append(
        _row("all pairs", *(_sum(counts[source] for source in pairs) for counts in (PAPER, here)))
    )
    return Table(_TITLE, _COLUMNS, [Section(section, rows)], note, head="Source")


def _sum(counts: Iterator[Counts]) -> Counts:
    every = list(counts)
    return Counts(sum(one.images for one in every), sum(one.captions for one in every))


def _row(label: str, paper: Counts, here: Counts) -> Row:
    cells: list[float | None] = [paper.images, here.images, 100 * here.images / paper.images]
    cells += (
        [paper.captions, here.captions, 100 * here.captions / paper.captions]
        if paper.captions
        else [None] * 3
    )
    return Row(label, cells)
