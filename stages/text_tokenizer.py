"""The tokenizer of this scale's own pretraining, a SentencePiece model trained on shards or a released
file: `python -m stages.text_tokenizer`."""

from dataclasses import asdict
from pathlib import Path

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.tokenizers import text
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams, train_tokenizer
from pipeline.tokenizers.text import TextTokenizer
from pipeline.tokenizers.text.own_pieces import OwnPieces
from pipeline.tracking import client as tracking
from pipeline.utils import files
from pipeline.utils.entry_point import entry


def main() -> None:
    """Write `data/SCALE/text_tokenizer`: the tokenizer file, and `metrics.json`."""
    settings = params.load(TextTokenizerParams, "text_tokenizer")
    data = Path("data", params.scale())
    out = files.fresh_directory(data / "text_tokenizer")
    with tracking.run("text tokenizer", stage="text_tokenizer", params=asdict(settings)) as run:
        if settings.origin == "released":
            facts = _take_released(settings, out)
        else:
            shards = [data / "shards" / source for source in settings.sources]
            facts = train_tokenizer(shards, out / OwnPieces.FILE, settings, "text_tokenizer")
            for folder in shards:
                run.dataset(folder, folder.name, "training")
        files.write_json(out / "metrics.json", facts)
        run.metrics(facts)
        run.made(text.of_scale(params.scale()), "text_tokenizer")


def _take_released(settings: TextTokenizerParams, out: Path) -> dict[str, float]:
    """Copy the released file. Raises UserError where it is none, or has another number of ids."""
    if settings.file is None:
        raise UserError("params.yaml: text_tokenizer.file: missing; released needs a file")
    path = Path(settings.file)
    vocab_size = TextTokenizer.load(path).vocab_size
    if vocab_size != settings.vocab_size:
        raise UserError(
            f"params.yaml: text_tokenizer.vocab_size: {settings.vocab_size:,}, but {path} has "
            f"{vocab_size:,} ids"
        )
    text.put_into(out, path)
    return {"vocab_size": vocab_size}


if __name__ == "__main__":
    entry(main)
