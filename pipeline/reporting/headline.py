"""python -m pipeline.reporting.headline: whether a run's headline numbers are as README documents.

README shows the numbers of one seed and their range over some; `headline_ranges.yaml` holds these
ranges, and `python -m stages.readme` writes both.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import params, yaml_reader
from pipeline.reporting import tables
from pipeline.utils import files
from pipeline.utils.entry_point import entry

SCALE = "small"  # whose numbers are documented
RANGES = Path(__file__).with_name("headline_ranges.yaml")


@dataclass(frozen=True)
class Number:
    """A headline number, and what it is compared with: keys of `tables.percentage`."""

    title: str
    ours: str
    control: str | None  # the same model, given wrong images
    chance: str


HEADLINE = (
    Number(
        "VQAv2 test-dev",
        "vqa/test_dev",
        "vqa/shuffled_images.test_dev",
        "vqa/most_frequent.test_dev",
    ),
    Number(
        "NLVR2 test-P",
        "nlvr2/test_p.accuracy",
        "nlvr2/shuffled_images.test_p.accuracy",
        "nlvr2/majority_class.test_p.accuracy",
    ),
    Number(
        "Flickr30k text retrieval R@1",
        "flickr30k/reranked.tr_r1",
        None,
        "flickr30k/chance.tr_r1",
    ),
    Number("ImageNet-1k top-1", "imagenet1k/acc1", None, "imagenet1k/chance.acc1"),
    Number("ADE20K mIoU", "ade20k/miou", None, "ade20k/chance.miou"),
)


@dataclass(frozen=True)
class Ranges:
    """The least and the largest value of each headline number over seeds, in percent with one
    decimal, by its title."""

    seeds: list[int]
    by_title: dict[str, tuple[float, float]]

    @property
    def title(self) -> str:
        """Which seeds."""
        return f"seeds {', '.join(map(str, self.seeds))}"

    @property
    def outside(self) -> str:
        """How often one more run of the same kind lies outside of the range of n: it is the least or
        the largest of n + 1."""
        return (
            "with another seed, or on another kind of processor, expect "
            f"{2 / (len(self.seeds) + 1):.0%} of the numbers to lie outside"
        )


def main() -> None:
    """Print each headline number of the run with what is documented of it; nothing where nothing
    is."""
    if params.scale() != SCALE or not RANGES.exists():
        return
    ranges = read(RANGES)
    results = tables.load_results(Path("results", SCALE, "evaluate"))
    print(f"Headline numbers in percent, and their range over {ranges.title}; {ranges.outside}:")
    for line in compared(results, ranges):
        print(line)


def compared(results: dict[str, Any], ranges: Ranges) -> list[str]:
    """A line on each headline number that is there and documented: inside its range, or how far
    outside."""
    lines = []
    for number in HEADLINE:
        value = tables.percentage(number.ours, results)
        if value is not None and number.title in ranges.by_title:
            least, largest = ranges.by_title[number.title]
            verdict = _verdict(round(value, 1), least, largest)
            lines.append(f"{number.title:<28} {value:5.1f}  {verdict} {least:.1f} to {largest:.1f}")
    return lines


def _verdict(value: float, least: float, largest: float) -> str:
    if value < least:
        return f"{least - value:.1f} below"
    return f"{value - largest:.1f} above" if value > largest else "within"


def of_seeds(summary: dict[str, Any]) -> Ranges:
    """The ranges of the summary that `make seeds` writes."""
    by_title = {}
    for number in HEADLINE:
        ends = [tables.percentage(number.ours, summary[end]) for end in ("lowest", "highest")]
        least, largest = (None if end is None else round(end, 1) for end in ends)
        if least is not None and largest is not None:
            by_title[number.title] = least, largest
    return Ranges(summary["seeds"], by_title)


def read(path: Path) -> Ranges:
    """The documented ranges."""
    tree = yaml_reader.parse(path.read_bytes())
    return Ranges(tree["seeds"], {title: tuple(ends) for title, ends in tree["ranges"].items()})


def write(ranges: Ranges, path: Path) -> None:
    """Document ranges."""
    lines = [
        "# Headline numbers of the small scale over seeds, least and largest, in percent.",
        "# `python -m stages.readme` writes this file.",
        f"seeds: {ranges.seeds}",
        "ranges:",
        *(f"  {title}: {list(ends)}" for title, ends in ranges.by_title.items()),
    ]
    with files.replacing(path) as temporary:
        temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    entry(main)
