"""NLVR2: both measures against references, the generated statements, the reader, training and
evaluation."""

import json
import zipfile
from collections import Counter, defaultdict
from dataclasses import asdict, replace
from itertools import chain

import numpy as np
import pytest
import torch

from model import checkpoint
from model.backbone.config import BackboneConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from pipeline.config import params as parameters
from pipeline.data.datasets import nlvr2
from pipeline.data.loading.sampler import MicroBatch
from pipeline.data.records import Rejected, StatementRecord
from pipeline.data.sharding import build, record_reader
from pipeline.data.shards import parquet, schema
from pipeline.data.synthetic.language import statements
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import scene
from pipeline.data.synthetic.scenes.scene import Scene, Thing
from pipeline.data.synthetic.writers import nlvr2 as writer
from pipeline.errors import MissingInput, UserError
from pipeline.inference.row_predictor import RowPredictor
from pipeline.tasks import Folders
from pipeline.tasks.nlvr2.predict import EvaluateParams, chance, evaluate, headline
from pipeline.tasks.nlvr2.training.data import evaluation_batches
from pipeline.tasks.nlvr2.training.metrics import predict, scores
from pipeline.tasks.nlvr2.training.task import FineTuneParams, Task
from pipeline.tokenizers import text
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams, train_tokenizer
from pipeline.tokenizers.text import TextTokenizer
from pipeline.tracking.client import Run
from pipeline.training import curves
from pipeline.training.loop import train
from tests.helpers import real_data
from tests.helpers.interrupted import resumed, without_training
from tests.helpers.worlds import FULL, POOR

