"""python -m pipeline.orchestration.repro: `dvc repro`, several stages at a time where params.yaml
says so.

No DVC stage but what runs them. In the end `dvc repro` itself finds all up to date, and makes the
tables.
"""

import subprocess
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated

import networkx as nx

from pipeline.config import params
from pipeline.config.limits import Interval
from pipeline.errors import UserError
from pipeline.orchestration.rounds import outdated, rounds
from pipeline.orchestration.side_by_side import SideBySide
from pipeline.utils import dvc_state
from pipeline.utils.entry_point import entry

LAST = "table"  # depends on all others


@dataclass(frozen=True)
class ReproParams:
    """Block `repro`."""

    at_a_time: Annotated[int, Interval(1, 64)]  # stages


def main() -> None:
    """Run what is not up to date.

    Raises:
        UserError: a stage has failed.
    """
    at_a_time = params.load(ReproParams, "repro").at_a_time
    if at_a_time > 1:
        planned = rounds(_outdated_stages(), at_a_time)
        if any(len(groups) > 1 for groups in planned):
            SideBySide(planned, at_a_time).run()
    if status := subprocess.run(["dvc", "repro"], check=False).returncode:
        raise UserError(f"`dvc repro` has ended with status {status}; the lines above say why")


def _outdated_stages() -> "nx.DiGraph[str]":
    """The graph of all stages but the last one that are not up to date, or depend on one that is
    not; none where DVC cannot tell, which `dvc repro` will explain."""
    from dvc.exceptions import DvcException

    try:
        with closing(dvc_state.open_repo()) as repo:
            graph = nx.relabel_nodes(repo.index.graph, lambda stage: stage.addressing).reverse()
            changed = repo.status()
    except DvcException:
        return nx.DiGraph()
    graph.remove_node(LAST)
    return outdated(graph, changed & graph.nodes)


if __name__ == "__main__":
    entry(main)
