"""The text tokenizer: its ids, its training, and how texts are packed."""

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.sharding.build import write_none
from pipeline.data.shards import parquet, schema
from pipeline.errors import UserError
from pipeline.tokenizers import packing, sentencepiece_training
from pipeline.tokenizers.packing import TextTokensParams, pack
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams
from pipeline.tokenizers.text import TextTokenizer
from pipeline.tokenizers.text.own_pieces import SPECIAL_IDS

PARAMS = TextTokenizerParams("train", None, ["books", "pairs"], 150, 1.0, 10_000, 0)


def words(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abdeiklmnorstu", k=rng.randint(2, 7))) for _ in range(count)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A text source and an image source of shards."""
    root, vocabulary = tmp_path_factory.mktemp("shards"), words(0, 80)
    rng = random.Random(1)

    def lines(count: int) -> list[str]:
        return [
            " ".join(rng.choices(vocabulary, k=rng.randint(2, 9))).capitalize() + "."
            for _ in range(count)
        ]

    documents = [{"key": f"d{number}", "sentences": lines(12)} for number in range(20)]
    pairs = [
        {
            "key": f"p{number}",
            "image": b"",
            "width": 1,
            "height": 1,
            "label": -1,
            "captions": lines(2),
        }
        for number in range(30)
    ]
    validation = [{"key": "h", "sentences": ["Zzz xxx zzz."] * 9}]
    for name, kind, rows, columns in (
        ("books", "text", documents, schema.TEXT_SHARD),
        ("pairs", "image", pairs, schema.IMAGE_SHARD),
    ):
        (root / name).mkdir()
        entries = {
            "train": parquet.write(
                root / name, "train", rows, columns, rows_per_group=8, groups_per_file=9
            )
        }
        if kind == "text":
            entries["val"] = parquet.write(
                root / name, "val", validation, columns, rows_per_group=8, groups_per_file=9
            )
        parquet.write_index(root / name, entries, kind=kind)
    return [root / "books", root / "pairs"]


@pytest.fixture(scope="module")
def model(folders, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "spm.model"
    facts = sentencepiece_training.train_tokenizer(folders, path, PARAMS, "text_tokenizer")
    assert (
        facts["vocab_size"] == 150
        and facts["texts"] == 20 * 12 + 30 * 2
        and facts["unknown_share"] == 0
    )
    return path


def test_training_is_bit_stable_and_leaves_no_path(folders, model, tmp_path):
    sentencepiece_training.train_tokenizer(
        folders, tmp_path / "elsewhere" / "m", PARAMS, "text_tokenizer"
    )
    data = (tmp_path / "elsewhere" / "m").read_bytes()
    assert data == model.read_bytes() and b"/tmp" not in data and str(tmp_path).encode() not in data


def test_only_the_training_split_is_read(folders):
    assert not any(
        "zzz" in text.lower() for text in sentencepiece_training.training_texts(folders[0])
    )
    assert len(list(sentencepiece_training.training_texts(folders[1]))) == 60


def test_ids(model):
    tokenizer = TextTokenizer.load(model)
    assert tokenizer.vocab_size == 150
    assert SPECIAL_IDS == {"[T_CLS]": 0, "[PAD]": 1, "[T_SEP]": 2, "[UNK]": 3, "[MASK]": 4}
    text = " ".join(words(0, 10))
    ids = tokenizer.encode(text, 64)
    assert (
        ids.dtype == np.uint16
        and ids[0] == 0
        and ids[-1] == 2
        and not set(ids[1:-1]) & set(SPECIAL_IDS.values())
    )
    assert tokenizer.decode(ids) == text
    short = tokenizer.encode(text, 6)
    assert list(short) == [*ids[:5], 2]
    assert list(tokenizer.encode("", 6)) == [0, 2]


def test_case_is_kept(model):
    tokenizer = TextTokenizer.load(model)
    word = words(0, 1)[0]
    assert list(tokenizer.encode(word, 64)) != list(tokenizer.encode(word.capitalize(), 64))


def test_no_text_gives_control_symbols(model):
    ids = TextTokenizer.load(model).encode("[MASK] [T_CLS] [PAD] [T_SEP] <s> </s>", 200)[1:-1]
    assert not set(ids) & {0, 1, 2, 4}


@given(
    st.text(st.characters(codec="utf-8"), max_size=40)
    | st.text("a \x00\u0301▁[MASK]<s>", max_size=40)
)
def test_any_text_has_ids(model, text):
    ids = TextTokenizer.load(model).encode(text, 9)
    assert 2 <= len(ids) <= 9 and ids[0] == 0 and ids[-1] == 2
    assert not set(map(int, ids[1:-1])) & {0, 1, 2, 4}


@pytest.mark.parametrize("text", ["a", "ab ", "\x00", "e\u0301\u0301", "中", "▁", " "])
def test_a_megabyte_without_an_end_of_a_word_is_encoded_at_once(model, text):
    """In quadratic time it would take hours."""
    assert len(TextTokenizer.load(model).encode(text * (1_000_000 // len(text)), 9)) <= 9


def test_odd_texts_are_trained_on(folders, tmp_path):
    odd = ["a\0b c", "ab" * 500_000, "▁x ▁", "[MASK] <unk> <s>", "e" + "\u0301" * 99, "\t"]
    rows = [{"key": "odd", "sentences": odd}]
    entry = parquet.write(
        tmp_path, "train", rows, schema.TEXT_SHARD, rows_per_group=8, groups_per_file=9
    )
    parquet.write_index(tmp_path, {"train": entry}, kind="text")
    metrics = sentencepiece_training.train_tokenizer(
        [*folders, tmp_path], tmp_path / "m", PARAMS, "k"
    )
    assert metrics["vocab_size"] == 150
    assert (
        TextTokenizer.load(tmp_path / "m").decode(
            TextTokenizer.load(tmp_path / "m").encode("ab ed", 99)
        )
        == "ab ed"
    )


@pytest.mark.parametrize(
    "size, message", [(5000, "at most [0-9]+"), (12, "at least [0-9]+"), (70_000, "at most 65536")]
)
def test_an_unreachable_size_names_the_key_and_the_limit(folders, tmp_path, size, message):
    params = TextTokenizerParams("train", None, ["books"], size, 1.0, 10_000, 0)
    with pytest.raises(
        UserError, match=rf"^params.yaml: text_tokenizer.vocab_size: [^\n]*{message}[^\n]*$"
    ):
        sentencepiece_training.train_tokenizer(folders, tmp_path / "m", params, "text_tokenizer")


def test_a_source_that_is_left_out_is_named_with_the_list_to_edit(folders, tmp_path):
    write_none("bookcorpus", tmp_path / "bookcorpus")
    with pytest.raises(
        UserError,
        match=r"^params.yaml: text_tokenizer.sources: bookcorpus [^\n]*leave bookcorpus out$",
    ):
        sentencepiece_training.train_tokenizer(
            [*folders, tmp_path / "bookcorpus"], tmp_path / "m", PARAMS, "text_tokenizer"
        )


def test_files_that_are_no_tokenizer_are_named(tmp_path):
    with pytest.raises(UserError, match="run the stage that makes it"):
        TextTokenizer.load(tmp_path / "m")
    (tmp_path / "m").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        TextTokenizer.load(tmp_path / "m")


def test_samples_are_uniform_and_repeat():
    texts = [str(number) for number in range(50)]
    assert sentencepiece_training.sample(texts, 50, 0) == texts
    drawn = [sentencepiece_training.sample(texts, 10, seed) for seed in range(300)]
    assert drawn[7] == sentencepiece_training.sample(texts, 10, 7) and all(
        len(set(kept)) == 10 for kept in drawn
    )
    often = [sum(text in kept for kept in drawn) for text in texts]
    assert 30 < min(often) and max(often) < 95  # 60 expected, deviation 7


@pytest.mark.parametrize(
    "lengths, expected",
    [
        ([4, 4, 4], [8, 4]),
        ([4, 7, 3], [4, 10]),
        ([10], [10]),
        ([11], [10]),
        ([25, 3], [10, 10, 8]),
        ([3, 25], [3, 10, 10, 5]),
        ([10, 10], [10, 10]),
        ([20], [10, 10]),
        ([2], []),
        ([9, 2], [9]),
        ([0, 0, 5], [5]),
        ([], []),
    ],
)
def test_packing(lengths, expected):
    ids = iter(range(1000))
    sentences = [[next(ids) for _ in range(length)] for length in lengths]
    runs = list(pack(sentences, size=10, min_size=3))
    assert [len(run) for run in runs] == expected
    flat = [number for run in runs for number in run]
    assert flat == sorted(flat) and len(set(flat)) == len(flat)


def test_token_shards_hold_whole_documents_in_pieces(folders, model, tmp_path):
    tokenizer = TextTokenizer.load(model)
    counts = packing.tokenize(folders[0], tokenizer, tmp_path / "a", TextTokensParams(24, 8, 5, 3))
    rows = {row["key"]: row["ids"] for row in parquet.read_rows(tmp_path / "a", "train")}
    assert set(counts) == {"train", "val"} and counts["train"] == len(rows)
    assert all(10 <= len(ids) <= 24 and ids[0] == 0 and ids[-1] == 2 for ids in rows.values())
    document = next(parquet.read_rows(folders[0], "train"))
    joined = [
        number
        for key in sorted(rows)
        if key.startswith(document["key"] + "#")
        for number in rows[key][1:-1]
    ]
    whole = [number for ids in tokenizer.bare_ids(document["sentences"]) for number in ids]
    assert joined == whole[: len(joined)] and len(whole) - len(joined) < 8
    packing.tokenize(folders[0], tokenizer, tmp_path / "b", TextTokensParams(24, 8, 5, 3))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert json.loads((tmp_path / "a" / "index.json").read_text())["vocab_size"] == 150
