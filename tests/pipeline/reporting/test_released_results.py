"""Results of released weights beside what is printed of them; made-up weights give no results."""

from pathlib import Path

import pytest

from pipeline.config import yaml_reader
from pipeline.errors import UserError
from pipeline.reporting import released_results, released_rows, tables
from pipeline.reporting.tables import TableParams
from tests.helpers import evaluation_results
from tests.helpers.tiny import ROOT

PARAMS = TableParams("ours", "Not comparable.")
COCO = "vlmo_base_patch16_384_coco.pt"
FLICKR30K = "vlmo_base_patch16_384_f30k.pt"
BEIT3_VQA = "beit3_base_patch16_480_vqa.pth"
NLVR2 = "vlmo_base_patch16_384_nlvr2.pt"
IMAGENET = "beit_base_patch16_224_pt22k_ft22kto1k.pth"
ADE20K = "beit_base_patch16_640_pt22k_ft22ktoade20k.pth"


def table_with(name, results):
    """The paper's table with the rows of released weights, and no others below the paper's."""
    table = tables.against_paper(name, [], {}, PARAMS)
    return released_rows.add(name, table, released_results.evaluations(results))


def rows_of(table):
    """The cells by label, of the section of released weights."""
    (section,) = [each for each in table.sections if each.title == released_rows.SECTION]
    return {row.label: row.cells for row in section.rows}


def test_measured_numbers_stand_below_the_published_ones_with_the_difference():
    table = table_with("table2", {"vlmo-coco": evaluation_results.retrieval(COCO)})
    assert table.sections[-2].title == released_rows.SECTION and table.sections[-1].title == "ours"
    rows = rows_of(table)
    assert list(rows) == [
        "VLMo, published",
        "VLMo (released weights, evaluated here)",
        "VLMo, difference",
    ]
    assert rows["VLMo, published"] == [74.8, 57.2, None, None]
    measured = rows["VLMo (released weights, evaluated here)"]
    assert measured[:2] == pytest.approx([74.78, 57.31]) and measured[2:] == [None, None]
    assert rows["VLMo, difference"] == [-0.02, 0.11, None, None]


def test_the_files_of_a_model_share_its_rows():
    results = {
        "beit-ade20k": evaluation_results.segmentation(ADE20K),
        "beit-imagenet1k": evaluation_results.classification(IMAGENET),
        "vlmo-nlvr2": evaluation_results.nlvr2(NLVR2),
    }
    rows = rows_of(table_with("table3", results))
    assert rows["BEiT, published"] == [85.2, 53.61] and len(rows) == 3
    assert rows["BEiT, difference"] == [0.01, 0.0]
    assert rows_of(table_with("table1", results))["VLMo, published"] == [None, None, 82.77, 83.34]


def test_where_papers_print_another_number_a_note_says_so():
    table = table_with("table3", {"beit-ade20k": evaluation_results.segmentation(ADE20K)})
    assert "beit-ade20k: VL-BEiT's Table 3 prints 52.8" in table.note
    assert table.note.startswith(PARAMS.note)


def test_of_two_evaluations_of_a_file_the_first_by_name_has_the_row():
    results = {
        "vlmo-coco-bf16": evaluation_results.retrieval(COCO, tr=0.7),
        "vlmo-coco": evaluation_results.retrieval(COCO, tr=0.75),
    }
    assert rows_of(table_with("table2", results))["VLMo, difference"][0] == pytest.approx(0.2)


def test_a_score_that_the_server_alone_knows_is_a_dash_until_it_is_given():
    unknown = rows_of(table_with("table1", {"beit3-vqa": evaluation_results.vqa(BEIT3_VQA)}))
    assert unknown["BEiT-3, published"] == [77.65, None, None, None]
    assert unknown["BEiT-3, difference"] == [None] * 4
    scored = {"beit3-vqa": evaluation_results.vqa(BEIT3_VQA, test_dev=0.777)}
    assert rows_of(table_with("table1", scored))["BEiT-3, difference"][0] == pytest.approx(0.05)


def test_made_up_weights_have_no_row_in_any_of_the_papers_tables():
    results = {
        "vlmo-coco": evaluation_results.retrieval(COCO, "synthetic"),
        "beit3-vqa": evaluation_results.vqa(BEIT3_VQA, "synthetic"),
        "beit-ade20k": evaluation_results.segmentation(ADE20K, "synthetic"),
    }
    for name in ("table1", "table2", "table3"):
        assert table_with(name, results) == tables.against_paper(name, [], {}, PARAMS)


def summary(results):
    return released_rows.summary(released_results.evaluations(results))


