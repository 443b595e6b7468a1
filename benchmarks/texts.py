"""How fast texts become ids: `python -m benchmarks.texts`.

Sentences of the generated world (about the length of Wikipedia's) through a SentencePiece model that was trained on
them: encoding alone, beside giving SentencePiece the list of a document's sentences, then the whole stage (reading
shards, encoding, packing, mixing, writing). One process; MB of UTF-8.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from benchmarks.clock import rates, report
from pipeline import packing, params, schema, shards, sharding
from pipeline.packing import TextTokensParams
from pipeline.sharding import ShardParams
from pipeline.text import TextTokenizer
from pipeline.text_training import TextTokenizerParams, train_tokenizer
from pipeline.world.params import WorldParams
from pipeline.world.sources import write

PAGES = 300  # of the generated encyclopedia
DOCUMENTS = 4000  # that are packed; pages repeat
VOCABULARY = 2000  # about all that the world's words support
ROUNDS = 3


def documents(root: Path) -> list[list[str]]:
    """Sentences of each page."""
    write("wikipedia", root / "raw", WorldParams(1, 64, 90, {"wikipedia": {"pages": PAGES}}))
    sharding.shard("wikipedia", root / "raw", root / "pages", ShardParams(100, 100, 0.0))
    return [row["sentences"] for row in shards.read_rows(root / "pages", "train")]


def repeated(folder: Path, pages: list[list[str]]) -> float:
    """Text shards of many documents; returns their MB."""
    folder.mkdir()
    chosen = list(islice(cycle(pages), DOCUMENTS))
    rows = ({"key": f"{number}", "sentences": page} for number, page in enumerate(chosen))
    shards.write_index(folder, {"train": shards.write(folder, "train", rows, schema.TEXT_SHARD, rows_per_group=100,
                                                      groups_per_file=100)}, kind="text")
    return sum(len(sentence.encode()) for page in chosen for sentence in page) / 1e6


def trained(root: Path) -> TextTokenizer:
    """A model of the pages."""
    settings = params.load_shared(TextTokenizerParams, "paper.text_tokenizer")
    train_tokenizer([root / "pages"], root / "spm.model", replace(settings, vocab_size=VOCABULARY), "")
    return TextTokenizer.load(root / "spm.model")


def ways(root: Path, pages: list[list[str]]) -> dict[str, Callable[[], float]]:
    """What is measured, each in MB."""
    tokenizer, packed = trained(root), repeated(root / "documents", pages)
    size = sum(len(sentence.encode()) for page in pages for sentence in page) / 1e6
    settings = params.load_shared(TextTokensParams, "paper.text_tokens")
    return {
        "encoding": lambda: [tokenizer.words(page) for page in pages] and size,
        "encoding, lists of sentences": lambda: [tokenizer.processor.encode(page) for page in pages] and size,
        "encoding and packing": lambda: [list(packing.pack(tokenizer.words(page), settings.max_length - 2,
                                                           settings.min_words)) for page in pages] and size,
        "the stage": lambda: packing.tokenize(root / "documents", tokenizer, root / "tokens", settings) and packed,
    }


def lines(root: Path) -> Iterator[str]:
    """All results."""
    pages = documents(root)
    for name, rate in rates(ways(root, pages), ROUNDS).items():
        yield f"{name:32} {rate:6.2f} MB/s"


if __name__ == "__main__":
    report(lines)
