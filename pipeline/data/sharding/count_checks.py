"""Whether a data set holds as many records as is published: expected and counted, with a verdict.

The expected counts are in the YAML of the data set; its reader counts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.data import datasets
from pipeline.data.datasets import facts
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.errors import UserError


@dataclass(frozen=True)
class CountCheck:
    """One count. verdict: `reported` where the expected number is only commonly reported."""

    name: str
    expected: int
    found: int
    verdict: Literal["right", "wrong", "reported"]


def check(source: str, root: Path, folder: Path) -> list[CountCheck]:
    """Count the records of the official files under `root`, whose shards are in `folder`."""
    found = datasets.load(source).counts(root, Sharded(folder))
    known = facts.read(source)
    checks = []
    for name, expected in known.exact.items():
        verdict: Literal["right", "wrong"] = "right" if found[name] == expected else "wrong"
        checks.append(CountCheck(name, expected, found[name], verdict))
    for name, expected in known.about.items():
        checks.append(CountCheck(name, expected, found[name], "reported"))
    return checks


def table(source: str, checks: list[CountCheck]) -> str:
    """The checks as an aligned table of text."""
    rows = [(source, "expected", "found", "verdict")]
    for check in checks:
        rows.append((check.name, f"{check.expected:,}", f"{check.found:,}", check.verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, expected, found, verdict in rows:
        lines.append(
            f"{name:<{widths[0]}}  {expected:>{widths[1]}}  {found:>{widths[2]}}  {verdict}"
        )
    return "\n".join(lines)


def metrics(checks: list[CountCheck]) -> dict[str, int]:
    """The counts, for the log."""
    return {f"count/{check.name}": check.found for check in checks}


def require(source: str, checks: list[CountCheck], key: str) -> None:
    """Raises UserError if a count that must be exact is not; `key` is the block in params.yaml."""
    wrong = [
        f"{check.name}: {check.found:,} in place of {check.expected:,}"
        for check in checks
        if check.verdict == "wrong"
    ]
    if wrong:
        raise UserError(
            f"{source}: not what is published: {', '.join(wrong)}; get the files again, or set "
            f"params.yaml: {key}.official: false to take them as they are"
        )
