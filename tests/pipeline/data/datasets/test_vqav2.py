"""VQA 2.0: generated questions, their official files, and the reader on them, on faulty and on real
ones."""

import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pipeline.data.datasets import vqav2
from pipeline.data.datasets.vqa_question_types import answer_type, question_type
from pipeline.data.records import QuestionsRecord, Rejected
from pipeline.data.sharding import record_reader
from pipeline.data.synthetic.language import questions as asking
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import scene
from pipeline.data.synthetic.writers import vqav2 as writer
from pipeline.errors import UserError
from pipeline.utils import seeds
from tests.helpers import real_data
from tests.helpers.worlds import FULL

REAL = real_data.folder("vqav2")
PARAMS = SyntheticParams(
    seed=3,
    image_size=40,
    jpeg_quality=85,
    sizes={"vqav2": {"train": 34, "restval": 8, "test": 10}},
    world=FULL,
)


def test_question_types_are_the_longest_official_openings() -> None:
    expected = {
        "What color is the cat?": "what color is the",
        "What colour is it?": "what",
        "Is this an owl?": "is this an",
        "How many people are in the car?": "how many people are in",
        "Whose is it?": "none of the above",
        "Where is this?": "none of the above",
        "Which one?": "which",
        "What is this?": "what is this",
        "Is it?": "is it",
        "What is this, a dog?": "what is this",
        "What's this?": "none of the above",
        "How many?": "how many",
    }
    assert {text: question_type(text) for text in expected} == expected
    assert [answer_type(text) for text in ("no", "12", "3.5", "1,000", "nobody")] == [
        "yes/no",
        "number",
        "number",
        "number",
        "other",
    ]


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vqav2")
    writer.write(folder, PARAMS)
    return folder


def test_generated_questions_are_varied_balanced_and_partly_disputed() -> None:
    asked = [
        question
        for index in range(150)
        for question in asking.ask(
            scene.sample(1, "vqa", index, 48, FULL), 6, seeds.generator("test", index), FULL
        )
    ]
    best = Counter(question.best for question in asked)
    assert len(asked) > 850 and len(best) >= 30
    assert best.most_common(1)[0][1] < 0.3 * len(asked)
    assert abs(best["yes"] - best["no"]) < 0.25 * best["yes"]
    assert len({question.question_type for question in asked}) >= 14
    assert {question.answer_type for question in asked} == {"yes/no", "number", "other"}
    assert not [
        question for question in asked if "None" in question.text or len(question.answers) != 10
    ]
    disputed = sum(len({text for text, _ in question.answers}) > 1 for question in asked)
    assert 0.25 < disputed / len(asked) < 0.6


def test_the_reader_gets_back_what_the_writer_wrote(official: Path) -> None:
    records = list(record_reader.read("vqav2", official))
    usable = [record for record in records if isinstance(record, QuestionsRecord)]
    assert {
        split: sum(record.split == split for record in usable) for split in ("train", "val", "test")
    } == {"train": 33 + 4, "val": 4, "test": 10}
    assert Counter(record.reason for record in records if isinstance(record, Rejected)).keys() == {
        "missing image",
        "no annotation",
    }
    assert all(record.key.startswith("COCO_val2014_") for record in usable if record.split == "val")
    for index in (0, 5):
        key = f"COCO_test2015_{writer.image_id('test', index):012d}"
        record = next(record for record in usable if record.key == key)
        wanted = writer.image_with_questions(PARAMS, "test", index).questions
        assert [question.text for question in record.questions] == [
            question.text for question in wanted
        ]
        for got, question in zip(record.questions, wanted, strict=True):
            assert got.answers[0] == question.best
            assert sorted(got.answers) == sorted(text for text, _ in question.answers)
    assert list(record_reader.read("vqav2", official)) == records
    assert len(vqav2.files(official)) == 9


def test_without_published_answers_test_questions_have_none(official: Path, tmp_path: Path) -> None:
    for path in official.iterdir():
        if path.name != "v2_Annotations_Test_mscoco.zip":
            (tmp_path / path.name).symlink_to(path)
    assert len(vqav2.files(tmp_path)) == 8
    answers = {
        record.split: {len(question.answers) for question in record.questions}
        for record in record_reader.read("vqav2", tmp_path)
        if isinstance(record, QuestionsRecord)
    }
    assert answers == {"train": {10}, "val": {10}, "test": {0}}


def annotation(number: int, image: int, answers: list[str], best: str) -> dict:
    return {
        "question_id": number,
        "image_id": image,
        "multiple_choice_answer": best,
        "question_type": "what",
        "answer_type": "other",
        "answers": [
            {"answer": text, "answer_id": answer_id, "answer_confidence": "yes"}
            for answer_id, text in enumerate(answers, 1)
        ],
    }


