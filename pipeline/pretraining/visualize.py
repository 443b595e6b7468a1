"""What a pretrained model predicts at masked positions, as an image (VL-BEiT §2.3).

A visual token has no pixels of its own: each is drawn as the mean of the training patches that it
stands for.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from model.pretraining.batches import ImageBatch, PairBatch, TextBatch
from model.pretraining.masked_modeling import MaskedModeling
from pipeline.data.loading.row_reader import ImageReader
from pipeline.pretraining.data import (
    DataFolders,
    DataParams,
    first_samples,
    normalize_stream,
    open_stream,
    open_validation,
)
from pipeline.pretraining.pair_halves import as_trained
from pipeline.pretraining.samples import VALIDATION, SampleBuilder
from pipeline.tokenizers.text import TextTokenizer
from pipeline.training.step import to_device
from pipeline.utils import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXAMPLES = 3  # images alone, and as many pairs
MEAN_IMAGES = 512  # training images that the means are taken from
_GRAY = 128
_CAPTION_WIDTH, _CAPTION_LINES = 60, 4  # characters of a line, lines
_HEADINGS = ("masked", "predicted", "true tokens", "original")


def draw(
    model: MaskedModeling,
    folders: DataFolders,
    data: DataParams,
    builder: SampleBuilder,
    sources: Mapping[str, Sequence[str]],
    path: Path,
) -> None:
    """Draw validation images alone (MIM), then pairs (MVLM).

    Args:
        sources: names of sources by stream, "images" and "pairs".
    """
    from matplotlib.figure import Figure

    means = patch_means(folders, data, builder, model.config.codebook_size)
    figure = Figure(figsize=(7.2, 2.0 * 2 * EXAMPLES), dpi=80, layout="constrained")
    lines = figure.subplots(2 * EXAMPLES, len(_HEADINGS), squeeze=False)
    for axes in lines.flat:
        axes.axis("off")
    for stream, part in (("images", lines[:EXAMPLES]), ("pairs", lines[EXAMPLES:])):
        reader = open_validation(folders, stream, data, sources[stream])
        if not (indices := first_samples(reader, EXAMPLES)):
            continue
        batch = builder.batch(stream, reader, indices, VALIDATION)
        assert not isinstance(batch, TextBatch)
        cells, captions = _examples(model, batch, means, builder.tokenizer)
        for axes, cell_line, caption in zip(part, cells, captions, strict=False):
            _draw_line(axes, cell_line, caption)
    for axes, heading in zip(lines[0], _HEADINGS, strict=True):
        axes.set_title(f"{heading}\n{axes.get_title()}", size=9)
    figures.save(figure, path)


def patch_means(
    folders: DataFolders, data: DataParams, builder: SampleBuilder, codebook_size: int
) -> np.ndarray:
    """The mean training patch of every visual token: uint8 [codebook_size, patch, patch, 3], gray
    where a token does not occur."""
    reader = open_stream(folders, "images", data.images, "train")
    assert isinstance(reader, ImageReader)
    patch = builder.params.patch_size
    total, count = np.zeros((codebook_size, patch, patch, 3)), np.zeros(codebook_size)
    for index in first_samples(reader, MEAN_IMAGES):
        row, _ = reader.get(index.group, index.offset)
        assert row.tokens is not None, "stored views have tokens"
        token_ids = row.tokens[0].astype(np.int64)
        pixels = builder.stored_view(row, 0)
        np.add.at(total, token_ids, to_patches(pixels[None], patch)[0])
        np.add.at(count, token_ids, 1)
    means = np.full(total.shape, float(_GRAY))
    occurring = count > 0
    means[occurring] = total[occurring] / count[occurring, None, None, None]
    return means.round().astype(np.uint8)


def to_patches(pixels: np.ndarray, size: int) -> np.ndarray:
    """[n, height, width, 3] to [n, patches, size, size, 3], row by row."""
    n, height, width, _ = pixels.shape
    grid = pixels.reshape(n, height // size, size, width // size, size, 3).swapaxes(2, 3)
    return grid.reshape(n, -1, size, size, 3)


def to_images(patches: np.ndarray) -> np.ndarray:
    """The inverse of `to_patches` for square images."""
    n, count, size = patches.shape[:3]
    side = round(count**0.5)
    grid = patches.reshape(n, side, side, size, size, 3).swapaxes(2, 3)
    return grid.reshape(n, side * size, side * size, 3)


def _examples(
    model: MaskedModeling,
    batch: ImageBatch | PairBatch,
    means: np.ndarray,
    tokenizer: TextTokenizer,
) -> tuple[np.ndarray, list[str]]:
    """Cells [n, 4, size, size, 3] and a caption for each example of a batch."""
    tokens, words = _predict(model, batch)
    if isinstance(batch, ImageBatch):
        return _cells(batch, tokens, means), ["image alone"] * EXAMPLES
    assert words is not None, "pairs have texts"
    return _cells(batch.image, tokens, means), _captions(batch.text, words, tokenizer)


@torch.inference_mode()
def _predict(model: MaskedModeling, batch: ImageBatch | PairBatch) -> tuple[Tensor, Tensor | None]:
    """The likeliest visual tokens of the masked patches and, for pairs, the likeliest ids of the
    masked text tokens."""
    device = next(model.parameters()).device
    batch = to_device(normalize_stream(batch), device)
    if isinstance(batch, ImageBatch):
        return model.mim(batch).argmax(dim=1).cpu(), None
    words, tokens = as_trained(model, batch)
    return tokens.argmax(dim=1).cpu(), words.argmax(dim=1).cpu()


def _cells(image: ImageBatch, predicted: Tensor, means: np.ndarray) -> np.ndarray:
    """uint8 [n, 4, size, size, 3]: the images under the four headings."""
    assert image.targets is not None, "stored views have tokens"
    original, positions = image.pixels.numpy(), image.masked_positions.numpy()
    patches = to_patches(original, means.shape[1])

    def filled(values: np.ndarray | int) -> np.ndarray:
        copy = patches.copy()
        copy.reshape(-1, *patches.shape[2:])[positions] = values
        return to_images(copy)

    predicted_patches, true_patches = means[predicted.numpy()], means[image.targets.numpy()]
    cells = [filled(_GRAY), filled(predicted_patches), filled(true_patches), original]
    return np.stack(cells, axis=1)


def _captions(text: TextBatch, words: Tensor, tokenizer: TextTokenizer) -> list[str]:
    """Captions with the prediction for each masked token in brackets, and the truth after it where
    it differs."""
    predictions = zip(words.tolist(), text.targets.tolist(), strict=True)
    by_position = dict(zip(text.masked_positions.tolist(), predictions, strict=True))
    num_texts, padded_length = text.ids.shape
    ids = text.ids.flatten().tolist()
    lengths = [padded_length] * num_texts
    if text.mask is not None:
        lengths = text.mask.sum(dim=1).tolist()
    captions = []
    for row, length in enumerate(lengths):
        start = row * padded_length
        pieces = []
        for position in range(start + 1, start + length - 1):  # without [T_CLS], [T_SEP]
            pieces.append(_piece(tokenizer, ids[position], by_position.get(position)))
        captions.append("".join(pieces).strip())
    return captions


def _piece(tokenizer: TextTokenizer, token: int, prediction: tuple[int, int] | None) -> str:
    """The text of a token, or of (prediction, truth) where it was masked."""
    if prediction is None:
        return tokenizer.piece(token)
    predicted, true = (tokenizer.piece(token_id) for token_id in prediction)
    space = " " if true.startswith(" ") else ""
    if predicted == true:
        return f"{space}[{predicted.strip()}]"
    return f"{space}[{predicted.strip()}, not {true.strip()}]"


def _draw_line(axes: Sequence["Axes"], cells: np.ndarray, caption: str) -> None:
    for axis, cell in zip(axes, cells, strict=True):
        axis.imshow(cell)
    axes[0].set_title(figures.label(caption, _CAPTION_WIDTH, _CAPTION_LINES), size=8, loc="left")
