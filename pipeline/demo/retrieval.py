"""Test images by a sentence, and test captions by an image: ranked by the dual encoder, then
reranked by the fusion encoder, as in an evaluation (`pipeline.tasks.retrieval.predict`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.demo import examples
from pipeline.demo.models import Models
from pipeline.demo.page import Form, form_of
from pipeline.demo.vectors import BATCH, Encoded, Encoder
from pipeline.inference.predictor import Predictor
from pipeline.tasks import Folders
from pipeline.tasks.ranking import best_first
from pipeline.tasks.retrieval.predict import EvaluateParams
from pipeline.tasks.retrieval.row_predictor import MODEL
from pipeline.utils import workdir

SHOWN = 6  # candidates of a ranking
DUAL = "Dual encoder, with cosines"
RERANKED = "Reranked, with match probabilities"


class Candidate(NamedTuple):
    """One of a ranking: the number of an image or of a caption."""

    number: int
    # the cosine; reranked, the probability that the pair belongs together; None behind those
    score: float | None

    def label(self, right: set[int]) -> str:
        """The score, with a tick where it is one of the right candidates."""
        label = "not reranked" if self.score is None else f"{self.score:.3f}"
        return f"{label} ✓" if self.number in right else label


class Rankings(NamedTuple):
    """The best candidates by each encoder; none reranked where the model is a dual encoder alone."""

    dual: list[Candidate]
    reranked: list[Candidate]


@dataclass(frozen=True)
class Searched:
    """What one search looks through: a test set, or as much of it as has vectors yet."""

    predictor: Predictor
    params: EvaluateParams
    total: int  # images of the test set
    image: Callable[[int], bytes]  # by its number
    encoded: Encoded

    def images(self, sentence: str) -> Rankings:
        """The best images for a sentence."""
        cosines = self.encoded.image_features @ self.predictor.text_features([sentence])[0].cpu()
        return self._rankings(cosines, lambda number: (self.image(number), sentence))

    def captions(self, image: bytes) -> Rankings:
        """The best captions for an image."""
        cosines = self.encoded.text_features @ self.predictor.image_features([image])[0].cpu()
        return self._rankings(cosines, lambda number: (image, self.encoded.captions[number]))

    def sentence(self) -> str:
        """How much is searched, and how it is ranked."""
        number, captions = len(self.encoded.digests), len(self.encoded.captions)
        searched = f"{number:,} images of the test set and their {captions:,} captions; ✓ is right."
        if number < self.total:
            rest = f"The vectors of all {self.total:,} images are being computed: ask again later."
            searched = f"so far {searched} {rest}"
        if not self.predictor.model.config.matching:
            return f"Searched: {searched} This model is a dual encoder alone and reranks nothing."
        weight = f"the match logit plus {self.params.dual_weight:g} times the cosine"
        return f"Searched: {searched} The best {self.params.rerank_k} are reranked, by {weight}."

    def _rankings(self, cosines: Tensor, pair: Callable[[int], tuple[bytes, str]]) -> Rankings:
        """Of all candidates; `pair` is what one of them and the query are."""
        params = self.params
        order = best_first(cosines, max(SHOWN, params.rerank_k)).tolist()
        dual = [Candidate(index, cosines[index].item()) for index in order]
        if not self.predictor.model.config.matching:
            return Rankings(dual[:SHOWN], [])
        best = order[: params.rerank_k]
        logits = _match_logits(self.predictor, [pair(index) for index in best])
        scores = logits[:, 1] + params.dual_weight * cosines[best]
        matches = logits.softmax(dim=1)[:, 1].tolist()
        rows = best_first(scores, len(best)).tolist()
        reranked = [Candidate(best[row], matches[row]) for row in rows]
        behind = [Candidate(index, None) for index in order[len(best) :]]
        return Rankings(dual[:SHOWN], [*reranked, *behind][:SHOWN])


class Search:
    """The test sets of retrieval models; their vectors are computed when they are first asked for."""

    def __init__(self, models: Models):
        self.models = models
        self._lock = Lock()  # callbacks run in threads
        self._encoder = lru_cache(maxsize=2)(self._start)

    def of_model(self, name: str) -> Searched:
        """What the model of this name searches. Raises UserError where the data are not here."""
        with self._lock:
            encoder = self._encoder(name)
        params = encoder.split.params
        return Searched(encoder.predictor, params, encoder.total, encoder.image, encoder.so_far())

    def _start(self, name: str) -> Encoder:
        split, folder = examples.split_of(self.models.scale, name), self.models.folders[name]
        inputs = Folders.of(self.models.scale, split.data, folder).input_files(folder)
        kept = workdir.fingerprint("search", {"split": split.name, "batch": BATCH}, inputs)
        return Encoder(self.models.load(name), split, workdir.root() / kept)


@lru_cache(maxsize=1)
def search_of(models: Models) -> Search:
    """The same for both tabs."""
    return Search(models)


def form(models: Models, read: examples.Reader) -> Form | None:
    """The form of a tab that searches; None where no model can."""
    return form_of(models, MODEL, read, "retrieval", "finetune/coco")


def answer(
    searched: Searched, rankings: Rankings, draw: Callable[[Sequence[Candidate]], Any]
) -> tuple[list[Any], str]:
    """Each ranking as `draw` shows it, None where it is empty, and a sentence."""
    return [draw(ranking) or None for ranking in rankings], searched.sentence()


def _match_logits(predictor: Predictor, pairs: Sequence[tuple[bytes, str]]) -> Tensor:
    """Of images and captions, [pairs, 2]."""
    logits = []
    for start in range(0, len(pairs), BATCH):
        images, captions = zip(*pairs[start : start + BATCH], strict=True)
        logits.append(predictor.call("match_logits", images, captions).cpu())
    return torch.cat(logits)
