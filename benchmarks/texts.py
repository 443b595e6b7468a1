"""How fast texts become ids: `python -m benchmarks.texts`.

Texts go through a SentencePiece model that was trained on them: sentences of the generated world,
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
from pipeline.data.synthetic import generate as world
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.tokenizers import packing
from pipeline.tokenizers.packing import TextTokensParams
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams, train_tokenizer
from pipeline.tokenizers.text import TextTokenizer

PAGES = 300  # of the generated encyclopedia
DOCUMENTS = 4000  # that are packed; pages repeat
VOCABULARY = 2000  # about all that the world's words support
INVENTED = 4000  # pages of invented words
WORDS, SENTENCES, LENGTH = (
    150_000,
    20,
    20,
)  # distinct words, sentences of a page, words of a sentence
LARGE_VOCABULARY = 64_000  # VL-BEiT §3.1
ROUNDS = 3


def documents(root: Path) -> list[list[str]]:
    """Sentences of each page."""
    world.write(
        "wikipedia", root / "raw", SyntheticParams(1, 64, 90, {"wikipedia": {"pages": PAGES}})
    )
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
    pages = [
        [" ".join(words[number] for number in sentence) for sentence in page] for page in drawn
    ]
    write(root / "pages", pages)
    return pages


def write(folder: Path, pages: list[list[str]]) -> None:
    """Text shards."""
    folder.mkdir()
    rows = ({"key": f"{number}", "sentences": page} for number, page in enumerate(pages))
    parquet.write_index(
        folder,
        {
            "train": parquet.write(
                folder, "train", rows, schema.TEXT_SHARD, rows_per_group=100, groups_per_file=100
            )
        },
        kind="text",
    )


def repeated(folder: Path, pages: list[list[str]]) -> float:
    """Text shards of many documents; returns their MB."""
    chosen = list(islice(cycle(pages), DOCUMENTS))
    write(folder, chosen)
    return sum(len(sentence.encode()) for page in chosen for sentence in page) / 1e6


def trained(root: Path, vocabulary: int) -> TextTokenizer:
    """A model of the pages."""
    settings = params.load_shared(TextTokenizerParams, "paper.text_tokenizer")
    train_tokenizer(
        [root / "pages"], root / "spm.model", replace(settings, vocab_size=vocabulary), ""
    )
    return TextTokenizer.load(root / "spm.model")


def ways(
    root: Path, pages: list[list[str]], tokenizer: TextTokenizer
) -> dict[str, Callable[[], float]]:
    """What is measured, each in MB."""
    packed = repeated(root / "documents", pages)
    size = sum(len(sentence.encode()) for page in pages for sentence in page) / 1e6
    settings = params.load_shared(TextTokensParams, "paper.text_tokens")
    return {
        "encoding": lambda: [tokenizer.bare_ids(page) for page in pages] and size,
        "encoding, lists of sentences": lambda: (
            [tokenizer.processor.encode(page) for page in pages] and size
        ),
        "encoding and packing": lambda: (
            [
                list(
                    packing.pack(
                        tokenizer.bare_ids(page), settings.max_length - 2, settings.min_words
                    )
                )
                for page in pages
            ]
            and size
        ),
        "the stage": lambda: (
            packing.tokenize(root / "documents", tokenizer, root / "tokens", settings) and packed
        ),
    }


def lines(root: Path) -> Iterator[str]:
    """All results."""
    for name, vocabulary, source in (
        ("world", VOCABULARY, documents),
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
