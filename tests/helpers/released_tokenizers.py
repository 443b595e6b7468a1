"""Small tokenizer files in the layout of released ones: BERT's list of pieces, BEiT-3's model."""

import io
import random
from pathlib import Path

import sentencepiece

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
UNUSED = 994  # entries of bert-base-uncased that stand for nothing; 99 of them before [UNK]
CAPTION = "A man in a red shirt rides a horse along the beach, while two dogs watch."


def bert_pieces(words: str) -> list[str]:
    """Special and unused pieces where bert-base-uncased has them, then letters, then words."""
    unused = [f"[unused{number}]" for number in range(UNUSED)]
    letters = list("!,.?'-0123456789abcdefghijklmnopqrstuvwxyz")
    longer = sorted(set(words.split()) - set(letters))
    continued = [f"##{piece}" for piece in (*letters, "ing")]
    return ["[PAD]", *unused[:99], *SPECIAL[1:], *unused[99:], *letters, *longer, *continued]


def write_bert(folder: Path, words: str = "man men red shirt riding horse the beach") -> Path:
    """`vocab.txt` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in bert_pieces(words)), encoding="utf-8")
    return path


def write_beit3(folder: Path, pieces: int = 60) -> Path:
    """`beit3.spm` in a folder: `<unk>`, `<s>`, `</s>`, then others, `pieces` in all."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghiklmnoprstw", k=rng.randint(2, 7))) for _ in range(80)]
    texts = [" ".join(rng.choices(words, k=9)) for _ in range(200)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([CAPTION] * 5 + texts),
        model_writer=model,
        vocab_size=pieces,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "beit3.spm"
    path.write_bytes(model.getvalue())
    return path
