"""Training the SentencePiece model on the sentences and captions of shards."""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.shards import parquet
from pipeline.errors import UserError
from pipeline.tokenizers.text import SPECIAL_IDS, TextTokenizer
from pipeline.utils import files, seeds

_ROLES = {"bos": "[T_CLS]", "pad": "[PAD]", "eos": "[T_SEP]", "unk": "[UNK]"}
_MOST = 1 << 16  # ids are stored as uint16


@dataclass(frozen=True)
class TextTokenizerParams:
    """sources: whose training texts are read; vocab_size: ids, special ones included, reached
    exactly, at most 65,536; character_coverage: share of the characters that get a piece of their
    own; max_sentences: a random sample of this size is trained on; seed: of that sample."""

    sources: list[str]
    vocab_size: int
    character_coverage: float
    max_sentences: int
    seed: int


def train_tokenizer(
    folders: Sequence[Path], path: Path, params: TextTokenizerParams, key: str
) -> dict[str, float]:
    """Train on the split `train` of shard folders, write the model to `path` and return what
    describes it.

    `key` is where the params stand, for messages. The bytes depend on params and shards alone: one
    thread, and sentences and model pass through memory, since SentencePiece writes the paths it is
    given into the model.

    Raises:
        UserError: the texts do not support so many pieces, or need more.
    """
    if params.vocab_size > _MOST:
        raise UserError(
            f"params.yaml: {key}.vocab_size: at most {_MOST}, found {params.vocab_size}"
        )
    texts = sample(
        (text for folder in folders for text in training_texts(folder)),
        params.max_sentences,
        params.seed,
    )
    model = _train(texts, params, key)
    with files.replacing(path) as temporary:
        temporary.write_bytes(model)
    ids = TextTokenizer.load(path).words(texts)
    tokens = sum(map(len, ids))
    return {
        "vocab_size": params.vocab_size,
        "texts": len(texts),
        "tokens_per_word": tokens / max(1, sum(len(text.split()) for text in texts)),
        "unknown_share": sum(row.count(SPECIAL_IDS["[UNK]"]) for row in ids) / max(1, tokens),
    }


def training_texts(folder: Path) -> Iterator[str]:
    """The training sentences of a text source, or captions of an image source."""
    column = "sentences" if files.read_json(folder / "index.json")["kind"] == "text" else "captions"
    for row in parquet.read_rows(folder, "train", [column]):
        yield from row[column]


def sample(texts: Iterable[str], size: int, seed: int) -> list[str]:
    """A uniform sample (reservoir sampling), or all texts in order where there are no more than
    `size`."""
    rng = seeds.generator(seed, "tokenizer sample")
    kept: list[str] = []
    for number, text in enumerate(texts):
        if number < size:
            kept.append(text)
        elif (place := int(rng.integers(number + 1))) < size:
            kept[place] = text
    return kept


def _train(texts: Sequence[str], params: TextTokenizerParams, key: str) -> bytes:
    import sentencepiece

    pieces = {f"{role}_piece": piece for role, piece in _ROLES.items()}
    numbers = {f"{role}_id": SPECIAL_IDS[piece] for role, piece in _ROLES.items()}
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
            **pieces,
            **numbers,
        )
    except RuntimeError as error:
        raise UserError(
            f"params.yaml: {key}.vocab_size: {_explain(str(error), params, len(texts))}"
        ) from None
    return model.getvalue()


def _explain(message: str, params: TextTokenizerParams, texts: int) -> str:
    if most := re.search(r"value <= (\d+)", message):
        return f"{texts} texts do not give {params.vocab_size} pieces; at most {most[1]}"
    if least := re.search(r"smaller than required_chars. (?:\d+ vs (\d+))", message):
        return f"{params.vocab_size} is too small for all characters; at least {least[1]}, or a lower coverage"
    return f"SentencePiece: {' '.join(message.split())}"
