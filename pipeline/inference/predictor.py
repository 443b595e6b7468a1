"""Saved models in use: pictures and texts in; vectors, similarities, answers and classes out.

    model = predictor.load("exports/small/vqa")
    model.answers(Image.open("picture.jpg"), "What is above the star?")

Needs torch, timm, safetensors, sentencepiece and a PIL, and none of the pipeline's other packages.
Each call is one batch: hand in as many pictures as fit into memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from model import checkpoint
from model.heads.classification import Classification
from model.heads.nlvr2 import NLVR2
from model.heads.retrieval import Retrieval
from model.heads.segmentation import Segmentation
from model.heads.vqa import VQA
from model.pretraining.masked_modeling import MaskedModeling
from model.tokenizer.vqkd import VisualTokenizer
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.tasks.image_text_inputs import pad
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import files

Model = TypeVar("Model", bound=nn.Module)
Ranked = list[tuple[str, float]]  # the best first, each with its probability in 0..1


@dataclass(frozen=True)
class Loaded:
    """A model with what it needs to be asked. What its class cannot tell ends in a UserError."""

    model: nn.Module
    tokenizer: TextTokenizer | None
    classes: tuple[str, ...]  # names, where there are any

    @torch.no_grad()
    def image_features(self, pictures: Sequence[Image.Image]) -> Tensor:
        """[pictures, width] fp32: unit vectors of a retrieval model, [I_CLS] of a pretrained
        one."""
        model = self._be("image_features", MaskedModeling, Retrieval)
        pixels = self._pixels(pictures)
        return (
            model.encode_image(pixels)
            if isinstance(model, Retrieval)
            else model.backbone.cls(pixels)
        )

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """[texts, width] fp32: unit vectors of a retrieval model, [T_CLS] of a pretrained one."""
        model = self._be("text_features", MaskedModeling, Retrieval)
        ids, mask = self._ids(texts)
        if isinstance(model, Retrieval):
            return model.encode_text(ids, mask)
        return model.backbone.cls(text=ids, text_mask=mask)

    def similarity(self, pictures: Sequence[Image.Image], captions: Sequence[str]) -> Tensor:
        """Cosines of each picture with each caption, [pictures, captions]."""
        self._be("similarity", Retrieval)
        return self.image_features(pictures) @ self.text_features(captions).T

    @torch.no_grad()
    def match(self, pictures: Sequence[Image.Image], captions: Sequence[str]) -> Tensor:
        """How probable it is that each picture and the caption beside it belong together, [pairs]
        in 0..1. The fusion encoder reads both at once: slower than `similarity`, and more exact."""
        model = self._be("match", Retrieval)
        return model.match_logits(self._pixels(pictures), *self._ids(captions)).softmax(dim=1)[:, 1]

    @torch.no_grad()
    def answers(self, picture: Image.Image, question: str, best: int = 3) -> Ranked:
        """The best answers to a question about a picture."""
        model = self._be("answers", VQA)
        return _ranked(
            model(self._pixels([picture]), *self._ids([question])).sigmoid()[0],
            model.config.answers,
            best,
        )

    @torch.no_grad()
    def truth(self, left: Image.Image, right: Image.Image, statement: str) -> float:
        """How probable it is that a statement is true of two pictures, in 0..1."""
        model = self._be("truth", NLVR2)
        return model.truth(self._pixels([left, right])[None], *self._ids([statement])).item()

    @torch.no_grad()
    def classify(self, picture: Image.Image, best: int = 5) -> Ranked:
        """The most probable classes; numbers from 0 where they have no names."""
        model = self._be("classify", Classification)
        names = self.classes or [str(number) for number in range(model.config.classes)]
        return _ranked(model(self._pixels([picture]))[0].softmax(dim=0), names, best)

    @torch.no_grad()
    def segment(self, picture: Image.Image) -> Tensor:
        """The class of each pixel, from 1, int64 [size, size], of the picture as the model sees it:
        a square."""
        return (
            self._be("segment", Segmentation).logits(self._pixels([picture]))[0].argmax(dim=0) + 1
        )

    def visual_tokens(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Codes of the patches, int64 [pictures, patches], row by row."""
        return self._be("visual_tokens", VisualTokenizer).token_ids(self._pixels(pictures))

    def _be(self, what: str, *classes: type[Model]) -> Model:
        if not isinstance(self.model, classes):
            able = " or ".join(cls.__name__ for cls in classes)
            raise UserError(f"{what}: this model is a {type(self.model).__name__}; load a {able}")
        return self.model

    def _pixels(self, pictures: Sequence[Image.Image]) -> Tensor:
        config = self.model.config
        size = getattr(config, "backbone", config).image_size
        squares = np.stack([images.square(picture.convert("RGB"), size) for picture in pictures])
        return images.normalize(torch.from_numpy(squares).to(self._device))

    def _ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        if self.tokenizer is None:
            raise UserError(
                "this model was loaded without the SentencePiece model that its texts are read with"
            )
        ids, mask = pad(
            [self.tokenizer.encode(text, self.model.config.backbone.text_length) for text in texts]
        )
        return ids.to(self._device), mask.to(self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def load(folder: str | Path, text_tokenizer: Path | None = None, device: str = "cpu") -> Loaded:
    """An exported model, or any model folder with the tokenizer file that belongs to it.

    Raises:
        UserError: the folder, or the tokenizer, is none.
    """
    folder = Path(folder)
    try:
        model = checkpoint.load(folder)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; name the folder of a model") from None
    except ValueError as error:
        raise UserError(str(error)) from None
    words, names = text_tokenizer or folder / "spm.model", folder / "classes.json"
    return Loaded(
        model.to(device),
        TextTokenizer.load(words) if text_tokenizer or words.exists() else None,
        tuple(files.read_json(names)) if names.exists() else (),
    )


def _ranked(probabilities: Tensor, names: Sequence[str], best: int) -> Ranked:
    top = probabilities.topk(min(best, len(names)))
    return [
        (names[place], value)
        for place, value in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]
