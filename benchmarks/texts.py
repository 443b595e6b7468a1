"""How fast texts become ids: `python -m benchmarks.texts`.

Texts go through a SentencePiece model that was trained on them: sentences of the generated articles,
whose words support 2,000 pieces, and sentences of 150,000 invented words, used as often as Zipf's
law says, with the paper's 64,000 pieces. Encoding alone, beside giving SentencePiece the list of a
document's sentences, then the whole stage (reading shards, encoding, packing, mixing, writing). One
process; MB of UTF-8.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from benchmarks.clock import rates, report
from pipeline.config import params
from pipeline.data.sharding import build
from pipeline.data.sharding.build import ShardParams
from pipeline.data.shards import parquet, schema
from pipeline.data.synthetic import generate
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.world import World
from pipeline.tokenizers import packing
from pipeline.tokenizers.packing import TextTokensParams
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams, train_tokenizer
from pipeline.tokenizers.text import TextTokenizer
from pipeline.tokenizers.text.own_pieces import OwnPieces

PAGES = 300  # of the generated encyclopedia
DOCUMENTS = 4000  # that are packed; pages repeat
VOCABULARY = 2000  # about all that the generated words support
INVENTED = 4000  # pages of invented words
WORDS = 150_000  # distinct words
SENTENCES, LENGTH = 20, 20  # sentences of a page, words of a sentence
LARGE_VOCABULARY = 64_000  # VL-BEiT §3.1
ROUNDS = 3

WORLD = params.load(World, "synthetic.world")


def generated(root: Path) -> list[list[str]]:
    """Sentences of each page."""
    articles = SyntheticParams(1, 64, 90, {"wikipedia": {"pages": PAGES}}, world=WORLD)
    generate.write("wikipedia", root / "raw", articles)
    build.shard("wikipedia", root / "raw", root / "pages", ShardParams(100, 100, 0.0))
    return [row["sentences"] for row in parquet.read_rows(root / "pages", "train")]


def invented(root: Path) -> list[list[str]]:
    """Pages of words that are made of two to four syllables."""
    rng = np.random.default_rng(0)
    syllables = [
        first + vowel + last
        for first in "bdfghklmnprstvz"
        for vowel in "aeiou"
        for last in ("", "n", "r")
    ]
    words = ["".join(rng.choice(syllables, rng.integers(2, 5))) for _ in range(WORDS)]
    frequency = 1 / np.arange(1, WORDS + 1)
    drawn = rng.choice(WORDS, (INVENTED, SENTENCES, LENGTH), p=frequency / frequency.sum())
    pages = []
    for page in drawn:
        pages.append([" ".join([words[index] for index in sentence]) for sentence in page])
    write(root / "pages", pages)
    return pages


def write(folder: Path, pages: list[list[str]]) -> None:
    """Text shards."""
    folder.mkdir()
    rows = ({"key": f"{number}", "sentences": page} for number, page in enumerate(pages))
    train = parquet.write(
        folder, "train", rows, schema.TEXT_SHARD, rows_per_group=100, groups_per_file=100
    )
    parquet.write_index(folder, {"train": train}, kind="text")


def megabytes(pages: list[list[str]]) -> float:
    """Of all sentences in UTF-8."""
    return sum(len(sentence.encode()) for page in pages for sentence in page) / 1e6


def trained(root: Path, vocabulary: int) -> TextTokenizer:
    """A model of the pages."""
    settings = params.preset("paper").load(TextTokenizerParams, "text_tokenizer")
    settings = replace(settings, vocab_size=vocabulary)
    train_tokenizer([root / "pages"], root / "spm.model", settings, "")
    return TextTokenizer.load(root / "spm.model")


def ways(
    root: Path, pages: list[list[str]], tokenizer: TextTokenizer
) -> dict[str, Callable[[], float]]:
    """What is measured, each in MB."""
    documents = list(islice(cycle(pages), DOCUMENTS))
    write(root / "documents", documents)
    settings = params.preset("paper").load(TextTokensParams, "text_tokens")
    reader = tokenizer.reader
    assert isinstance(reader, OwnPieces)
    size, packed = megabytes(pages), megabytes(documents)

    def encoding() -> float:
        for page in pages:
            tokenizer.bare_ids(page)
        return size

    def encoding_lists() -> float:
        for page in pages:
            reader.processor.encode(page)
        return size

    def encoding_and_packing() -> float:
        for page in pages:
            ids = tokenizer.bare_ids(page)
            list(packing.pack(ids, settings.max_length - 2, settings.min_words))
        return size

    def stage() -> float:
        packing.tokenize(root / "documents", tokenizer, root / "tokens", settings)
        return packed

    return {
        "encoding": encoding,
        "encoding, lists of sentences": encoding_lists,
        "encoding and packing": encoding_and_packing,
        "the stage": stage,
    }


def lines(root: Path) -> Iterator[str]:
    """All results."""
    for name, vocabulary, source in (
        ("generated", VOCABULARY, generated),
        ("invented", LARGE_VOCABULARY, invented),
    ):
        folder = root / name
        folder.mkdir()
        pages = source(folder)
        start = time.perf_counter()
        tokenizer = trained(folder, vocabulary)
        yield f"{vocabulary} pieces, trained in {time.perf_counter() - start:.0f} s"
        for way, rate in rates(ways(folder, pages, tokenizer), ROUNDS).items():
            yield f"{way:32} {rate:6.2f} MB/s"


if __name__ == "__main__":
    report(lines)