def write_part(folder: Path, part: str, name: str, asked: list, answered: list | None) -> None:
    with zipfile.ZipFile(folder / f"v2_Questions_{name}_mscoco.zip", "w") as archive:
        archive.writestr(
            f"v2_OpenEnded_mscoco_{part}_questions.json",
            json.dumps(
                {
                    "info": {},
                    "questions": [
                        {"question_id": number, "image_id": image, "question": text}
                        for number, image, text in asked
                    ],
                }
            ),
        )
    with zipfile.ZipFile(folder / f"v2_Annotations_{name}_mscoco.zip", "w") as archive:
        archive.writestr(
            f"v2_mscoco_{part}_annotations.json", json.dumps({"annotations": answered})
        )
    (folder / part).mkdir()
    for image in {image for _, image, _ in asked} - {4}:
        (folder / part / f"COCO_{part}_{image:012d}.jpg").write_bytes(b"image %d" % image)


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    ten = ["cat"] * 9 + ["dog"]
    asked = [
        (1, 1, " What  is it? "),
        (2, 1, "Who?"),
        (3, 2, " "),
        (4, 2, "Why?"),
        (5, 2, "How?"),
        (1, 2, "Again?"),
        (6, 3, "Where?"),
        (7, 4, "No image?"),
    ]
    write_part(
        tmp_path,
        "train2014",
        "Train",
        asked,
        [
            annotation(1, 1, [*ten[5:], *ten[:5]], "dog"),
            annotation(3, 2, ten, "cat"),
            annotation(4, 1, ten, "cat"),
            annotation(5, 2, ten[:9], "cat"),
            annotation(6, 3, ten, "bird"),
            annotation(7, 4, ten, "cat"),
            annotation(8, 9, ten, "cat"),
        ],
    )
    write_part(tmp_path, "val2014", "Val", [(10, 10, "What?")], [annotation(10, 10, ten, "cat")])
    write_part(tmp_path, "test2015", "Test", [(20, 20, "What?")], [annotation(20, 20, ten, "cat")])
    return tmp_path


def test_unusable_questions_are_rejected_with_a_reason(faulty: Path) -> None:
    records = list(record_reader.read("vqav2", faulty))
    usable = [record for record in records if isinstance(record, QuestionsRecord)]
    assert [(record.key, record.split) for record in usable] == [
        ("COCO_train2014_000000000001", "train"),
        ("COCO_val2014_000000000010", "train"),
        ("COCO_test2015_000000000020", "test"),
    ]
    assert usable[0].questions[0].text == "What is it?"
    assert usable[0].questions[0].answers == ("dog", *["cat"] * 9)
    reasons = {
        record.key.removeprefix("COCO_train2014_000000"): record.reason.partition(":")[0]
        for record in records
        if isinstance(record, Rejected)
    }
    assert reasons == {
        "000002#5": "no annotation",
        "000003#6": "no annotation",
        "000001#2": "no annotation",
        "000002#3": "empty question",
        "000002#4": "annotation of another image",
        "000002#1": "duplicate question",
        "000004#7": "missing image",
        "000009#8": "annotation without question",
    }
    wrong = [
        record
        for record in records
        if isinstance(record, Rejected) and record.reason.startswith("wrong answers")
    ]
    assert len(wrong) == 2


@pytest.mark.parametrize("there", range(8))
def test_validation_images_are_drawn_from_those_that_are_there(tmp_path: Path, there: int) -> None:
    ten = ["cat"] * 10
    for part, name, count in (("train2014", "Train", 1), ("val2014", "Val", 40)):
        images = range(100, 100 + count)
        asked = [(image, image, "What?") for image in images]
        write_part(tmp_path, part, name, asked, [annotation(i, i, ten, "cat") for i in images])
    write_part(tmp_path, "test2015", "Test", [], [])
    for image in range(100 + there, 140):
        (tmp_path / f"val2014/COCO_val2014_{image:012d}.jpg").unlink()
    records = list(record_reader.read("vqav2", tmp_path))
    usable = [record for record in records if isinstance(record, QuestionsRecord)]
    assert sum(record.split == "val" for record in usable) == there // 2
    assert len(usable) == 1 + there


def test_with_all_images_there_the_same_are_drawn_as_ever() -> None:
    sizes = dict.fromkeys(range(30), 7)
    assert sorted(vqav2._validation_images(sizes)) == [
        0,
        1,
        5,
        7,
        9,
        13,
        14,
        15,
        16,
        18,
        20,
        22,
        23,
        27,
        29,
    ]


def test_a_damaged_file_is_named_with_the_index_of_the_fault(faulty: Path) -> None:
    path = faulty / "v2_Questions_Train_mscoco.zip"
    member = "v2_OpenEnded_mscoco_train2014_questions.json"
    for content, message in (
        ('{"questions": [{"question_id": 1, "image_id": 1, "question": "a"}, {"qu', "cut short"),
        ('{"items": []}', "questions"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, content)
        with pytest.raises(UserError, match=message) as error:
            list(record_reader.read("vqav2", faulty))
        assert member in str(error.value) and "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(UserError, match="v2_Questions_Train"):
        list(record_reader.read("vqav2", faulty))


@real_data.needs("vqav2")
def test_real_files(faulty: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("real")
    for path in (*REAL.iterdir(), *faulty.glob("*Test*"), faulty / "test2015"):
        (root / path.name).symlink_to(path)
    records = list(record_reader.read("vqav2", root))
    usable = [record for record in records if isinstance(record, QuestionsRecord)]
    assert sum(len(record.questions) for record in usable if record.split != "test") == 14
    assert {record.reason for record in records if isinstance(record, Rejected)} == {
        "missing image"
    }
    for name, part in (("Train", "train2014"), ("Val", "val2014")):
        with zipfile.ZipFile(REAL / f"v2_Annotations_{name}_mscoco.zip") as archive:
            known = json.loads(archive.read(f"v2_mscoco_{part}_annotations.json"))["annotations"]
        with zipfile.ZipFile(REAL / f"v2_Questions_{name}_mscoco.zip") as archive:
            asked = json.loads(archive.read(f"v2_OpenEnded_mscoco_{part}_questions.json"))[
                "questions"
            ]
        texts = {item["question_id"]: item["question"] for item in asked}
        assert all(
            question_type(texts[item["question_id"]]) == item["question_type"] for item in known
        )
        same = sum(
            answer_type(item["multiple_choice_answer"]) == item["answer_type"] for item in known
        )
        assert same > 0.97 * len(known)