REAL_EXAMPLES = real_data.folder("nlvr2") / "data" / "dev.json"
SYNTHETIC = SyntheticParams(
    seed=5,
    image_size=40,
    jpeg_quality=85,
    sizes={"nlvr2": {"train": 34, "val": 3, "test": 4}},
    world=FULL,
)
TINY = BackboneConfig(
    image_size=24,
    patch_size=8,
    depth=2,
    embed_dim=16,
    num_heads=2,
    mlp_dim=32,
    vocab_size=100,
    text_length=24,
    experts="mome",
    drop_path=0.1,
    init_std=0.02,
)
TUNE = {
    "steps": 2,
    "lr": 1e-3,
    "min_lr": 0.0,
    "warmup_steps": 0,
    "schedule": "linear",
    "weight_decay": 0.01,
    "betas": [0.9, 0.98],
    "eps": 1e-8,
    "max_grad_norm": 0.0,
    "head_lr_mult": 1.0,
    "layer_decay": 1.0,
    "seed": 1,
    "drop_path": 0.1,
    "pooling": "cls",
    "inputs": {
        "image_size": 32,
        "text_length": 24,
        "crop": {"crop_scale": [0.9, 1.0], "flip": 0.0, "color_jitter": 0.0},
        "rand_augment": {"ops": 2, "magnitude": 7, "probability": 0.5},
        "order": {"streams": 2, "shuffle_block": 2, "batch_size": 8},
    },
    "evaluation_batch": 10,
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


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    folder = tmp_path_factory.mktemp("official")
    writer.write(folder, SYNTHETIC)
    return folder


@pytest.fixture(scope="module")
def folders(official, tmp_path_factory):
    """Shards of the generated files, and a text tokenizer of its statements."""
    root = tmp_path_factory.mktemp("project")
    build.shard("nlvr2", official, root / "nlvr2", build.ImageShardParams(8, 4, 0.0, 0))
    (root / "texts").mkdir()
    rows = [
        {"key": str(number), "sentences": [row["statement"]]}
        for number, row in enumerate(parquet.read_rows(root / "nlvr2", "train"))
    ]
    entries = parquet.write(
        root / "texts", "train", rows, schema.TEXT_SHARD, rows_per_group=64, groups_per_file=9
    )
    parquet.write_index(root / "texts", {"train": entries}, kind="text")
    train_tokenizer(
        [root / "texts"],
        root / "spm.model",
        TextTokenizerParams("train", None, ["texts"], 75, 1.0, 10_000, 0),
        "x",
    )
    return Folders(root / "nlvr2", root / "spm.model")


@pytest.fixture
def tuned():
    """The parameters as they come out of params.yaml."""
    return parameters.convert(FineTuneParams, TUNE, "finetune.nlvr2")


# The official measures


def test_scores_agree_with_counting_one_group_at_a_time():
    rng = np.random.default_rng(0)
    for _ in range(20):
        groups = [f"g{number}" for number in rng.integers(0, 12, 50)]
        predictions, labels = rng.random(50) < 0.6, rng.random(50) < 0.7
        hits = [predictions[i] == labels[i] for i in range(50)]
        perfect = [
            name for name in set(groups) if all(hits[i] for i in range(50) if groups[i] == name)
        ]
        assert scores(predictions, labels, groups) == pytest.approx(
            {"accuracy": sum(hits) / 50, "consistency": len(perfect) / len(set(groups))}
        )


def test_chance_is_what_coins_get():
    rng, groups = np.random.default_rng(1), ["a", "b", "b", "c", "c", "c", "c"]
    tosses = [scores(rng.random(7) < 0.5, [True] * 7, groups) for _ in range(4000)]
    for name, value in chance(groups).items():
        assert np.mean([toss[name] for toss in tosses]) == pytest.approx(value, abs=0.02)


def test_groups_are_identifiers_without_the_pair():
    assert nlvr2.group("dev-850-0-1") == nlvr2.group("dev-850-3-1") == "dev-850-1"
    assert (
        len(
            {
                nlvr2.group(name)
                for name in ("dev-850-0-1", "dev-850-0-0", "dev-85-0-1", "test1-850-0-1")
            }
        )
        == 4
    )


@real_data.needs("nlvr2")
def test_groups_of_the_real_file_have_one_sentence_each():
    sentences = defaultdict(set)
    for line in REAL_EXAMPLES.read_text(encoding="utf-8").splitlines():
        example = json.loads(line)
        sentences[nlvr2.group(example["identifier"])].add(example["sentence"])
    assert all(len(texts) == 1 for texts in sentences.values())


# Generated statements


@pytest.mark.parametrize("world", [FULL, POOR])
def test_every_statement_and_every_pair_is_true_as_often_as_false(world):
    scenes, sets = writer.sets(replace(SYNTHETIC, world=world), "train")
    facts = [statements.facts(drawn, world) for drawn in scenes]
    assert len(sets) == 34
    for example_set in sets:
        assert all(left != right for left, right in example_set.pairs)
        first, second = example_set.statements
        truth = [first.holds(facts[left], facts[right]) for left, right in example_set.pairs]
        assert truth == [True, True, False, False]
        truth = [second.holds(facts[left], facts[right]) for left, right in example_set.pairs]
        assert truth == [False, False, True, True]


@pytest.mark.parametrize(
    ("share", "simple"), [(0.75, [0, 1, 2, 4, 5, 6]), (0.5, [0, 2, 4, 6]), (0, []), (1, range(8))]
)
def test_simple_sets_are_spread_evenly(share, simple):
    assert [index for index in range(8) if writer._is_simple(index, share)] == list(simple)


def test_labels_of_the_files_are_balanced_by_statement_and_by_pair(official):
    by_statement, by_pair = defaultdict(Counter), defaultdict(Counter)
    for line in (official / "test1.json").read_text(encoding="utf-8").splitlines():
        example = json.loads(line)
        by_statement[nlvr2.group(example["identifier"])][example["label"]] += 1
        by_pair[example["identifier"].rpartition("-")[0]][example["label"]] += 1
    assert len(by_statement) == 8 and all(
        counts == {"True": 2, "False": 2} for counts in by_statement.values()
    )
    assert len(by_pair) == 16 and all(
        counts == {"True": 1, "False": 1} for counts in by_pair.values()
    )


def test_evaluation_combinations_occur_in_no_training_set():
    for part, expected in (("train", False), ("val", True), ("test", True)):
        scenes, sets = writer.sets(SYNTHETIC, part)
        for left, right in chain.from_iterable(example_set.pairs for example_set in sets):
            assert scene.is_evaluation(scenes[left]) == expected
            assert scene.is_evaluation(scenes[right]) == expected


def test_what_statements_say_is_so():
    star, ring = (
        Thing(shape, color, "plain", "small", x, 0.5, 0.0, FULL.sizes["small"])
        for shape, color, x in (("star", "red", 0.2), ("ring", "blue", 0.8))
    )
    two, one = (
        statements.facts(Scene("sea", things, 40, 40, 1), FULL)
        for things in ((star, ring), (star,))
    )
    elsewhere = statements.facts(Scene("snow", (ring,), 40, 40, 1), FULL)
    assert ("related", "red", "left", "blue") in two and ("related", "blue", "right", "red") in two
    assert {
        ("count", "star", "1"),
        ("count", "moon", "0"),
        ("number", "2"),
        ("thing", "blue", "ring"),
    } <= two
    same = statements._same_background(np.random.default_rng(0), FULL)
    assert [text.holds(two, one) for text in same] == [True, False]
    assert [text.holds(two, elsewhere) for text in same] == [False, True]
    more = statements._more(np.random.default_rng(0), FULL)
    assert [text.holds(two, one) for text in more] == [True, False]
    assert [text.holds(one, two) for text in more] == [False, True]
    assert [text.holds(one, elsewhere) for text in more] == [False, False]
    three = statements._counted("object", ("number",), 3, 1, np.random.default_rng(0), FULL)
    assert three.text.startswith("There are three objects in the two ") and three.holds(two, one)
    assert not three.holds(two, two) and not three.holds(one, elsewhere)


def test_the_same_bytes_again(official, tmp_path):
    writer.write(tmp_path, SYNTHETIC)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in official.iterdir()
    }


