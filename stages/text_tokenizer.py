"""Train the SentencePiece model on shards: `python -m stages.text_tokenizer`."""

from dataclasses import asdict
from pathlib import Path

from pipeline.config import params
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams, train_tokenizer
from pipeline.tracking import client as tracking
from pipeline.utils import files
from pipeline.utils.entry_point import entry


def main() -> None:
    settings = params.load(TextTokenizerParams, "text_tokenizer")
    data = Path("data", params.scale())
    out = data / "text_tokenizer"
    shards = [data / "shards" / source for source in settings.sources]
    with tracking.run("text tokenizer", stage="text_tokenizer", params=asdict(settings)) as run:
        facts = train_tokenizer(shards, out / "spm.model", settings, "text_tokenizer")
        files.write_json(out / "metrics.json", facts)
        run.metrics(facts)
        for folder in shards:
            run.dataset(folder, folder.name, "training")


if __name__ == "__main__":
    entry(main)
