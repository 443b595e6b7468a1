"""Packing the sentences of documents into token sequences (choice: RoBERTa's DOC-SENTENCES; VL-BEiT
gives no rule)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.sharding import external_shuffle
from pipeline.data.shards import parquet, schema
from pipeline.tokenizers.text import TextTokenizer, wrap
from pipeline.utils import files


@dataclass(frozen=True)
class TextTokensParams:
    """max_length: tokens of a row, [T_CLS] and [T_SEP] included; min_words: word tokens below which
    a row is dropped; rows_per_group, groups_per_file: sizes of the Parquet files."""

    max_length: int
    min_words: int
    rows_per_group: int
    groups_per_file: int


def tokenize(
    documents: Path, tokenizer: TextTokenizer, folder: Path, params: TextTokensParams
) -> dict[str, float]:
    """Pack every split of a text source's shards into `folder` (schema.TEXT_TOKENS) and return
    counts.

    Rows are in the order of a hash of their keys: what is packed from one document does not stand
    together.
    """
    files.fresh_directory(folder)
    splits = files.read_json(documents / "index.json")["splits"]
    rows = ((split, row) for split in splits for row in _rows(documents, split, tokenizer, params))
    entries = {
        split: parquet.write(
            folder,
            split,
            ordered,
            schema.TEXT_TOKENS,
            rows_per_group=params.rows_per_group,
            groups_per_file=params.groups_per_file,
        )
        for split, ordered in external_shuffle.shuffled(rows, folder)
    }
    parquet.write_index(
        folder, entries, max_length=params.max_length, vocab_size=tokenizer.vocab_size
    )
    return {
        split: facts["rows"]
        for split, facts in files.read_json(folder / "index.json")["splits"].items()
    }


def pack(sentences: Iterable[Sequence[int]], size: int, least: int) -> Iterator[list[int]]:
    """Consecutive sentences of one document as runs of at most `size` ids.

    A run ends before the sentence that would not fit; a sentence longer than `size` is cut into
    runs of `size`. Runs of fewer than `least` ids (mostly the tail) are dropped.
    """
    run: list[int] = []
    for sentence in sentences:
        if len(run) + len(sentence) > size:
            if len(run) >= least:
                yield run
            run = []
        whole = (len(sentence) - 1) // size * size
        yield from (list(sentence[start : start + size]) for start in range(0, whole, size))
        run.extend(sentence[whole:])
    if len(run) >= least:
        yield run


def _rows(
    documents: Path, split: str, tokenizer: TextTokenizer, params: TextTokensParams
) -> Iterator[dict[str, Any]]:
    for document in parquet.read_rows(documents, split):
        runs = pack(tokenizer.words(document["sentences"]), params.max_length - 2, params.min_words)
        for number, run in enumerate(runs):
            yield {"key": f"{document['key']}#{number:04d}", "ids": wrap(run)}