# The reader


def test_what_the_world_writes_is_read_and_its_faults_are_rejected(official):
    assert len(nlvr2.files(official)) == 6
    records_read = list(record_reader.read("nlvr2", official))
    records = [record for record in records_read if isinstance(record, StatementRecord)]
    assert Counter(record.split for record in records) == {
        "train": 34 * 8 - 3,
        "val": 24,
        "test": 32,
    }
    rejected = [
        (record.key, record.reason.partition(":")[0])
        for record in records_read
        if isinstance(record, Rejected)
    ]
    assert rejected == [
        ("train-29-0-0", "missing image"),
        ("train-29-0-1", "missing image"),
        ("train.json:249", "damaged line"),
    ]
    with zipfile.ZipFile(official / "train_img.zip") as archive:
        first = records[0]
        assert (first.key, first.group) == ("train-0-0-0", "train-0-0")
        assert first.left == archive.read("images/train/0/train-0-0-img0.png")
        assert first.right == archive.read("images/train/0/train-0-0-img1.png")
        assert first.label == 1


def test_truncated_images_are_rejected_by_the_shards(folders):
    index = json.loads((folders.shards / "index.json").read_text())
    assert {split: facts["rows"] for split, facts in index["splits"].items()} == {
        "train": 34 * 8 - 5,
        "val": 24,
        "test": 32,
    }
    assert index["rejected"] == {"damaged line": 1, "damaged image": 2, "missing image": 2}


def lines(name, *examples):
    return "".join(
        json.dumps({"identifier": identifier, "sentence": sentence, "label": label}) + "\n"
        for identifier, sentence, label in examples
    )


def official_folders(root):
    """Plain folders; `train` has lost its numbered ones."""
    for name in ("train", "dev", "test1"):
        (root / "images" / name).mkdir(parents=True)
        for side in range(2):
            (root / "images" / name / f"{name}-7-0-img{side}.png").write_bytes(
                f"{name} {side}".encode()
            )
        (root / f"{name}.json").write_text(lines(name, (f"{name}-7-0-0", " Two  boats. ", "False")))


