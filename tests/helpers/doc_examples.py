"""The Python examples of the documentation, and the text tokenizer of the models that they need."""

import re
from pathlib import Path
from typing import Any

from pipeline.data.shards import parquet, schema
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams, train_tokenizer
from pipeline.tokenizers.text import TextTokenizer
from tests.helpers.tiny import ROOT

WORDS = ("A red star above a blue ring.", "A small moon on a beach.", "Two green hearts at night.")


def examples(page: str) -> dict[str, str]:
    """Code of a page by the heading that it stands under; numbered where there are several."""
    text = (ROOT / page).read_text(encoding="utf-8")
    examples = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        blocks = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        for number, code in enumerate(blocks, 1):
            examples[f"{heading} {number}" if number > 1 else heading] = code
    return examples


def run_example(page: str, heading: str) -> dict[str, Any]:
    """Runs one example in the current folder. Returns the variables that it leaves."""
    variables: dict[str, Any] = {}
    code = compile(examples(page)[heading], f"{page}: {heading}", "exec")
    exec(code, variables)  # noqa: S102  (the documentation's own code)
    return variables


def write_tokenizer(folder: Path) -> int:
    """`spm.model` in a folder; returns the number of its ids."""
    texts = [{"key": "0", "sentences": list(WORDS)}]
    written = parquet.write(
        folder / "texts", "train", texts, schema.TEXT_SHARD, rows_per_group=4, groups_per_file=9
    )
    parquet.write_index(folder / "texts", {"train": written}, kind="text")
    params = TextTokenizerParams("train", None, ["texts"], 34, 1.0, 1000, 1)
    train_tokenizer([folder / "texts"], folder / "spm.model", params, "text_tokenizer")
    return TextTokenizer.load(folder / "spm.model").vocab_size
