"""Whether a source holds as many records as is published: a table of what is expected, what is
found, and the verdict.

Each source module declares what it expects and counts what it finds.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.data import datasets
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.errors import UserError


@dataclass(frozen=True)
class Gate:
    """One count. verdict: `reported` where the expectation is no hard fact."""

    name: str
    expected: int
    found: int
    verdict: Literal["right", "wrong", "reported"]


def check(source: str, root: Path, folder: Path) -> list[Gate]:
    """Count the records of the official files under `root`, whose shards are in `folder`."""
    module = datasets.load(source)
    found = module.counts(root, Sharded(folder))
    exact = [
        Gate(name, count, found[name], "right" if found[name] == count else "wrong")
        for name, count in module.EXACT.items()
    ]
    return exact + [
        Gate(name, count, found[name], "reported") for name, count in module.ABOUT.items()
    ]


def table(source: str, gates: list[Gate]) -> str:
    """As lines for people."""
    rows = [
        (source, "expected", "found", "verdict"),
        *((gate.name, f"{gate.expected:,}", f"{gate.found:,}", gate.verdict) for gate in gates),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:<{widths[0]}}  {expected:>{widths[1]}}  {found:>{widths[2]}}  {verdict}"
        for name, expected, found, verdict in rows
    )


def metrics(gates: list[Gate]) -> dict[str, int]:
    """What was found, for the log."""
    return {f"count/{gate.name}": gate.found for gate in gates}


def insist(source: str, gates: list[Gate], key: str) -> None:
    """Raises UserError if a count that must be exact is not."""
    if wrong := [gate for gate in gates if gate.verdict == "wrong"]:
        told = ", ".join(
            f"{gate.name}: {gate.found:,} in place of {gate.expected:,}" for gate in wrong
        )
        raise UserError(
            f"{source}: not what is published: {told}; get the files again, or set params.yaml: "
            f"{key}.official: false to take them as they are"
        )
