"""What a pretrained model puts into hidden places, as a picture (VL-BEiT §2.3).

A visual token has no pixels of its own: each is drawn as the mean of the training patches that it
stands for.
"""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from model.pretraining.batches import ImageBatch, PairBatch, TextBatch
from model.pretraining.masked_modeling import MaskedModeling
from pipeline.pretraining.data import (
    DataFolders,
    DataParams,
    Sampler,
    StreamParams,
    held_out,
    open_rows,
    prepared,
)
from pipeline.tokenizers.text import TextTokenizer
from pipeline.training.step import to_device

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXAMPLES = 3  # pictures alone, and as many pairs
TRAINING = 512  # pictures that the means are taken from
_GREY = 128
_LINE = 60  # characters of a caption's line
_HEADINGS = ("hidden", "predicted", "true tokens", "original")


def draw(
    model: MaskedModeling,
    folders: DataFolders,
    streams: DataParams,
    sampler: Sampler,
    sources: dict[str, Sequence[str]],
    path: Path,
) -> None:
    """Pictures alone (MIM), then pairs (MVLM), all held out; `sources` are those of "images" and of
    "pairs"."""
    from matplotlib.figure import Figure

    means = patch_means(folders, streams.images, sampler, model.config.codebook_size)
    figure = Figure(figsize=(7.2, 2.0 * 2 * EXAMPLES), dpi=80, layout="constrained")
    lines = figure.subplots(2 * EXAMPLES, len(_HEADINGS), squeeze=False)
    for axes in lines.flat:
        axes.axis("off")
    for name, part in (("images", lines[:EXAMPLES]), ("pairs", lines[EXAMPLES:])):
        stream = StreamParams(dict.fromkeys(sources[name], 1), getattr(streams, name).order)
        rows = open_rows(folders, name, stream, "val")
        batch = sampler.batch(name, rows, held_out(rows, EXAMPLES), "held-out")
        assert not isinstance(batch, TextBatch)
        codes, words = _predict(model, batch)
        if isinstance(batch, PairBatch):
            assert words is not None
            image, captions = batch.image, _captions(batch.text, words, sampler.tokenizer)
        else:
            image, captions = batch, ["picture alone"] * EXAMPLES
        for axes, cells, caption in zip(part, _cells(image, codes, means), captions, strict=False):
            _line(axes, cells, caption)
    for axes, heading in zip(lines[0], _HEADINGS, strict=True):
        axes.set_title(f"{heading}\n{axes.get_title()}", size=9)
    figure.savefig(path, metadata={"Software": None})


def patch_means(
    folders: DataFolders, stream: StreamParams, sampler: Sampler, codes: int
) -> np.ndarray:
    """The mean training patch of every code: uint8 [codes, patch, patch, 3], grey where a code was
    not met."""
    rows = open_rows(folders, "images", stream, "train")
    units = held_out(rows, TRAINING)
    patch = sampler.params.patch_size
    total, count = np.zeros((codes, patch, patch, 3)), np.zeros(codes)
    for index in units:
        picture, _ = rows.get(index.group, index.offset)
        pixels = sampler.shown(picture, 0)
        ids = picture.tokens[0].astype(np.int64)
        np.add.at(total, ids, patches(pixels[None], patch)[0])
        np.add.at(count, ids, 1)
    means = np.full(total.shape, float(_GREY))
    met = count > 0
    means[met] = total[met] / count[met, None, None, None]
    return means.round().astype(np.uint8)


def patches(pixels: np.ndarray, size: int) -> np.ndarray:
    """[n, height, width, 3] to [n, patches, size, size, 3], row by row."""
    n, height, width, _ = pixels.shape
    grid = pixels.reshape(n, height // size, size, width // size, size, 3).swapaxes(2, 3)
    return grid.reshape(n, -1, size, size, 3)


def pictures(parts: np.ndarray) -> np.ndarray:
    """The inverse of `patches` for square pictures."""
    n, count, size = parts.shape[:3]
    side = round(count**0.5)
    grid = parts.reshape(n, side, side, size, size, 3).swapaxes(2, 3)
    return grid.reshape(n, side * size, side * size, 3)


@torch.inference_mode()
def _predict(model: MaskedModeling, batch: ImageBatch | PairBatch) -> tuple[Tensor, Tensor | None]:
    """The likeliest visual tokens of the masked patches and, of pairs, the likeliest ids of the
    masked tokens."""
    device = next(model.parameters()).device
    batch = to_device(prepared(batch), device)
    if isinstance(batch, ImageBatch):
        return model.mim(batch).argmax(dim=1).cpu(), None
    words, codes = model.mvlm(batch.text, batch.image)
    return codes.argmax(dim=1).cpu(), words.argmax(dim=1).cpu()


def _cells(image: ImageBatch, codes: Tensor, means: np.ndarray) -> np.ndarray:
    """uint8 [n, 4, size, size, 3] under the four headings."""
    original, positions = image.pixels.numpy(), image.masked_positions.numpy()
    parts = patches(original, means.shape[1])

    def filled(with_: np.ndarray | int) -> np.ndarray:
        copy = parts.copy()
        copy.reshape(-1, *parts.shape[2:])[positions] = with_
        return pictures(copy)

    return np.stack(
        [
            filled(_GREY),
            filled(means[codes.numpy()]),
            filled(means[image.targets.numpy()]),
            original,
        ],
        axis=1,
    )


def _captions(text: TextBatch, words: Tensor, tokenizer: TextTokenizer) -> list[str]:
    """Captions with what was predicted for hidden tokens in brackets, and the truth behind it where
    it differs."""
    ids, length = text.ids.flatten(), text.ids.shape[1]
    said: dict[int, tuple[int, int]] = {
        place: (word, target)
        for place, word, target in zip(
            text.masked_positions.tolist(), words.tolist(), text.targets.tolist(), strict=True
        )
    }
    lengths = [length] * len(text.ids) if text.mask is None else text.mask.sum(dim=1).tolist()
    captions = []
    for start, own in zip(range(0, len(ids), length), lengths, strict=True):
        kept = range(start + 1, start + own - 1)  # without [T_CLS], [T_SEP]
        captions.append(
            "".join(_piece(tokenizer, int(ids[place]), said.get(place)) for place in kept).strip()
        )
    return captions


def _piece(tokenizer: TextTokenizer, token: int, said: tuple[int, int] | None) -> str:
    if said is None:
        return tokenizer.piece(token)
    word, target = (tokenizer.piece(number) for number in said)
    space = " " if target.startswith(" ") else ""
    return (
        f"{space}[{word.strip()}]"
        if word == target
        else f"{space}[{word.strip()}, not {target.strip()}]"
    )


def _line(axes: Sequence["Axes"], cells: np.ndarray, caption: str) -> None:
    for place, cell in zip(axes, cells, strict=True):
        place.imshow(cell)
    axes[0].set_title(fill(caption, _LINE), size=8, loc="left")
