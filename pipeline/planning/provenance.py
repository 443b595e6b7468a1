"""Where the numbers of params.yaml come from: the comment on each number's line says it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pipeline.config.params import FILE

PAPER, RELATIVE, CHOICE, RUN, UNSAID = "VL-BEiT", "a relative", "choice", "how it runs", "not said"
# Numbers of no method: where and in what portions work is done, how often one looks, and seeds.
HOW = {
    "seed",
    "lanes",
    "window",
    "num_workers",
    "workers",
    "threads",
    "loader_workers",
    "micro_batches",
    "log_every",
    "evaluate_every",
    "checkpoint_every",
    "patience",
    "evaluation_batch",
    "evaluation_pictures",
    "units",
    "rows_per_group",
    "groups_per_file",
    "rows_per_file",
    "concurrency",
    "timeout",
    "retries",
    "pause",
    "files",
}
ALL_CHOICES = (
    "the choices"  # in a block's comment: of all its values, whatever their own lines say of others
)
# What a comment begins with decides: "choice; VL-BEiT §3.1: 480,000" is a choice.
_NAMES = {
    PAPER: r"VL-BEiT §",
    CHOICE: r"\bchoices?\b",
    RELATIVE: r"(?<!VL-)BEiT(?:v2|-3)?\b|DINO|VLMo|mmsegmentation|UNITER|CLIP|SentencePiece|BERT",
}
_SOURCE = re.compile(
    "|".join(f"(?P<k{place}>{pattern})" for place, pattern in enumerate(_NAMES.values()))
)
_COMMENT = re.compile(r"""^(?:[^"'#]|"[^"]*"|'[^']*'|(?<!\s)#)*\s\#\s*(.*)$""")


@dataclass(frozen=True)
class Number:
    """A number, and who says so."""

    key: str  # dotted, below the scale
    value: str  # as it is written
    source: str  # one of the five above


def numbers(scale: str) -> Iterator[Number]:
    """All numbers of a scale's block, in order. Where a line says nothing, the comment of the
    nearest block above does, unless that block is a whole stage."""
    text = FILE.read_text(encoding="utf-8")
    comments = [found[1] if (found := _COMMENT.match(line)) else "" for line in text.splitlines()]
    root = YAML(typ="safe", pure=True).compose(text)
    block = next(value for key, value in root.value if key.value == scale)
    for key, node in block.value:
        yield from _below(node, key.value, comments, "")


def _below(node: Node, key: str, comments: list[str], above: str) -> Iterator[Number]:
    if isinstance(node, MappingNode):
        for name, child in node.value:
            said = comments[name.start_mark.line]
            heard = source_of(said) != UNSAID and ALL_CHOICES not in above
            yield from _below(child, f"{key}.{name.value}", comments, said if heard else above)
    elif isinstance(node, SequenceNode):
        for child in node.value:
            yield from _below(child, key, comments, above)
    elif isinstance(node, ScalarNode) and node.tag.endswith((":int", ":float")):
        yield Number(key, node.value, RUN if _is_how(key) else source_of(above))


def _is_how(key: str) -> bool:
    """A batch is of the method in training alone."""
    parts = key.split(".")
    return (
        parts[0] in ("plan", "world")
        or parts[-1] in HOW
        or (parts[-1] == "batch" and "order" not in parts)
    )


def source_of(comment: str) -> str:
    """Whom a comment names first."""
    found = _SOURCE.search(comment)
    return UNSAID if found is None else list(_NAMES)[int(found.lastgroup[1:])]