def test_folders_are_read_and_damaged_lines_are_named(tmp_path):
    official_folders(tmp_path)
    (tmp_path / "dev.json").write_text(
        lines(
            "dev",
            ("dev-7-0-0", "A boat.", "True"),
            ("dev-7-1-0", "A boat.", "True"),
            ("dev-7-0-1", " ", "True"),
            ("dev-7-0-2", "A boat.", "maybe"),
            ("dev-7-0", "A boat.", "True"),
        )
        + '{"identifier": "dev-7\n[]\n\n{}\n'
    )
    assert len(nlvr2.files(tmp_path)) == 9
    records_read = list(record_reader.read("nlvr2", tmp_path))
    assert records_read[:2] == [
        StatementRecord(
            "train-7-0-0", "train", b"train 0", b"train 1", "Two boats.", 0, "train-7-0"
        ),
        StatementRecord("dev-7-0-0", "val", b"dev 0", b"dev 1", "A boat.", 1, "dev-7-0"),
    ]
    assert records_read[2] == Rejected("dev-7-1-0", "missing image: dev-7-1-img0.png")
    assert [record.key for record in records_read[3:-1]] == [
        f"dev.json:{line}" for line in (3, 4, 5, 6, 7, 9)
    ]
    assert {record.reason.partition(":")[0] for record in records_read[3:-1]} == {
        "empty sentence",
        "damaged record",
        "damaged line",
    }
    assert records_read[-1].split == "test"


def test_a_file_of_another_split_is_refused(tmp_path):
    official_folders(tmp_path)
    (tmp_path / "test1.json").write_text((tmp_path / "dev.json").read_text())
    with pytest.raises(UserError, match=r"test1\.json:1: dev-7-0-0 is no example of test1"):
        list(record_reader.read("nlvr2", tmp_path))


def test_missing_files_are_named(tmp_path):
    official_folders(tmp_path)
    (tmp_path / "test1.json").unlink()
    with pytest.raises(FileNotFoundError, match="test1.json"):
        nlvr2.files(tmp_path)


# The model and the task


def test_the_model_reads_each_image_with_the_statement_and_keeps_their_order():
    torch.manual_seed(0)
    model = NLVR2(NLVR2Config(TINY)).eval()
    pixels, ids = torch.rand(3, 2, 3, 24, 24) * 2 - 1, torch.randint(5, 60, (3, 6))
    mask = torch.ones(3, 6, dtype=torch.bool)
    pooled = [
        model.pooler(model.backbone(pixels[:, side], ids, text_mask=mask).text[:, 0])
        for side in range(2)
    ]
    torch.testing.assert_close(model(pixels, ids, mask), model.classifier(torch.cat(pooled, dim=1)))
    assert not torch.allclose(model(pixels.flip(1), ids, mask), model(pixels, ids, mask))


def test_with_means_the_model_pools_the_statements_other_tokens_without_padding():
    torch.manual_seed(0)
    model = NLVR2(NLVR2Config(TINY, pooling="mean")).eval()
    pixels, ids = torch.rand(3, 2, 3, 24, 24) * 2 - 1, torch.randint(5, 60, (3, 6))
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[:, 4:] = False
    pooled = [
        model.pooler(model.backbone(pixels[:, side], ids[:, :4]).text[:, 1:].mean(dim=1))
        for side in range(2)
    ]
    torch.testing.assert_close(model(pixels, ids, mask), model.classifier(torch.cat(pooled, dim=1)))


def test_the_head_has_the_size_of_the_reference():
    with torch.device("meta"):
        model = NLVR2(NLVR2Config(replace(TINY, embed_dim=768, depth=1, num_heads=12)))
    assert sum(p.numel() for p in model.classifier.parameters()) == 2_366_978
    assert sum(p.numel() for p in model.pooler.parameters()) == 590_592


def test_training_and_evaluation(folders, tuned, tmp_path):
    torch.manual_seed(0)
    task = Task(tuned, TINY, folders)
    before = task.model.classifier[0].weight.clone()
    train(task, tuned, tuned.loop, tmp_path, Run(None))
    rows = curves.read_jsonl(tmp_path / "curve.jsonl")
    assert [row.kind for row in rows] == ["train", "validation"] * 2
    assert all(np.isfinite(value) for row in rows for value in row.values.values())
    assert not torch.equal(before, task.model.classifier[0].weight)
    params = EvaluateParams(7, 1, "fp32")
    for name in ("a", "b", "kept", "only_tested"):
        (tmp_path / name).mkdir()

    def evaluated(maps):
        return evaluate(task.model, folders, tuned.inputs, params, tmp_path / "b", maps)

    results = [
        evaluate(task.model.eval(), folders, tuned.inputs, params, tmp_path / "a"),
        resumed(evaluated, tmp_path / "kept"),
    ]
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("a", "b")
    ]
    assert (
        results[0] == results[1]
        and files[0] == files[1]
        and set(files[0]) == {"pairs.png", "predictions.csv"}
    )
    check(results[0], files[0]["predictions.csv"].decode(), folders)
    only_tested = replace(folders, shards=without_training(folders.shards, tmp_path / "shards"))
    result = evaluate(task.model, only_tested, tuned.inputs, params, tmp_path / "only_tested")
    assert result == {key: results[0][key] for key in results[0] if key != "majority_class"}
    assert headline(result) == headline(results[0])


