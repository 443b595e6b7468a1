"""Test images by a sentence, and test captions by an image: ranked by the dual encoder, then
reranked by the fusion encoder, as in an evaluation (`pipeline.tasks.retrieval.predict`)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.data.shards import parquet
from pipeline.demo.examples import Split, split_of
from pipeline.demo.models import Models
from pipeline.inference.predictor import Predictor
from pipeline.tasks.ranking import best_first

SHOWN = 6  # candidates of a ranking
LIMIT = 1000  # images of a test set that are searched; COCO's has 5,000
BATCH = 32
DUAL = "Dual encoder, with cosines"
RERANKED = "Reranked, with match probabilities"


class Searched(NamedTuple):
    """A test set with the vectors of its images and captions."""

    images: list[bytes]
    captions: list[str]
    image_of: list[int]  # of each caption
    image_features: Tensor  # unit vectors [images, embed_dim]
    text_features: Tensor  # [captions, embed_dim]


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


class Search:
    """The test sets of retrieval models; their vectors are computed when they are first asked for."""

    def __init__(self, models: Models):
        self.models = models
        self.of_model = lru_cache(maxsize=2)(self._read)

    def images(self, name: str, sentence: str) -> Rankings:
        """The best images for a sentence, by the model of this name."""
        found = self.of_model(name)
        cosines = found.image_features @ self.models.load(name).text_features([sentence])[0]
        return self._rankings(name, cosines, found.images, [sentence] * len(cosines))

    def captions(self, name: str, image: bytes) -> Rankings:
        """The best captions for an image, by the model of this name."""
        found = self.of_model(name)
        cosines = found.text_features @ self.models.load(name).image_features([image])[0]
        return self._rankings(name, cosines, [image] * len(cosines), found.captions)

    def sentence(self, name: str) -> str:
        """How much is searched, and how it is ranked."""
        found, params = self.of_model(name), split_of(self.models.scale, name).params
        number, captions = len(found.images), len(found.captions)
        searched = f"{number:,} images of the test set and their {captions:,} captions; ✓ is right."
        if not self.models.load(name).model.config.matching:
            return f"Searched: {searched} This model is a dual encoder alone and reranks nothing."
        weight = f"the match logit plus {params.dual_weight:g} times the cosine"
        return f"Searched: {searched} The best {params.rerank_k} are reranked, by {weight}."

    def _rankings(
        self, name: str, cosines: Tensor, images: Sequence[bytes], captions: Sequence[str]
    ) -> Rankings:
        """Of all candidates, each a pair with the query."""
        predictor, params = self.models.load(name), split_of(self.models.scale, name).params
        order = best_first(cosines, max(SHOWN, params.rerank_k)).tolist()
        dual = [Candidate(index, cosines[index].item()) for index in order]
        if not predictor.model.config.matching:
            return Rankings(dual[:SHOWN], [])
        best = order[: params.rerank_k]
        logits = _match_logits(predictor, images, captions, best)
        scores = logits[:, 1] + params.dual_weight * cosines[best]
        matches = logits.softmax(dim=1)[:, 1].tolist()
        rows = best_first(scores, len(best)).tolist()
        reranked = [Candidate(best[row], matches[row]) for row in rows]
        behind = [Candidate(index, None) for index in order[len(best) :]]
        return Rankings(dual[:SHOWN], [*reranked, *behind][:SHOWN])

    def _read(self, name: str) -> Searched:
        return searched(self.models.load(name), split_of(self.models.scale, name))


@lru_cache(maxsize=1)
def search_of(models: Models) -> Search:
    """The same for both tabs."""
    return Search(models)


def searched(predictor: Predictor, split: Split) -> Searched:
    """The first images of a split, with their captions and the vectors of both."""
    images: list[bytes] = []
    captions: list[str] = []
    image_of: list[int] = []
    for row in parquet.read_rows(split.shards, split.name, ("image", "captions")):
        image_of += [len(images)] * len(row["captions"])
        images.append(row["image"])
        captions += row["captions"]
        if len(images) == LIMIT:
            break
    shown = [predictor.image_features(images[batch]) for batch in _batches(len(images))]
    read = [predictor.text_features(captions[batch]) for batch in _batches(len(captions))]
    return Searched(images, captions, image_of, torch.cat(shown), torch.cat(read))


def _match_logits(
    predictor: Predictor, images: Sequence[bytes], captions: Sequence[str], pairs: Sequence[int]
) -> Tensor:
    """Of some of the pairs, [pairs, 2]."""
    logits = []
    for batch in _batches(len(pairs)):
        some = pairs[batch]
        shown, read = [images[index] for index in some], [captions[index] for index in some]
        logits.append(predictor.call("match_logits", shown, read))
    return torch.cat(logits)


def _batches(count: int) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, count, BATCH)]
