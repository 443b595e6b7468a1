"""Where the numbers of params.yaml come from: the comment on each number's line says it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

PAPER, RELATIVE, CHOICE, RUN, UNSTATED = (
    "VL-BEiT",
    "a relative",
    "choice",
    "how it runs",
    "unstated",
)
# Numbers of no method: where and in what portions work is done, how often one looks, and seeds.
HOW = {
    "seed",
    "streams",
    "shuffle_block",
    "num_workers",
    "workers",
    "threads",
    "loader_workers",
    "gradient_accumulation",
    "log_every",
    "evaluate_every",
    "checkpoint_every",
    "max_nonfinite_steps",
    "evaluation_batch",
    "evaluation_images",
    "samples",
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
    CHOICE: r"\b[Cc]hoices?\b",
    RELATIVE: r"(?<!VL-)BEiT(?:v2|-3)?\b|DINO|VLMo|mmsegmentation|UNITER|CLIP|SentencePiece|BERT",
}
_SOURCE = re.compile(
    "|".join(f"(?P<k{place}>{pattern})" for place, pattern in enumerate(_NAMES.values()))
)
_COMMENT = re.compile(r"""^(?:[^"'#]|"[^"]*"|'[^']*'|(?<!\s)#)*\s\#\s*(.*)$""")


@dataclass(frozen=True)
class Number:
    """A number, and who says so."""

    key: str  # dotted
    value: str  # as it is written
    source: str  # one of the five above


def numbers(file: Path) -> Iterator[Number]:
    """All numbers of a file of parameters, in order.

    The comment on a number's line says whose it is, or the comment lines right above; where these
    say nothing, those of the nearest block above do; a whole stage's only if it is a choice.
    """
    text = file.read_text(encoding="utf-8")
    comments = _comments(text.splitlines())
    root = YAML(typ="safe", pure=True).compose(text)
    for key, node in root.value:
        comment = comments[key.start_mark.line]
        whole = comment if source_of(comment) == CHOICE else ""
        yield from _below(node, key.value, comments, whole)


def _comments(lines: list[str]) -> list[str]:
    """For each line its comment, or the comment lines right above it."""
    comments, above = [], ""
    for line in lines:
        inline = _COMMENT.match(line)
        if line.lstrip().startswith("#"):
            above = f"{above} {line.strip(' #')}"
            comments.append("")
        else:
            comments.append(inline[1] if inline else above)
            above = ""
    return comments


def _below(node: Node, key: str, comments: list[str], above: str) -> Iterator[Number]:
    if isinstance(node, MappingNode):
        for name, child in node.value:
            comment = comments[name.start_mark.line]
            decides = source_of(comment) != UNSTATED and ALL_CHOICES not in above
            yield from _below(child, f"{key}.{name.value}", comments, comment if decides else above)
    elif isinstance(node, SequenceNode):
        for child in node.value:
            yield from _below(child, key, comments, above)
    elif isinstance(node, ScalarNode) and str(node.tag).endswith((":int", ":float")):
        yield Number(key, node.value, RUN if _is_how(key) else source_of(above))


def _is_how(key: str) -> bool:
    """A batch is of the method in training alone."""
    parts = key.split(".")
    return parts[0] in ("plan", "synthetic") or parts[-1] in HOW or parts[-1] == "batch"


def source_of(comment: str) -> str:
    """Whom a comment names first."""
    match = _SOURCE.search(comment)
    if match is None or match.lastgroup is None:
        return UNSTATED
    return list(_NAMES)[int(match.lastgroup.removeprefix("k"))]
