"""Pack the documents of a text source into token sequences: `python -m stages.text_tokens
SOURCE`."""

from dataclasses import asdict
from pathlib import Path

from pipeline.config import params
from pipeline.data import datasets
from pipeline.tokenizers import packing, text
from pipeline.tokenizers.text import TextTokenizer
from pipeline.tracking import client as tracking
from pipeline.utils.entry_point import entry


def main(source: str) -> None:
    settings = params.load(packing.TextTokensParams, "text_tokens")
    data = Path("data", params.scale())
    documents, folder = data / "shards" / source, data / "text_tokens" / source
    tokenizer = TextTokenizer.load(text.of_scale(params.scale()))
    with tracking.run(f"text tokens {source}", stage="text_tokens", params=asdict(settings)) as run:
        run.dataset(documents, source, "training")
        run.metrics(packing.tokenize(documents, tokenizer, folder, settings))


def _names() -> list[str]:
    """The data sets of texts."""
    return [name for name in datasets.names() if datasets.load(name).KIND == "text"]


if __name__ == "__main__":
    entry(main, _names)
