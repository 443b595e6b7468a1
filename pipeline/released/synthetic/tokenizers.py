"""Made-up tokenizer files in the form of the released ones."""

import io
import string
from pathlib import Path

from pipeline.data.synthetic.language import lexicon
from pipeline.tokenizers.text.wordpiece import WordPiece

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SIGNS = (*"!,.?'-", *string.digits, *string.ascii_lowercase)
PIECES = 120  # of BEiT-3's


def write(path: Path) -> None:
    """The tokenizer file of this name: BERT's list of pieces, or a SentencePiece model."""
    path.write_bytes(_bert() if path.name == WordPiece.FILE else _sentencepiece())


def _bert() -> bytes:
    pieces = [*SPECIAL, *SIGNS, *(word for word in _words() if word not in SIGNS)]
    pieces += [f"##{sign}" for sign in SIGNS]
    return "".join(f"{piece}\n" for piece in pieces).encode()


def _sentencepiece() -> bytes:
    """Trained on the words of the generated captions. Its first pieces are SentencePiece's usual
    ones, as in BEiT-3's."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(_words()), " ".join(SIGNS)]),
        model_writer=model,
        vocab_size=PIECES,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def _words() -> list[str]:
    """Some of the generated captions."""
    phrases = [*lexicon.SHAPES.values(), *lexicon.COLORS.values(), *lexicon.SIZES.values()]
    return sorted({word for group in phrases for phrase in group for word in phrase.split()})
