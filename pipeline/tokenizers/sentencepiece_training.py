"""Training the SentencePiece model on the sentences and captions of shards."""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pipeline.config.limits import Count, ShareAboveZero, Width
from pipeline.data.shards import parquet
from pipeline.errors import UserError
from pipeline.tokenizers.text import MAX_VOCAB_SIZE, TextTokenizer
from pipeline.tokenizers.text.own_pieces import SPECIAL_IDS
from pipeline.utils import files, seeds

_ROLES = {"bos": "[T_CLS]", "pad": "[PAD]", "eos": "[T_SEP]", "unk": "[UNK]"}


@dataclass(frozen=True)
class TextTokenizerParams:
    """origin: trained here, or the released `file`, of `vocab_size` ids; the rest is of training.
    sources: data sets whose training texts are read; vocab_size: number of ids, special ones
    included, at most 65,536; character_coverage: fraction of the characters that get a piece of
    their own; max_sentences: size of the random sample that is trained on; seed: of that sample."""

    origin: Literal["train", "released"]
    file: str | None
    sources: list[str]
    vocab_size: Width
    character_coverage: ShareAboveZero
    max_sentences: Count
    seed: int


def train_tokenizer(
    folders: Sequence[Path], path: Path, params: TextTokenizerParams, key: str
) -> dict[str, float]:
    """Train on the split `train` of shard folders, write the model to `path` and return metrics.

    `key` is the block of params.yaml that `params` come from, for messages. The model's bytes
    depend on `params` and shards alone: training uses one thread, and sentences and model pass
    through memory, since SentencePiece writes the paths it is given into the model.

    Raises:
        UserError: the texts do not support so many pieces, or need more; a source has none.
    """
    if params.vocab_size > MAX_VOCAB_SIZE:
        raise UserError(
            f"params.yaml: {key}.vocab_size: at most {MAX_VOCAB_SIZE}, found {params.vocab_size}"
        )
    for folder in folders:
        if "train" not in files.read_json(folder / "index.json")["splits"]:
            raise UserError(
                f"params.yaml: {key}.sources: {folder.name} has no training texts, as its origin is "
                f"none or all were rejected; leave {folder.name} out"
            )
    all_texts = chain.from_iterable(map(training_texts, folders))
    texts = sample(all_texts, params.max_sentences, params.seed)
    model = _train(texts, params, key)
    with files.replacing(path) as temporary:
        temporary.write_bytes(model)
    return {
        "vocab_size": params.vocab_size,
        "texts": len(texts),
        **_statistics(TextTokenizer.load(path), texts),
    }


def _statistics(tokenizer: TextTokenizer, texts: Sequence[str]) -> dict[str, float]:
    """Tokens per word between spaces, and the fraction of tokens that are [UNK]."""
    words = tokens = unknown = 0
    for text, ids in zip(texts, tokenizer.bare_ids(texts), strict=True):
        words += len(text.split())
        tokens += len(ids)
        unknown += ids.count(SPECIAL_IDS["[UNK]"])
    return {"tokens_per_word": tokens / max(1, words), "unknown_share": unknown / max(1, tokens)}


def training_texts(folder: Path) -> Iterator[str]:
    """The training sentences of a text source, or captions of an image source."""
    column = "sentences" if files.read_json(folder / "index.json")["kind"] == "text" else "captions"
    for row in parquet.read_rows(folder, "train", [column]):
        yield from row[column]


def sample(texts: Iterable[str], size: int, seed: int) -> list[str]:
    """A uniform sample (reservoir sampling), or all texts in order where there are no more than
    `size`."""
    rng = seeds.generator(seed, "tokenizer sample")
    reservoir: list[str] = []
    for count, text in enumerate(texts):
        if count < size:
            reservoir.append(text)
        elif (index := int(rng.integers(count + 1))) < size:
            reservoir[index] = text
    return reservoir


def _train(texts: Sequence[str], params: TextTokenizerParams, key: str) -> bytes:
    import sentencepiece

    special: dict[str, Any] = {}
    for role, piece in _ROLES.items():
        special |= {f"{role}_piece": piece, f"{role}_id": SPECIAL_IDS[piece]}
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=params.vocab_size,
            character_coverage=params.character_coverage,
            normalization_rule_name="nmt_nfkc",
            num_threads=1,
            control_symbols=["[MASK]"],
            minloglevel=2,
            **special,
        )
    except RuntimeError as error:
        raise UserError(
            f"params.yaml: {key}.vocab_size: {_explain(str(error), params, len(texts))}"
        ) from None
    return model.getvalue()


def _explain(message: str, params: TextTokenizerParams, texts: int) -> str:
    if maximum := re.search(r"value <= (\d+)", message):
        return f"{texts} texts do not give {params.vocab_size} pieces; at most {maximum[1]}"
    if minimum := re.search(r"smaller than required_chars. (?:\d+ vs (\d+))", message):
        return (
            f"{params.vocab_size} is too small for all characters; at least {minimum[1]}, or a "
            "lower coverage"
        )
    return f"SentencePiece: {' '.join(message.split())}"
