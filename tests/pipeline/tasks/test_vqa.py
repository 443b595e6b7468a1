"""VQA: the official measure, and a tiny model from shards to the submission."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model import checkpoint
from model.backbone.config import BackboneConfig
from model.heads.vqa import VQA, VQAConfig, answer_loss, answerable
from pipeline.config import params as parameters
from pipeline.data.loading.sampler import MicroBatch
from pipeline.data.sharding import build
from pipeline.data.shards import parquet, schema
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.writers import vqav2 as writer
from pipeline.errors import MissingInput, UserError
from pipeline.inference.row_predictor import RowPredictor
from pipeline.reporting import tables
from pipeline.tasks import Folders
from pipeline.tasks.batch_results import BatchMaps
from pipeline.tasks.vqa.predict import (
    EvaluateParams,
    best_by_type,
    evaluate,
    headline,
    in_test_dev,
    standard_error,
)
from pipeline.tasks.vqa.training.answers import accuracy, normalize, soft_targets, vocabulary
from pipeline.tasks.vqa.training.data import class_indices, frequent_answers, questions
from pipeline.tasks.vqa.training.metrics import predict
from pipeline.tasks.vqa.training.task import FineTuneParams, Task
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams, train_tokenizer
from pipeline.tokenizers.text import TextTokenizer, put_into
from pipeline.training.data_parallel import DDPModel
from pipeline.training.step import backward
from tests.helpers.interrupted import resumed, without_training
from tests.helpers.worlds import FULL

SYNTHETIC = SyntheticParams(
    seed=3,
    image_size=40,
    jpeg_quality=85,
    sizes={"vqav2": {"train": 34, "restval": 8, "test": 10}},
    world=FULL,
)
TINY = BackboneConfig(
    image_size=24,
    patch_size=8,
    depth=2,
    embed_dim=16,
    num_heads=2,
    mlp_dim=32,
    vocab_size=300,
    text_length=24,
    experts="mome",
    drop_path=0.1,
    init_std=0.02,
)
TUNE = {
    "steps": 2,
    "lr": 1e-3,
    "min_lr": 0.0,
    "warmup_steps": 1,
    "schedule": "linear",
    "weight_decay": 0.01,
    "betas": [0.9, 0.98],
    "eps": 1e-8,
    "max_grad_norm": 0.0,
    "head_lr_mult": 1.0,
    "layer_decay": 1.0,
    "seed": 1,
    "drop_path": 0.1,
    "inputs": {
        "image_size": 32,
        "text_length": 16,
        "crop": {"crop_scale": [0.9, 1.0], "flip": 0.0, "color_jitter": 0.0},
        "rand_augment": {"ops": 2, "magnitude": 7, "probability": 0.5},
        "order": {"streams": 2, "shuffle_block": 2, "batch_size": 8},
    },
    "min_answer_count": 3,
    "init_bias_from_frequency": True,
    "evaluation_batch": 16,
    "num_workers": 0,
    "threads": 1,
    "loop": {
        "precision": "fp32",
        "gradient_accumulation": 1,
        "parallel": "ddp",
        "activation_checkpointing": False,
        "loader_workers": 0,
        "log_every": 1,
        "evaluate_every": 1,
        "checkpoint_every": 1,
        "max_nonfinite_steps": 3,
    },
}
EVALUATE = EvaluateParams(
    split="test",
    batch=16,
    server_test_dev=None,
    server_test_std=None,
    validation_questions=None,
    min_validation=0.0,
    threads=1,
    precision="fp32",
)


# The official measure


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("The dog", "dog"),
        ("an umbrella on a table", "umbrella on table"),
        ("a", ""),  # articles
        ("none", "0"),
        ("Two", "2"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("twenty two", "twenty 2"),  # number words
        ("isnt", "isn't"),
        ("couldntve", "couldntve"),
        ("couldn'tve", "couldn't've"),
        ("yall'll", "y'all'll"),
        ("twas", "'twas"),
        ("somebody'd", "somebodyd"),
        ("somebodyd", "somebodyd"),
        ("Im", "im"),
        ("it's", "it's"),
        ("t-shirt", "t shirt"),
        ("t- shirt", "t shirt"),
        ("black-and -white", "blackand white"),  # a blank anywhere
        ("yes!", "yes"),
        ("what?! ", "what"),
        ("and/or", "and or"),
        ('"stop"', "stop"),
        ("5:30", "5:30"),
        ("1,000", "1000"),
        ("1,000-2,000", "10002000"),
        ("red,blue", "red blue"),
        ("red, blue", "red blue"),
        ("3.5", "3.5"),
        ("a.m.", "am"),
        (".50", ".50"),
        ("mr. 5.", "mr 5"),
        ("2. 5", "2 5"),
        ("no.7", "no.7"),
        ("." * 33, "."),  # the first 32 only
        (" green\tand\nwhite ", "green and white"),
        ("$6,000", "$6000"),
        ("10%", "10%"),
        ("", ""),
    ],
)
def test_normalization_follows_the_official_code(raw: str, expected: str) -> None:
    assert normalize(raw) == expected


def straightforward_accuracy(answer: str, given: list[str]) -> float:
    """Leave one annotator out at a time, literally."""
    if len(set(given)) > 1:
        answer, given = normalize(answer), [normalize(one) for one in given]
    scores = [
        min(1.0, sum(other == answer for index, other in enumerate(given) if index != left_out) / 3)
        for left_out in range(len(given))
    ]
    return sum(scores) / len(scores)


def test_accuracy_agrees_with_leaving_one_annotator_out() -> None:
    rng = np.random.default_rng(0)
    words = ["two", "2", "the cat", "cat", "Cat", "t-shirt", "t shirt", "3.5", "dont", "don't"]
    for _ in range(500):
        given = [words[index] for index in rng.integers(int(rng.integers(1, len(words))), size=10)]
        answer = words[int(rng.integers(len(words)))]
        assert accuracy(answer, given) == pytest.approx(
            straightforward_accuracy(answer, given), abs=1e-12
        )


def test_nothing_is_normalized_where_all_annotators_agree() -> None:
    assert accuracy("Yes", ["yes"] * 10) == 0
    assert accuracy(" yes\n", ["yes"] * 10) == 1
    assert accuracy("Yes", ["yes"] * 9 + ["no"]) == 1
    assert accuracy("2", ["two"] * 9 + ["3"]) == 1


def test_soft_targets_are_the_official_accuracies_of_all_classes() -> None:
    classes = {word: index for index, word in enumerate(("cat", "2", "t shirt", "dog", "bird"))}
    given = ["two", "2", "t-shirt", "the cat", "cat", "cat", "Cat", "fish", "fish", "dog"]
    targets = soft_targets(given, classes)
    assert targets == pytest.approx([1.0, 0.6, 0.3, 0.3, 0.0])
    assert targets == pytest.approx([straightforward_accuracy(word, given) for word in classes])
    assert soft_targets(["cat"] * 3 + ["x"] * 7, classes)[0] == pytest.approx(0.9)
    assert not soft_targets([str(number) for number in range(10, 20)], classes).any()


def test_the_vocabulary_counts_normalized_answers() -> None:
    best = ["two", "2", "the dog", "dog", "Dog", "cat", "t-shirt", "t shirt"]
    assert vocabulary(best, 2) == ("dog", "2", "t shirt")
    assert vocabulary(best, 1)[-1] == "cat"


# The model and the task


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    project = tmp_path_factory.mktemp("project")
    (project / "official").mkdir()
    writer.write(project / "official", SYNTHETIC)
    build.shard(
        "vqav2", project / "official", project / "shards", build.ImageShardParams(4, 64, 0.0, 0)
    )
    texts = [
        text for row in parquet.read_rows(project / "shards", "train") for text in row["questions"]
    ]
    parquet.write_index(
        project,
        {
            "train": parquet.write(
                project,
                "train",
                [{"key": "0", "sentences": texts}],
                schema.TEXT_SHARD,
                rows_per_group=1,
                groups_per_file=1,
            )
        },
        kind="text",
    )
    train_tokenizer(
        [project],
        project / "spm.model",
        TextTokenizerParams("train", None, ["x"], 140, 1.0, 1000, 1),
        "text_tokenizer",
    )
    return Folders(project / "shards", project / "spm.model")


def test_the_loss_sums_over_the_answers_and_counts_answerable_questions() -> None:
    logits, targets = (
        torch.tensor([[0.0, 2.0], [1.0, -1.0], [3.0, 3.0]]),
        torch.tensor([[1.0, 0.3], [0, 0], [0, 0.6]]),
    )
    loss = answer_loss(logits, targets)
    terms = -(targets * logits.sigmoid().log() + (1 - targets) * (1 - logits.sigmoid()).log())
    torch.testing.assert_close(loss, terms[[0, 2]].sum())
    assert answerable(targets).tolist() == [1, 0, 1]


def test_a_saved_model_keeps_its_answers(tmp_path: Path) -> None:
    model = VQA(VQAConfig(TINY, ("yes", "no", "t shirt"))).eval()
    checkpoint.save(model, tmp_path)
    loaded = checkpoint.load(tmp_path)
    assert loaded.config == model.config
    batch = (
        torch.rand(2, 3, 24, 24),
        torch.randint(5, 300, (2, 6)),
        torch.ones(2, 6, dtype=torch.bool),
    )
    torch.testing.assert_close(loaded(*batch), model(*batch))
    with pytest.raises(ValueError, match="twice"):
        VQAConfig(TINY, ("yes", "yes"))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"answers": ["yes", "no"]}))
    with pytest.raises(ValueError, match="classifier"):
        checkpoint.load(tmp_path)


def tuning(**changes: object) -> FineTuneParams:
    return parameters.convert(FineTuneParams, TUNE | changes, "finetune.vqav2")


@pytest.fixture(scope="module")
def task(folders: Folders) -> Task:
    torch.manual_seed(0)
    return Task(tuning(), TINY, folders)


def test_a_step_moves_every_trained_weight_and_evaluation_is_a_share(task: Task) -> None:
    batch = task.batches[MicroBatch(0)]
    assert batch.pixels.shape == (8, 32, 32, 3) and batch.targets.shape == (
        8,
        len(task.model.config.answers),
    )
    again = task.batches[MicroBatch(0)]
    assert all(map(torch.equal, batch, again))
    losses = backward(task, DDPModel(task.model), [batch], "fp32")
    assert np.isfinite(losses["bce"])
    assert all(
        parameter.grad is not None
        for parameter in task.model.parameters()
        if parameter.requires_grad
    )
    task.model.zero_grad()
    task.model.eval()
    assert 0 <= task.evaluate()["score"] <= 1


def test_targets_belong_to_the_question_of_the_sample(task: Task, folders: Folders) -> None:
    classes = {answer: index for index, answer in enumerate(task.model.config.answers)}
    tokenizer = TextTokenizer.load(folders.text_tokenizer)
    known = {}
    for row in parquet.read_rows(folders.shards, "train"):
        for text, answers in zip(row["questions"], row["answers"], strict=True):
            ids = tuple(tokenizer.encode(text, 16).tolist())
            known.setdefault(ids, []).append(soft_targets(answers, classes))
    batch = task.batches[MicroBatch(1)]
    for ids, mask, targets in zip(batch.ids, batch.mask, batch.targets, strict=True):
        assert any(np.array_equal(targets, one) for one in known[tuple(ids[mask].tolist())])


def test_classes_and_blind_answers_come_from_the_labeled_questions(folders: Folders) -> None:
    best = [
        normalize(answers[0])
        for split in ("train", "val")
        for row in parquet.read_rows(folders.shards, split)
        for answers in row["answers"]
    ]
    counts = Counter(best)
    classes = frequent_answers(folders.shards, 3)
    assert set(classes) == {answer for answer, count in counts.items() if count >= 3}
    assert [counts[answer] for answer in classes] == sorted(
        (counts[answer] for answer in classes), reverse=True
    )
    assert best_by_type(folders.shards)["is the"] in ("yes", "no")
    with pytest.raises(UserError, match="min_answer_count"):
        frequent_answers(folders.shards, 10_000)


def test_a_new_classifier_expects_each_answer_as_often_as_it_is_right(
    task: Task, folders: Folders
) -> None:
    classes = {answer: index for index, answer in enumerate(task.model.config.answers)}
    targets = [
        soft_targets(answers, classes)
        for split in ("train", "val")
        for row in parquet.read_rows(folders.shards, split)
        for answers in row["answers"]
    ]
    shares = task.model.classifier[-1].bias.detach().sigmoid().numpy()
    assert shares == pytest.approx(np.sum(targets, axis=0) / (len(targets) + 1), rel=1e-4)
    assert (
        not Task(tuning(init_bias_from_frequency=False), TINY, folders)
        .model.classifier[-1]
        .bias.any()
    )


def test_shuffled_images_are_never_the_own_ones(folders: Folders) -> None:
    own = list(questions(folders.shards, "test", 16))
    shuffled = list(questions(folders.shards, "test", 16, shuffled=True))
    assert [question for question, _ in own] == [question for question, _ in shuffled]
    assert not any(np.array_equal(a, b) for (_, a), (_, b) in zip(own, shuffled, strict=True))
    assert {a.tobytes() for _, a in own} == {b.tobytes() for _, b in shuffled}


def test_predictions_do_not_depend_on_the_batch(task: Task, folders: Folders) -> None:
    task.model.eval()
    predictions = [
        list(predict(task.model, questions(folders.shards, "val", 32), task.tokenizer, 16, batch))
        for batch in (1, 7)
    ]
    assert [prediction.question for prediction in predictions[0]] == [
        prediction.question for prediction in predictions[1]
    ]
    for first, second in zip(*predictions, strict=True):
        values = [[value for _, value in prediction.best] for prediction in (first, second)]
        assert values[0] == pytest.approx(values[1], abs=1e-4)
    squares = np.array([prediction.accuracy for prediction in predictions[0]])
    groups = np.array([prediction.question.image_key for prediction in predictions[0]])
    residuals = [(squares - squares.mean())[groups == group].sum() for group in set(groups)]
    assert standard_error(predictions[0]) == pytest.approx(
        np.sqrt(np.square(residuals).sum()) / len(squares)
    )


def test_evaluation_reports_baselines_and_covers_every_test_question_once(
    task: Task, folders: Folders, tmp_path: Path
) -> None:
    result = evaluate(task.model.eval(), folders, tuning().inputs, EVALUATE, tmp_path)
    rows = list(parquet.read_rows(folders.shards, "test"))
    answers = {
        number: given
        for row in rows
        for number, given in zip(row["ids"], row["answers"], strict=True)
    }
    submission = json.loads((tmp_path / "submission.json").read_text())
    assert [item["question_id"] for item in submission] == sorted(answers)
    assert all(
        set(item) == {"question_id", "answer"} and isinstance(item["answer"], str)
        for item in submission
    )
    right = {
        item["question_id"]: straightforward_accuracy(item["answer"], answers[item["question_id"]])
        for item in submission
    }
    assert result["accuracy"] == pytest.approx(np.mean(list(right.values())))
    for half, dev in (("test_dev", True), ("test_std", False)):
        assert result[half] == pytest.approx(
            np.mean([right[number] for number in right if in_test_dev(number) == dev])
        )
    for kinds in ("answer_types", "question_types"):
        groups = result[kinds].values()
        assert sum(group["questions"] for group in groups) == len(answers)
        assert sum(group["questions"] * group["accuracy"] for group in groups) == pytest.approx(
            sum(right.values())
        )
    best = task.model.config.answers[0]
    assert result["most_frequent"]["accuracy"] == pytest.approx(
        np.mean([straightforward_accuracy(best, given) for given in answers.values()])
    )
    assert {"chance", "best_by_type", "shuffled_images", "standard_error", "validation"} <= set(
        result
    )
    assert headline(result)["score"] == result["accuracy"]
    json.dumps(result, allow_nan=False)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"submission.json", "answers.png"}
    for name in ("again", "kept", "only_tested"):
        (tmp_path / name).mkdir()

    def evaluated(maps: BatchMaps) -> dict[str, Any]:
        return evaluate(task.model, folders, tuning().inputs, EVALUATE, tmp_path / "again", maps)

    assert resumed(evaluated, tmp_path / "kept") == result
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first
    only_tested = replace(folders, shards=without_training(folders.shards, tmp_path / "shards"))
    out = tmp_path / "only_tested"
    without = evaluate(task.model, only_tested, tuning().inputs, EVALUATE, out)
    assert without == result | {"best_by_type": None}


class Annotator(VQA):
    """Says of each question, asked about its image, the class that the annotators agree on most."""

    def __init__(self, config: VQAConfig, folders: Folders, answers: Sequence[str]):
        super().__init__(config)
        self.known: dict[tuple[tuple[int, ...], bytes], str] = {}
        self.classes = class_indices(answers)
        tokenizer = TextTokenizer.load_for(folders.text_tokenizer, config.backbone.vocab_size)
        for split in ("val", "test"):
            for question, image in questions(folders.shards, split, config.backbone.image_size):
                ids = tuple(tokenizer.encode(question.text, 16).tolist())
                self.known[ids, image.tobytes()] = normalize(question.answers[0])

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        logits = torch.zeros(len(ids), len(self.classes))
        shown = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
        for row, (text, image, is_token) in enumerate(zip(ids, shown, mask, strict=True)):
            answer = self.known.get((tuple(text[is_token].tolist()), image.numpy().tobytes()))
            if answer in self.classes:
                logits[row, self.classes[answer]] = 9.0
        return logits


def test_answers_in_the_wrong_order_are_noticed_before_the_test(
    task: Task, folders: Folders, tmp_path: Path
) -> None:
    config = task.model.config
    params = replace(EVALUATE, min_validation=0.7)
    model = Annotator(config, folders, config.answers).eval()
    result = evaluate(model, folders, tuning().inputs, params, tmp_path)
    assert result["validation"] > 0.8
    model.config = replace(config, answers=(*config.answers[1:], config.answers[0]))
    (tmp_path / "wrong").mkdir()
    with pytest.raises(UserError, match=r"accuracy on the validation questions: .*wrong order"):
        evaluate(model, folders, tuning().inputs, params, tmp_path / "wrong")
    assert list((tmp_path / "wrong").iterdir()) == []
    few = replace(EVALUATE, validation_questions=3)
    assert evaluate(model, folders, tuning().inputs, few, tmp_path)["validation"] <= 1


def test_without_test_answers_only_the_server_knows(
    task: Task, folders: Folders, tmp_path: Path
) -> None:
    unlabeled = tmp_path / "shards"
    entries = {}
    for split in ("train", "val", "test"):
        rows = list(parquet.read_rows(folders.shards, split))
        if split == "test":
            rows = [row | {"answers": [[] for _ in row["answers"]]} for row in rows]
        unlabeled.mkdir(exist_ok=True)
        entries[split] = parquet.write(
            unlabeled, split, rows, schema.QUESTION_SHARD, rows_per_group=4, groups_per_file=9
        )
    parquet.write_index(unlabeled, entries)
    without_answers = replace(folders, shards=unlabeled)
    result = evaluate(task.model.eval(), without_answers, tuning().inputs, EVALUATE, tmp_path)
    assert (result["accuracy"], result["test_dev"], result["test_std"], result["scored"]) == (
        None,
        None,
        None,
        0,
    )
    assert headline(result) == {"score": result["validation"]}
    rows = tables.read_layout()["table1"]
    table = tables.against_paper("table1", rows, {"vqa": result}, tables.TableParams("ours", ""))
    assert all(row.cells == [None] * 4 for row in table.sections[-1].rows)
    scored = evaluate(
        task.model,
        without_answers,
        tuning().inputs,
        replace(EVALUATE, server_test_dev=0.775),
        tmp_path,
    )
    assert (scored["test_dev"], scored["test_std"]) == (0.775, None)
    with pytest.raises(UserError, match=r"server_test_std.*77\.5"):
        parameters.convert(
            EvaluateParams, asdict(EVALUATE) | {"server_test_std": 77.5}, "evaluate.vqav2"
        )


def test_a_served_model_answers_a_question_about_an_image(
    task: Task, folders: Folders, tmp_path: Path
) -> None:
    checkpoint.save(task.model, tmp_path)
    row = next(parquet.read_rows(folders.shards, "test"))
    put_into(tmp_path, folders.text_tokenizer)
    predictor = RowPredictor(tmp_path)
    answer = predictor.predict({"image": row["image"], "text": row["questions"][0]})
    assert len(answer["answers"]) == 3 and set(answer["answers"]) <= set(task.model.config.answers)
    with pytest.raises(MissingInput, match="given: text"):
        predictor.predict({"text": row["questions"][0]})
