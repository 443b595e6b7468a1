"""python -m pipeline.orchestration.repro: `dvc repro`, with lines that say how far it is, and
several stages at a time where params.yaml says so.

No DVC stage but what runs them. In the end `dvc repro` itself finds all up to date, and makes the
tables.
"""

from contextlib import closing
from dataclasses import dataclass
from typing import Annotated

import networkx as nx

from pipeline.config import params
from pipeline.config.limits import Interval
from pipeline.orchestration.groups import groups, outdated
from pipeline.orchestration.side_by_side import SideBySide
from pipeline.orchestration.stage_times import StageTimes
from pipeline.utils import dvc_state, workdir
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
    graph = _outdated_stages()
    times = StageTimes(workdir.root() / f"times-{params.scale()}.json")
    if not times.knows(graph):
        print(f"{len(graph)} stages; how long they take is known here when all have run once")
    last = [LAST] if LAST in graph else []
    graph.remove_nodes_from(last)
    work = SideBySide(groups(graph, at_a_time), at_a_time, times, last)
    work.run()
    work.finish()
    if not work.total:
        print("all stages are up to date")


def _outdated_stages() -> "nx.DiGraph[str]":
    """The graph of the stages that are not up to date, or depend on one that is not; none where DVC
    cannot tell, which `dvc repro` will explain."""
    from dvc.exceptions import DvcException

    try:
        with closing(dvc_state.open_repo()) as repo:
            graph = nx.relabel_nodes(repo.index.graph, lambda stage: stage.addressing).reverse()
            changed = repo.status()
    except DvcException:
        return nx.DiGraph()
    return outdated(graph, changed & graph.nodes).copy()


if __name__ == "__main__":
    entry(main)
