"""Which stages of a pipeline can run at a time: groups of stages, some of which wait for others.

DVC runs one stage after the other; several `dvc repro` may run beside each other on stages of which
none depends on another one's (https://dvc.org/doc/command-reference/repro, parallel execution).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import networkx as nx

# For each that runs at a time: so many that all end at about the same time, so few that `dvc` starts
# rarely.
_GROUPS = 4


@dataclass(frozen=True)
class Group:
    """Stages of one `dvc repro`, each after those that it depends on."""

    stages: list[str]
    after: frozenset[int]  # indices of the groups that it waits for


def groups(graph: "nx.DiGraph[str]", at_a_time: int) -> list[Group]:
    """All stages of a graph, whose edges lead from a stage to those that depend on it. First comes
    the group on which most stages depend, so each comes after those that it waits for."""
    divided = list(_divided(graph, at_a_time))
    home = {stage: number for number, stages in enumerate(divided) for stage in stages}
    waits = nx.DiGraph((home[a], home[b]) for a, b in graph.edges if home[a] != home[b])
    waits.add_nodes_from(range(len(divided)))
    weights = {number: _weight(waits, divided, number) for number in waits}
    order = sorted(waits, key=lambda number: (-weights[number], number))
    place = {number: index for index, number in enumerate(order)}
    return [
        Group(divided[number], frozenset(place[before] for before in waits.predecessors(number)))
        for number in order
    ]


def outdated(graph: "nx.DiGraph[str]", changed: set[str]) -> "nx.DiGraph[str]":
    """The part of a graph that some stages and all that depends on them make."""
    return graph.subgraph(changed.union(*(nx.descendants(graph, stage) for stage in changed)))


def _divided(graph: "nx.DiGraph[str]", at_a_time: int) -> Iterator[list[str]]:
    """The stages of each group. A connected part is one, unless it has more than its share of all
    stages: of such parts first what depends on nothing else is taken away."""
    most = len(graph) // (_GROUPS * at_a_time) if at_a_time > 1 else len(graph)
    rest = graph.copy()
    while rest:
        for part in sorted(nx.weakly_connected_components(rest), key=min):
            if len(part) <= most or _is_chain(rest.subgraph(part)):
                yield _ordered(rest, part)
                rest.remove_nodes_from(part)
        free = sorted(stage for stage, depends_on in rest.in_degree() if not depends_on)
        yield from (free[first::at_a_time] for first in range(min(at_a_time, len(free))))
        rest.remove_nodes_from(free)


def _weight(waits: "nx.DiGraph[int]", divided: list[list[str]], number: int) -> int:
    """How many stages a group and those that wait for it have."""
    return sum(len(divided[other]) for other in {number, *nx.descendants(waits, number)})


def _is_chain(graph: "nx.DiGraph[str]") -> bool:
    """Whether no two stages could run at a time."""
    return len(list(nx.topological_generations(graph))) == len(graph)


def _ordered(graph: Any, part: set[str]) -> list[str]:
    return list(nx.lexicographical_topological_sort(graph.subgraph(part)))
