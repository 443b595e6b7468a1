"""Columns of the rows that saved models answer with. Imports nothing, so that MLflow's writer can
know a model's columns without torch."""

from typing import Any, Literal

Type = Literal["number", "numbers", "strings", "integers", "integer rows"]
Ranked = list[tuple[str, float]]  # the best first, each with its probability in 0..1


def ranked_columns(name: str, ranked: Ranked) -> dict[str, Any]:
    """The column `name` with the best answers, and `probabilities` with theirs."""
    return {
        name: [answer for answer, _ in ranked],
        "probabilities": [probability for _, probability in ranked],
    }
