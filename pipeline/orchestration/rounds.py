"""Which stages of a pipeline can run at a time: rounds of groups that do not depend on each other.

DVC runs one stage after the other; several `dvc repro` may run beside each other on stages of which
none depends on another one's (https://dvc.org/doc/command-reference/repro, parallel execution).
"""

from typing import Any

import networkx as nx

Group = list[str]  # stages, each after those that it depends on
Round = list[Group]  # groups that can run beside each other, when those before are done


def rounds(graph: "nx.DiGraph[str]", at_a_time: int) -> list[Round]:
    """All stages of a graph, whose edges lead from a stage to those that depend on it.

    As long as one connected part has more than half of the stages, its next round is what depends
    on nothing else; then each part is a group, the one with most stages first.
    """
    rest, planned = graph.copy(), []
    while rest:
        parts = sorted(
            nx.weakly_connected_components(rest), key=lambda part: (-len(part), min(part))
        )
        if 2 * len(parts[0]) <= len(rest) or _is_chain(rest):
            planned.append([_ordered(rest, part) for part in parts])
            break
        free = sorted(stage for stage, depends_on in rest.in_degree() if not depends_on)
        planned.append([free[first::at_a_time] for first in range(min(at_a_time, len(free)))])
        rest.remove_nodes_from(free)
    return planned


def outdated(graph: "nx.DiGraph[str]", changed: set[str]) -> "nx.DiGraph[str]":
    """The part of a graph that some stages and all that depends on them make."""
    return graph.subgraph(changed.union(*(nx.descendants(graph, stage) for stage in changed)))


def _is_chain(graph: "nx.DiGraph[str]") -> bool:
    """Whether no two stages could run at a time."""
    return len(list(nx.topological_generations(graph))) == len(graph)


def _ordered(graph: Any, part: set[str]) -> Group:
    return list(nx.lexicographical_topological_sort(graph.subgraph(part)))
