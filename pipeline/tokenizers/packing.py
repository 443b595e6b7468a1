"""Packing the sentences of documents into token sequences (choice: RoBERTa's DOC-SENTENCES; VL-BEiT
gives no rule)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.limits import Count, TextLength
from pipeline.data.sharding import external_shuffle
from pipeline.data.shards import parquet, schema
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import files
from pipeline.utils.progress import Progress


@dataclass(frozen=True)
class TextTokensParams:
    """max_length: tokens of a row, [T_CLS] and [T_SEP] included; min_words: rows with fewer tokens
    than this, not counting these two, are dropped; rows_per_group, groups_per_file: sizes of the
    Parquet files."""

    max_length: TextLength
    min_words: int
    rows_per_group: Count
    groups_per_file: Count


def tokenize(
    documents: Path, tokenizer: TextTokenizer, folder: Path, params: TextTokensParams
) -> dict[str, float]:
    """Pack every split of a text source's shards into `folder` (schema.TEXT_TOKENS).

    Rows are in the order of a hash of their keys, so that the rows of a document are scattered.

    Returns:
        The number of rows of each split.
    """
    files.fresh_directory(folder)
    splits = files.read_json(documents / "index.json")["splits"]
    entries = {}
    total = sum(facts["rows"] for facts in splits.values())
    with Progress(documents.name, total, "documents") as progress:
        rows = _rows(documents, splits, tokenizer, params, progress)
        for split, shuffled_rows in external_shuffle.shuffled(rows, folder):
            entries[split] = parquet.write(
                folder,
                split,
                shuffled_rows,
                schema.TEXT_TOKENS,
                rows_per_group=params.rows_per_group,
                groups_per_file=params.groups_per_file,
            )
    parquet.write_index(
        folder, entries, max_length=params.max_length, vocab_size=tokenizer.vocab_size
    )
    written = files.read_json(folder / "index.json")["splits"]
    return {split: facts["rows"] for split, facts in written.items()}


def pack(sentences: Iterable[Sequence[int]], size: int, min_size: int) -> Iterator[list[int]]:
    """Consecutive sentences of one document as runs of at most `size` ids.

    A run ends before the sentence that would not fit; a sentence longer than `size` is cut into
    runs of `size`. Runs of fewer than `min_size` ids (mostly the last) are dropped.
    """
    run: list[int] = []
    for sentence in sentences:
        if len(run) + len(sentence) > size:
            if len(run) >= min_size:
                yield run
            run = []
        tail = (len(sentence) - 1) // size * size  # start of what is left after whole runs
        for start in range(0, tail, size):
            yield list(sentence[start : start + size])
        run.extend(sentence[tail:])
    if len(run) >= min_size:
        yield run


def _rows(
    documents: Path,
    splits: Iterable[str],
    tokenizer: TextTokenizer,
    params: TextTokensParams,
    progress: Progress,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Split and row of every sequence."""
    for split in splits:
        for document in parquet.read_rows(documents, split):
            sentences = tokenizer.bare_ids(document["sentences"])
            runs = pack(sentences, params.max_length - 2, params.min_words)
            for number, run in enumerate(runs):
                key = f"{document['key']}#{number:04d}"
                yield split, {"key": key, "ids": tokenizer.enclosed(run)}
            progress.advance(1)