def test_made_up_weights_are_listed_apart_without_scores():
    results = {
        "vlmo-coco": evaluation_results.retrieval(COCO, "synthetic"),
        "vlmo-flickr30k": evaluation_results.retrieval(FLICKR30K),
    }
    real, made_up = summary(results).sections
    assert real.title == "VLMo"
    assert [row.label for row in real.rows] == ["vlmo-flickr30k, TR R@1", "vlmo-flickr30k, IR R@1"]
    assert made_up.title == "made-up weights: a check of the path, not a result"
    assert made_up.rows == [tables.TableRow("vlmo-coco", [5000, None, None, None])]
    assert f"- vlmo-coco: {COCO} (origin synthetic, sha256 0123456789ab)" in summary(results).note


def test_the_protocol_of_both_sides_is_told():
    (line,) = summary({"vlmo-coco": evaluation_results.retrieval(COCO)}).note.splitlines()[2:]
    assert (
        "Here: data coco-test, image_size 384, images 5,000, captions 25,010, reranked no." in line
    )
    assert "Published (release page of VLMo; VL-BEiT's Table 2): Karpathy's test split" in line


def test_each_split_is_counted():
    note = summary({"vlmo-nlvr2": evaluation_results.nlvr2(NLVR2)}).note
    assert "examples 6,982 (dev) and 6,967 (test_p)." in note


def test_a_check_is_shown_and_compared_with_nothing():
    (section,) = summary({"beit3-vqa": evaluation_results.vqa(BEIT3_VQA)}).sections
    check = section.rows[-1]
    assert check.label.endswith("a check") and check.cells == [None, None, 86.0, None]


def test_a_file_that_nothing_is_printed_of_has_its_headline_alone():
    results = {"vlmo-coco": evaluation_results.retrieval("vlmo_mine.pt", "local", tr=0.5, ir=0.25)}
    (section,) = summary(results).sections
    rows = [(row.label, row.cells) for row in section.rows]
    assert rows == [
        ("vlmo-coco, tr_r1", [None, None, 50.0, None]),
        ("vlmo-coco, ir_r1", [None, None, 25.0, None]),
    ]
    assert "Published (none known): unknown" in summary(results).note
    assert table_with("table2", results) == tables.against_paper("table2", [], {}, PARAMS)


def test_results_of_fine_tunes_are_none_of_released_weights():
    assert released_results.evaluations({"coco": {"task": "retrieval", "variant": "main"}}) == []


def test_a_result_without_a_score_is_named():
    result = evaluation_results.retrieval(COCO)
    del result["dual"]
    message = f"released_results.yaml: {COCO}: the result of vlmo-coco has no 'dual.tr_r1'"
    with pytest.raises(UserError, match=message):
        table_with("table2", {"vlmo-coco": result})


def test_published_scores_stand_in_columns_of_the_papers_tables():
    printed = yaml_reader.parse(tables.PAPER.read_bytes())
    for name, file in released_results.read_published().items():
        assert file.table in ("table1", "table2", "table3"), name
        columns = {column[0] for column in printed[file.table]["columns"]}
        shown = [score for score in file.scores if score.column is not None]
        assert shown and {score.column for score in shown} <= columns, name
        assert all(40 < score.published < 100 for score in shown), name


def test_published_scores_are_of_files_that_can_be_fetched():
    weights = yaml_reader.parse((ROOT / "pipeline/data/datasets/weights.yaml").read_bytes())
    known = {file["name"] for file in weights["files"]}
    assert set(released_results.read_published()) <= known


@pytest.mark.parametrize(("model", "cells"), [("VLMo", 8), ("BEiT", 2)])
def test_published_scores_agree_with_the_papers_rows_but_for_beit_on_ade20k(model, cells):
    """Rows of VLMo and BEiT stand in the paper's tables, too."""
    printed = yaml_reader.parse(tables.PAPER.read_bytes())
    differing, compared = {}, 0
    for released in released_results.read_published().values():
        if released.model != model:
            continue
        table = printed[released.table]
        rows = {key: row for rows in table["sections"].values() for key, row in rows.items()}
        columns = [column[0] for column in table["columns"]]
        for score in released.scores:
            if score.column is not None:
                compared += 1
                paper = rows[model][columns.index(score.column)]
                if paper != score.published:
                    differing[score.column] = (paper, score.published)
    assert compared == cells
    assert differing == ({"ade20k_miou": (52.8, 53.61)} if model == "BEiT" else {})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{model: x}", 'x.pt: missing value for field "scores"'),
        ("{model: x, scores: [], color: y}", 'x.pt: can not match "color" to any data class'),
    ],
)
def test_an_entry_that_is_not_whole_is_refused(tmp_path: Path, entry, message):
    path = tmp_path / "released_results.yaml"
    path.write_text(f"x.pt: {entry}\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        released_results.read_published(path)
