"""The order of the answers that released models choose from."""

import json
import random
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.datasets import vqav2
from pipeline.data.synthetic.writers import vqav2 as writer
from pipeline.errors import UserError
from pipeline.tasks.vqa import released_answers
from pipeline.tasks.vqa.training.answers import normalize, vocabulary, vocabulary_by_occurrence
from tests.pipeline.tasks.test_vqa import SYNTHETIC

PARTS = {"train2014": "Train", "val2014": "Val"}
ANSWERS = ("net", "Two", "2", "the net", "a", "yes", "t-shirt", "t shirt", "No.", "no", "red, blue")


def annotation(number: int, answer: str) -> dict:
    answers = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": answer_id}
        for answer_id in range(1, 11)
    ]
    return {
        "question_type": "what is",
        "multiple_choice_answer": answer,
        "answers": answers,
        "image_id": number // 3,
        "answer_type": "other",
        "question_id": number,
    }


def write(folder: Path, part: str, annotations: Sequence[object]) -> None:
    """An annotation file in the official layout."""
    content = {"info": {"version": "2.0"}, "license": {}, "data_type": "mscoco"}
    text = json.dumps({**content, "data_subtype": part, "annotations": annotations})
    with zipfile.ZipFile(folder / f"v2_Annotations_{PARTS[part]}_mscoco.zip", "w") as archive:
        archive.writestr(f"v2_mscoco_{part}_annotations.json", text)


def write_answers(folder: Path, train: Sequence[str], val: Sequence[str]) -> None:
    for part, answers in (("train2014", train), ("val2014", val)):
        write(folder, part, [annotation(number, answer) for number, answer in enumerate(answers)])


def by_the_rule(answers: Sequence[str], min_count: int) -> list[str]:
    """Numbered by first occurrence, word for word."""
    normalized = [normalize(answer) for answer in answers]
    numbered: list[str] = []
    for answer in normalized:
        if normalized.count(answer) >= min_count and answer not in numbered:
            numbered.append(answer)
    return numbered


@settings(max_examples=30)
@given(st.lists(st.sampled_from(ANSWERS), max_size=60), st.integers(1, 9))
def test_answers_are_numbered_by_first_occurrence(answers: list[str], min_count: int) -> None:
    found = vocabulary_by_occurrence(answers, min_count)
    assert list(found) == by_the_rule(answers, min_count)
    assert set(found) == set(vocabulary(answers, min_count))


def test_train2014_comes_before_val2014_and_both_are_counted(tmp_path: Path) -> None:
    train = ["red"] * 8 + ["two"] + ["net"] * 20 + ["a"] * 9 + ["the red"]
    val = ["blue"] * 10 + ["2"] * 8 + ["green"] * 8
    write_answers(tmp_path, train, val)
    assert list(vqav2.best_answers(tmp_path)) == train + val
    expected = ("red", "2", "net", "", "blue")  # neither by frequency nor by letters
    assert released_answers.read(tmp_path, 5) == expected == tuple(by_the_rule(train + val, 9))


def test_the_order_within_the_files_is_kept(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(300)]
    random.Random(0).shuffle(words)
    answers = words * 9
    write_answers(tmp_path, answers[:1000], answers[1000:])
    assert released_answers.read(tmp_path, 300) == tuple(words)


def test_the_generated_files_are_of_the_official_layout(tmp_path: Path) -> None:
    writer.write(tmp_path, SYNTHETIC)
    answers = list(vqav2.best_answers(tmp_path))
    annotations = []
    for part, name in PARTS.items():
        with zipfile.ZipFile(tmp_path / f"v2_Annotations_{name}_mscoco.zip") as archive:
            content = json.loads(archive.read(f"v2_mscoco_{part}_annotations.json"))
            annotations += content["annotations"]
    assert answers == [each["multiple_choice_answer"] for each in annotations]
    expected = by_the_rule(answers, 9)
    assert released_answers.read(tmp_path, len(expected)) == tuple(expected) and expected


def test_another_number_of_answers_is_refused(tmp_path: Path) -> None:
    write_answers(tmp_path, ["red"] * 9 + ["blue"] * 8, [])
    with pytest.raises(
        UserError, match="1 answers occur 9 times .* has classes for 3,129"
    ) as caught:
        released_answers.read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        ({"question_id": 1}, "no multiple_choice_answer"),
        ({"multiple_choice_answer": 2}, "multiple_choice_answer is a number in place of text"),
        ([], "a list in place of an object"),
    ],
)
def test_an_annotation_without_its_answer_stops_after_those_before(
    tmp_path: Path, damaged: object, reason: str
) -> None:
    """Leaving one out would change counts. Annotations are read one after the other."""
    write(tmp_path, "train2014", [annotation(0, "red"), annotation(1, "blue"), damaged])
    answers = vqav2.best_answers(tmp_path)
    assert [next(answers), next(answers)] == ["red", "blue"]
    with pytest.raises(UserError, match=rf"annotations\[2\]: damaged record: .*{reason}"):
        next(answers)


@pytest.mark.parametrize("part", PARTS)
def test_missing_and_damaged_files_are_named(tmp_path: Path, part: str) -> None:
    write_answers(tmp_path, ["red"], ["blue"])
    path = tmp_path / f"v2_Annotations_{PARTS[part]}_mscoco.zip"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=path.name):
        released_answers.read(tmp_path, 0)
    path.unlink()
    with pytest.raises(UserError, match=f"no {path.name} in .*official file of VQA 2.0"):
        released_answers.read(tmp_path, 0)
