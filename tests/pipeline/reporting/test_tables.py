"""Tables: the paper's numbers beside ours, and their forms."""

import base64
import csv
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.errors import UserError
from pipeline.reporting import html_report, render, tables, variant_titles
from pipeline.reporting.tables import RowLayout, TableParams

PARAMS = TableParams("Ours", "Not comparable.")
NOTE = ["Not comparable.", "Our test set of flickr30k: 1,000 images, 5,000 captions."]
RECALLS = {f"{way}_r{cut}": cut / 16 for way in ("tr", "ir") for cut in (1, 5, 10)}
RESULT = {
    "task": "retrieval",
    "item": "flickr30k",
    "data": "flickr30k",
    "variant": "main",
    "images": 1000,
    "captions": 5000,
    "dual": RECALLS,
    "reranked": {**RECALLS, "tr_r1": 0.5},
    "chance": RECALLS,
}
LAYOUT = [
    RowLayout(
        "VL-BEiT",
        {"flickr30k_tr_r1": "flickr30k/reranked.tr_r1", "coco_ir_r1": "coco/reranked.ir_r1"},
    )
]


def table2() -> tables.Table:
    return tables.against_paper("table2", LAYOUT, {"flickr30k": RESULT}, PARAMS)


def cells_only(markdown: str) -> str:
    """Without the blanks that align columns."""
    return re.sub(r" *\| *", " | ", markdown).replace("\n | ", "\n| ").replace(" | \n", " |\n")


def test_the_papers_tables_are_whole() -> None:
    printed = YAML(typ="safe", pure=True).load(tables.PAPER)
    assert list(printed) == [f"table{number}" for number in range(1, 6)]
    for table in printed.values():
        rows = [cells for section in table["sections"].values() for cells in section.values()]
        assert all(len(cells) == len(table["columns"]) for cells in rows)
        assert all(cell is None or 40 < cell < 100 for cells in rows for cell in cells)
    ablations, backbones = printed["table4"]["sections"], printed["table5"]["sections"]
    assert (
        ablations["Objectives"]["[3] MVLM + MIM + MLM"] == backbones["Backbone"]["MoME Transformer"]
    )


def test_ours_stand_below_the_papers_as_percentages_and_gaps_are_dashes() -> None:
    lines = cells_only(render.markdown(table2())).splitlines()
    assert "| VL-BEiT | 79.5 | 61.5 | 95.8 | 83.9 |" in lines
    assert lines[-4:] == ["| VL-BEiT | – | – | 50.0 | – |", "", *NOTE]


def test_what_was_not_measured_is_a_dash() -> None:
    cells = {"vqa_test_dev": "vqa/test_dev", "vqa_test_std": "vqa/shuffled_images.test_std"}
    results = {"vqa": {"test_dev": None, "shuffled_images": None}}
    table = tables.against_paper("table1", [RowLayout("x", cells)], results, PARAMS)
    assert table.sections[-1].rows[0].cells == [None, None, None, None]


def test_csv_has_one_row_per_model() -> None:
    rows = list(csv.DictReader(render.comma_separated(table2()).splitlines()))
    assert len(rows) == 7
    assert rows[1]["model"] == "VILLA" and rows[1]["coco_tr_r1"] == ""
    assert rows[-1] == {
        "section": "Ours",
        "model": "VL-BEiT",
        "coco_tr_r1": "",
        "coco_ir_r1": "",
        "flickr30k_tr_r1": "50.0",
        "flickr30k_ir_r1": "",
    }


def test_retrieval_in_detail() -> None:
    table = tables.retrieval_recalls({"flickr30k": RESULT, "vqa": {"task": "vqa"}}, PARAMS)
    text = cells_only(render.markdown(table))
    assert "| reranked by the fusion encoder | 50.0 | 31.2 | 62.5 | 6.2 | 31.2 | 62.5 |" in text
    assert "1,000 images, 5,000 captions" in text and "vqa" not in text
    dual = {name: value for name, value in RESULT.items() if name != "reranked"}
    text = cells_only(render.markdown(tables.retrieval_recalls({"flickr30k": dual}, PARAMS)))
    assert "| dual encoder | 6.2 |" in text and "reranked" not in text


def test_files_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        render.write(table2(), tmp_path / folder / "table2")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["table2.csv", "table2.md"]
    assert all(
        (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        for name in names
    )


@pytest.mark.parametrize(
    ("name", "cells", "message"),
    [
        ("table9", {}, "table_layout.yaml: table9: the paper has no such table"),
        ("table2", {"acc": "flickr30k/x"}, "the table has no column 'acc'"),
        (
            "table2",
            {"coco_tr_r1": "flickr30k/dual.mean"},
            "the result of flickr30k has no 'dual.mean'",
        ),
    ],
)
def test_a_wrong_layout_is_named(name: str, cells: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tables.against_paper(name, [RowLayout("x", cells)], {"flickr30k": RESULT}, PARAMS)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{label: x}", 'table1: missing value for field "cells"'),
        ("{label: x, cells: {}, column: y}", 'table1: can not match "column" to any data class'),
        ("{label: x, cells: {a: 1}}", 'table1: wrong value type for field "cells"'),
    ],
)
def test_a_row_of_the_layout_that_is_not_whole_is_refused(
    tmp_path: Path, row: str, message: str
) -> None:
    path = tmp_path / "table_layout.yaml"
    path.write_text(f"table1:\n  - {row}\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        tables.read_layout(path)


def test_the_layout_has_rows_for_each_of_the_papers_tables() -> None:
    layout = tables.read_layout()
    assert list(layout) == [f"table{number}" for number in range(1, 6)]
    for name, rows in layout.items():  # every column exists; no results yet
        assert len(tables.against_paper(name, rows, {}, PARAMS).sections[-1].rows) == len(rows)


def test_the_report_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "top5.png").write_bytes(b"\x89PNG image")
    parts = [
        html_report.Part("Evaluations", [html_report.evaluation("flickr30k", RESULT, tmp_path)])
    ]
    html = html_report.page("A <title>", PARAMS.note, PARAMS.section, [table2()], parts)
    assert "A &lt;title&gt;" in html and "http" not in html
    assert base64.b64encode(b"\x89PNG image").decode() in html
    assert html.count("95.8") == 1 and html.count('class="ours"') == 1 and "reranked.tr_r1" in html


def test_parts_have_headings_and_folded_ones_a_title_to_click(tmp_path: Path) -> None:
    chapters = [html_report.numbers("Flickr30k", RESULT)]
    parts = [html_report.Part("Shown", chapters), html_report.Part("Folded", chapters, folded=True)]
    html = html_report.page("Title", PARAMS.note, PARAMS.section, [table2()], parts)
    shown, folded = html.split('<h2 id="part-2">Folded</h2>')
    assert '<a href="#part-1">Shown</a>' in shown and "<h3>Flickr30k</h3>" in shown
    assert folded.count("<summary><h3>Flickr30k</h3></summary>") == 1
    assert shown.count("<summary><h3>") == 0


def test_variants_are_named_and_sorted_as_in_the_tables() -> None:
    variants = sorted(["mine", "standard", "all", "mvlm"], key=variant_titles.position)
    assert variants == ["mvlm", "all", "standard", "mine"]
    titles = ["[1] MVLM", "[3] MVLM + MIM + MLM", "Standard Transformer", "mine"]
    assert [variant_titles.of(variant) for variant in variants] == titles
    layout = tables.read_layout()
    labels = {row.label for rows in layout.values() for row in rows}
    assert set(map(variant_titles.of, variant_titles.ORDER)) - {"VL-BEiT"} <= labels