def check(result, predictions, folders):
    """The result says of the predictions file what the official evaluator would."""
    answers = dict(line.split(",") for line in predictions.splitlines())
    for name, split in (("dev", "val"), ("test_p", "test")):
        rows = list(parquet.read_rows(folders.shards, split))
        hits = {
            row["key"]: answers[row["key"]].lower() == str(bool(row["label"])).lower()
            for row in rows
        }
        assert result[name]["accuracy"] == pytest.approx(sum(hits.values()) / len(rows))
        assert result["examples"][name] == len(rows)
        of_group = defaultdict(float)  # how many more are right than on average
        for key, hit in hits.items():
            of_group[nlvr2.group(key)] += hit - sum(hits.values()) / len(rows)
        error = sum(more**2 for more in of_group.values()) ** 0.5 / len(rows)
        assert result["standard_errors"][name]["accuracy"] == pytest.approx(error)
        assert result["majority_class"][name] == {"accuracy": 0.5, "consistency": 0.0}
        assert result["chance"][name] == {"accuracy": 0.5, "consistency": 0.5**4}
        assert 0 <= result["shuffled_images"][name]["accuracy"] <= 1
    assert len(answers) == result["examples"]["dev"] + result["examples"]["test_p"]
    assert headline(result)["score"] == result["test_p"]["accuracy"]
    json.dumps(result)


def test_batches_depend_on_the_step_alone(folders, tuned):
    first, again = (Task(tuned, TINY, folders).batches for _ in range(2))
    first[MicroBatch(0)]
    batch, same = first[MicroBatch(3)], again[MicroBatch(3)]
    assert all(map(torch.equal, batch, same))
    assert batch.pixels.shape == (8, 2, 32, 32, 3)
    assert batch.drop_path_noise.shape == (8, 2, 2, 3)
    assert not torch.equal(batch.pixels[:, 0], batch.pixels[:, 1])


def test_evaluation_does_not_depend_on_the_batch_and_shuffling_changes_the_images(folders, tuned):
    torch.manual_seed(0)
    model, tokenizer = (
        Task(tuned, TINY, folders).model.eval(),
        TextTokenizer.load(folders.text_tokenizer),
    )
    few, all_at_once, shuffled = (
        predict(
            model,
            evaluation_batches(folders.shards, "test", tokenizer, tuned.inputs, size),
            shuffled=mixed,
        )
        for size, mixed in ((5, False), (100, False), (100, True))
    )
    assert few.keys == all_at_once.keys == shuffled.keys and few.labels == shuffled.labels
    assert few.probabilities == pytest.approx(all_at_once.probabilities, abs=1e-5)
    assert np.abs(np.subtract(few.probabilities, shuffled.probabilities)).max() > 1e-5


def test_a_saved_model_answers_rows_of_two_images(folders, tuned, tmp_path):
    model = Task(tuned, TINY, folders).model.eval()
    checkpoint.save(model, tmp_path / "model")
    row = next(parquet.read_rows(folders.shards, "test"))
    text.put_into(tmp_path / "model", folders.text_tokenizer)
    predictor = RowPredictor(tmp_path / "model")
    answer = predictor.predict(
        {"image": row["left"], "image2": row["right"], "text": row["statement"]}
    )
    tokenizer = TextTokenizer.load(folders.text_tokenizer)
    examples = evaluation_batches(folders.shards, "test", tokenizer, tuned.inputs, 1)
    predictions = predict(model, examples)
    assert answer["truth"] == pytest.approx(predictions.probabilities[0], abs=1e-5)
    with pytest.raises(MissingInput, match="given: image, text"):
        predictor.predict({"image": row["left"], "text": row["statement"]})
    assert asdict(checkpoint.load(tmp_path / "model").config) == asdict(model.config)
