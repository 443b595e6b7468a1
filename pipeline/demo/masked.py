"""The tab where a pretrained model fills in masked patches and masked words."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from model import checkpoint
from model.pretraining.masked_modeling import MaskedModelingConfig
from pipeline.config import params
from pipeline.data.transforms import images
from pipeline.data.transforms.masking import block_mask, text_mask
from pipeline.demo import examples, inputs, page
from pipeline.demo.answering import Request
from pipeline.demo.models import Models
from pipeline.demo.page import form_of
from pipeline.inference import predictor
from pipeline.inference.masked_modeling_rows import MODEL
from pipeline.inference.predictor import Predictor
from pipeline.pretraining import variants, visualize
from pipeline.pretraining.data import DataFolders
from pipeline.pretraining.samples import MaskParams, SampleBuilder, SampleParams
from pipeline.pretraining.variants import PretrainParams
from pipeline.utils import seeds

TITLE = "Masked"
READS = ("image and text", "image alone", "text alone")
GRAY = 128  # of a masked patch
COLORS = {"masked": "#9ca3af", "right": "#16a34a", "wrong": "#dc2626"}
# of Gradio's component
TEXT = {"color_map": COLORS, "show_inline_category": False, "interactive": False}
Pieces = list[tuple[str, str | None]]  # text, and the name of its color


class Patches(NamedTuple):
    """An image in the three ways that it is shown, uint8 [size, size, 3]."""

    masked: np.ndarray
    predicted: np.ndarray
    true: np.ndarray  # its own visual tokens at the masked patches
    right: int  # predicted visual tokens
    total: int  # masked patches


class Words(NamedTuple):
    """A text in the three ways that it is shown."""

    original: Pieces
    masked: Pieces
    predicted: Pieces
    right: int
    total: int  # masked tokens


class Codebook(NamedTuple):
    """What draws visual tokens."""

    tokenizer: Predictor  # images to visual tokens
    means: np.ndarray  # uint8 [codebook_size, patch, patch, 3], see `visualize.patch_means`


class Filling(NamedTuple):
    """What is masked of an image and of a text."""

    masked_patches: np.ndarray  # bool [patches]
    ids: np.ndarray  # int64 [length], of the text as it is
    masked_tokens: np.ndarray  # bool [length]


def respond(
    models: Models,
    codebook: Callable[[str], Codebook],
    request: Request,
    patch_ratio: float,
    word_ratio: float,
    reads: str,
    draw: int,
) -> tuple[list[Any], str]:
    """Image and text as they are, masked, and with the model's predictions."""
    model = models.load(request.model)
    image = inputs.image(request.images[0]) if reads != READS[2] else None
    text = inputs.text(request.text, "text") if reads != READS[1] else None
    ratios = patch_ratio if image else 0.0, word_ratio if text else 0.0
    filling = mask(model, text or "", *ratios, _masks(request.model).min_block, int(draw))
    words, tokens = predict(model, image, text, filling)
    patches = drawn(model, codebook(request.model), image, filling, tokens) if image else None
    pieces = spelled(model, filling, words) if text else None
    return [*_images(patches), *_texts(pieces)], summary(patches, pieces)


def mask(
    model: Predictor, text: str, patch_ratio: float, word_ratio: float, min_block: int, draw: int
) -> Filling:
    """Blocks of patches and tokens that are masked at these ratios; `draw` is the number of a
    random draw, the same for each half whether the other one is read or not."""
    config, tokenizer = model.model.config.backbone, model.tokenizer
    assert tokenizer is not None, "pretrained models have one"
    patches = np.zeros(config.patches, dtype=bool)
    if count := round(patch_ratio * len(patches)):
        rng = seeds.generator("demo patches", draw)
        patches = block_mask(round(len(patches) ** 0.5), count, min_block, rng)
    ids = tokenizer.encode(text, config.text_length).astype(np.int64)
    tokens = np.zeros(len(ids), dtype=bool)
    if word_ratio:
        special, rng = tokenizer.special, seeds.generator("demo words", draw)
        ordinary = special.ordinary
        _, tokens = text_mask(ids, word_ratio, mask_id=special.mask, ordinary=ordinary, rng=rng)
    return Filling(patches, ids, tokens)


