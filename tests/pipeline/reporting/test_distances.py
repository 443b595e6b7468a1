"""How many standard errors our rows lie above others."""

import math

import pytest

from pipeline.reporting import distances
from pipeline.reporting.tables import RowLayout


def row(item, path="test_p.accuracy"):
    return RowLayout(item, {"nlvr2_test_p": f"{item}/{path}"})


def result(accuracy, error):
    chance = {"test_p": {"accuracy": 0.5}}
    errors = {} if error is None else {"standard_errors": {"test_p": {"accuracy": error}}}
    return {"test_p": {"accuracy": accuracy}, "chance": chance, **errors}


RESULTS = {"a": result(0.8, 0.03), "b": result(0.6, 0.04), "c": result(0.7, None)}


def test_both_errors_count_between_models_and_chance_has_none():
    between = distances.above(row("a"), row("b"), RESULTS)
    assert between == {"nlvr2_test_p": pytest.approx(0.2 / 0.05)}
    over_chance = distances.above(row("a"), row("a", "chance.test_p.accuracy"), RESULTS)
    assert over_chance == {"nlvr2_test_p": pytest.approx(0.3 / 0.03)}


def test_columns_without_a_number_or_its_error_are_left_out():
    assert distances.above(row("c"), row("b"), RESULTS) == {}
    assert distances.above(row("a"), row("absent"), RESULTS) == {}


@pytest.mark.parametrize(("accuracy", "distance"), [(1.0, math.inf), (0.5, 0.0), (0.0, -math.inf)])
def test_without_errors_a_difference_is_infinite(accuracy, distance):
    """As of a model that gives one answer to all pairs of a statement, half of which are true."""
    results = {"a": result(accuracy, 0.0)}
    above = distances.above(row("a"), row("a", "chance.test_p.accuracy"), results)
    assert above == {"nlvr2_test_p": distance}


def test_the_table_has_a_row_per_model_and_baseline_and_a_number_per_run():
    names = [f"nlvr2-{name}" for name in ("mvlm", "all", "standard", "none")]
    chance = {"dev": {"accuracy": 0.5}, "test_p": {"accuracy": 0.5}}

    def run(share):
        errors = {"test_p": {"accuracy": 0.03}}
        share = {"dev": {"accuracy": share}, "test_p": {"accuracy": share}}
        return {name: {**share, "chance": chance, "standard_errors": errors} for name in names}

    head, _, *rows = distances.lines([run(0.8), run(0.71)])
    assert head.startswith("| | above | NLVR2 dev | NLVR2 test-P |")
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[:2] for row in cells if row[0] == "[1] MVLM"] == [
        ["[1] MVLM", "no pretraining"],
        ["[1] MVLM", "chance"],
    ]
    assert [row[2:4] for row in cells if row[0] == "[1] MVLM"] == [
        ["–, –", "0.0, 0.0"],
        ["–, –", "10.0, 7.0"],
    ]
    labels = [row[0] for row in cells]
    assert "MoME Transformer" not in labels, "it is [3] once more"
    assert labels.count("Standard Transformer") == 2 and "no pretraining" not in labels
