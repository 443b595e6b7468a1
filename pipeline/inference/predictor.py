"""Saved models in use: images and texts in; vectors, similarities, answers and classes out.

    model = predictor.load("exports/small/vqa")
    model.answers("image.jpg", "What is above the star?")

Needs torch, timm, safetensors, sentencepiece (tokenizers for VLMo's models) and a PIL, and none of
the pipeline's other packages.
Each call is one batch: hand in as many images as fit into memory, as paths, as the bytes of files or
as PIL's images. They are turned upright, laid on white and refused as those of shards are (see
`pipeline.data.transforms.image_decoding`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.data.transforms.image_decoding import Source
from pipeline.errors import UserError
from pipeline.inference.registry import row_predictors
from pipeline.tasks.row_columns import Ranked
from pipeline.tasks.saved_model import SavedModel
from pipeline.tokenizers import text
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import finite, model_folder


class Predictor(SavedModel):
    """A saved model that answers. What its class cannot tell ends in a UserError, and so do
    arguments that it cannot use.

    Its methods are functions of the models' row predictors, such as
    `pipeline.tasks.vqa.row_predictor.answers`; a row predictor's other functions are called by
    `call`.
    """

    def predict_row(self, images: Sequence[Source], text: str | None) -> dict[str, Any]:
        """All that the model can tell of an image or two, a text, or both, by column."""
        return self.call("predict_row", images, text)

    def image_features(self, images: Sequence[Source]) -> Tensor:
        """[images, embed_dim] fp32: unit vectors of a retrieval model, [I_CLS] of a pretrained one."""
        return self.call("image_features", images)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """[texts, embed_dim] fp32: unit vectors of a retrieval model, [T_CLS] of a pretrained one."""
        return self.call("text_features", texts)

    def similarity(self, images: Sequence[Source], captions: Sequence[str]) -> Tensor:
        """Cosines of each image with each caption, [images, captions]."""
        return self.call("similarity", images, captions)

    def match(self, images: Sequence[Source], captions: Sequence[str]) -> Tensor:
        """The probability that each image and the caption beside it belong together, [pairs] in
        0..1. The fusion encoder reads both at once: slower than `similarity`, and more exact."""
        return self.call("match", images, captions)

    def answers(self, image: Source, question: str, best: int = 3) -> Ranked:
        """The best answers to a question about an image."""
        return self.call("answers", image, question, best)

    def truth(self, left: Source, right: Source, statement: str) -> float:
        """The probability, in 0..1, that a statement is true of two images."""
        return self.call("truth", left, right, statement)

    def classify(self, image: Source, best: int = 5) -> Ranked:
        """The most probable classes; numbers from 0 where they have no names."""
        return self.call("classify", image, best)

    def segment(self, image: Source) -> Tensor:
        """The class of each pixel, from 1, int64 [size, size], of the image as the model sees it: a
        square."""
        return self.call("segment", image)

    def visual_tokens(self, images: Sequence[Source]) -> Tensor:
        """Token ids of the patches, int64 [images, patches], row by row."""
        return self.call("visual_tokens", images)

    @torch.no_grad()
    def call(self, function: str, *arguments: Any) -> Any:
        """A function of the row predictor of this model.

        Raises:
            UserError: it has no such function, or answers with numbers that are NaN or infinite.
        """
        predictors, name = row_predictors(), type(self.model).__name__
        if not hasattr(predictors.get(name), function):
            able = [other for other, module in predictors.items() if hasattr(module, function)]
            raise UserError(f"{function}: this model is a {name}; load a {' or '.join(able)}")
        answer = getattr(predictors[name], function)(self, *arguments)
        finite.check_tree(answer, f"{function} of this {name}")
        return answer


def load(folder: str | Path, text_tokenizer: Path | None = None, device: str = "cpu") -> Predictor:
    """An exported model, or any model folder with the tokenizer file that belongs to it; a string
    `owner/model` that is no folder here is fetched from the hub.

    Raises:
        UserError: the folder, the tokenizer or the file of names is none, or they do not belong
            together.
    """
    folder = model_folder.local(folder)
    row_predictors()  # a task may define the class of its model beside its own
    model = model_folder.load(folder, "name the folder of a model")
    tokenizer = text_tokenizer or text.in_folder(folder)
    return Predictor(
        model.to(device),
        _tokenizer(tokenizer, model.config) if tokenizer else None,
        model_folder.class_names(folder),
    )


def _tokenizer(path: Path, config: Any) -> TextTokenizer:
    """The tokenizer of a model with this configuration; one that reads no text may have any."""
    config = getattr(config, "backbone", config)
    if not getattr(config, "vocab_size", 0):
        return TextTokenizer.load(path)
    return TextTokenizer.load_for(path, config.vocab_size)