def predict(
    model: Predictor, image: Image.Image | None, text: str | None, filling: Filling
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest ids of masked text tokens, and the likeliest visual tokens of masked patches."""
    assert model.tokenizer is not None, "pretrained models have one"
    if not filling.masked_patches.any() and not filling.masked_tokens.any():
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    ids = np.where(filling.masked_tokens, model.tokenizer.special.mask, filling.ids)
    shown = None if image is None else (image, torch.from_numpy(filling.masked_patches))
    read = None
    if text is not None:
        read = torch.from_numpy(ids), torch.from_numpy(filling.masked_tokens)
    logits = model.call("masked_logits", shown, read)
    words, tokens = (
        np.zeros(0, dtype=np.int64) if one is None else one.argmax(dim=1).cpu().numpy()
        for one in logits
    )
    return words, tokens


def drawn(
    model: Predictor, book: Codebook, image: Image.Image, filling: Filling, tokens: np.ndarray
) -> Patches:
    """The image with its masked patches gray, as predicted, and as its own visual tokens say."""
    size = model.model.config.backbone.image_size
    original, masked = images.square(image, size), filling.masked_patches
    true = book.tokenizer.visual_tokens([image])[0].cpu().numpy()[masked]
    patches = visualize.to_patches(original[None], book.means.shape[1])[0]

    def filled(values: np.ndarray | int) -> np.ndarray:
        copy = patches.copy()
        copy[masked] = values
        return visualize.to_images(copy[None])[0]

    right = int((tokens == true).sum())
    predicted, expected = filled(book.means[tokens]), filled(book.means[true])
    return Patches(filled(GRAY), predicted, expected, right, len(true))


def spelled(model: Predictor, filling: Filling, words: np.ndarray) -> Words:
    """The text with its masked tokens marked, and as predicted."""
    assert model.tokenizer is not None, "pretrained models have one"
    piece = model.tokenizer.piece
    predictions = iter(words.tolist())
    original: Pieces = []
    masked: Pieces = []
    predicted: Pieces = []
    right = 0
    inner = list(zip(filling.ids.tolist(), filling.masked_tokens.tolist(), strict=True))[1:-1]
    for token_id, is_masked in inner:
        true = piece(token_id)
        if not is_masked:
            for pieces in (original, masked, predicted):
                pieces.append((true, None))
            continue
        prediction = next(predictions)
        right += prediction == token_id
        original.append((true, "masked"))
        masked.append((" [MASK]", "masked"))
        predicted.append((piece(prediction), "right" if prediction == token_id else "wrong"))
    return Words(original, masked, predicted, right, int(filling.masked_tokens.sum()))


def summary(patches: Patches | None, words: Words | None) -> str:
    """How much is right, in a sentence."""
    parts = []
    if words is not None:
        parts.append(f"{words.right} of {words.total} masked text tokens are right")
    if patches is not None:
        parts.append(f"{patches.right} of {patches.total} masked patches have their visual token")
    return f"{'; '.join(parts)}."


class Codebooks:
    """The visual tokens of a scale, with what draws them; of the last model that was asked for."""

    def __init__(self, models: Models):
        self.models = models
        self.of_model = lru_cache(maxsize=1)(self._read)

    def _read(self, name: str) -> Codebook:
        scale = self.models.scale
        settings = _params(name)
        folders = DataFolders.of(scale)
        model = self.models.load(name)
        config: MaskedModelingConfig = model.model.config
        assert model.tokenizer is not None, "pretrained models have one"
        backbone = config.backbone
        sample = SampleParams(
            settings.seed,
            backbone.image_size,
            backbone.patch_size,
            backbone.depth,
            settings.dimensions.caption_length,
            settings.masks,
        )
        builder = SampleBuilder(sample, model.tokenizer)
        means = visualize.patch_means(folders, settings.data, builder, config.codebook_size)
        tokenizer = predictor.load(folders.visual_tokenizer, device=self.models.device)
        return Codebook(tokenizer, means)


def _params(name: str) -> PretrainParams:
    """Of a model such as `pretrain/main`."""
    return variants.load_params(params.read(), name.partition("/")[2])


def _masks(name: str) -> MaskParams:
    """How much is masked in its pretraining."""
    return _params(name).masks


def _images(patches: Patches | None) -> list[Any]:
    """For the page's three images."""
    return [None] * 3 if patches is None else [inputs.shown(one) for one in patches[:3]]


def _texts(words: Words | None) -> list[Any]:
    """For the page's three texts."""
    return [None] * 3 if words is None else list(words[:3])


def build(models: Models, opening: Sequence[Callable[..., Any]]) -> None:
    """The tab."""
    import gradio as gr

    form = form_of(models, MODEL, examples.captioned, "masked modeling", "pretrain/main")
    if form is None:
        return
    with gr.Row():
        with gr.Column(min_width=page.WIDTH):
            form.add_image("Image")
        outputs = [page.image(label) for label in ("Masked", "Predicted", "True visual tokens")]
    with gr.Row():
        with gr.Column(scale=1):
            form.add_text("Text")
            form.add_button("Fill in")
            controls = _controls(models, form.names[0])
        with gr.Column(scale=2):
            for label in ("The text, its masked words marked", "Masked", "Predicted"):
                outputs.append(page.output(label, "HighlightedText", **TEXT))
            form.add_note()
    form.add_examples("Validation pairs of pretraining")
    form.connect(opening, partial(respond, models, Codebooks(models).of_model), outputs, controls)


def _controls(models: Models, name: str) -> list[Any]:
    """How much is masked, at first as in pretraining, and what the model reads."""
    import gradio as gr

    masks = _masks(name)
    backbone = checkpoint.read_backbone_config(models.folders[name] / checkpoint.CONFIG)
    share = round(masks.num_masked_patches / backbone.patches, 2)
    return [
        gr.Slider(0, 0.9, share, step=0.01, label="Share of patches masked"),
        gr.Slider(0, 0.9, masks.caption_mask_ratio, step=0.01, label="Share of words masked"),
        gr.Radio(list(READS), value=READS[0], label="The model reads"),
        gr.Slider(1, 20, 1, step=1, label="Random draw"),
    ]
