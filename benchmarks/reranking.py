"""How fast retrieval is scored: `python -m benchmarks.reranking`.

The base size at 224 pixels, random weights, random images and captions, all threads. The fusion
encoder's pairs per second as evaluation runs them (texts of one length in a batch, nothing padded)
beside batches as they come, padded and masked; and what COCO's 5,000 images and 25,000 captions
then take, here and on an H100.
"""

from collections.abc import Callable
from statistics import mean

import numpy as np
import torch

from benchmarks.clock import rates
from model.backbone.config import BackboneConfig
from model.heads.retrieval import Retrieval, RetrievalConfig
from pipeline.config import params
from pipeline.data.transforms import images
from pipeline.pretraining.variants import Dimensions
from pipeline.tasks.image_text_inputs import pad
from pipeline.tasks.retrieval.cost import dual_flops, match_flops
from pipeline.tasks.retrieval.predict import match_logits
from pipeline.tasks.retrieval.training.data import EvaluationSet
from pipeline.tasks.retrieval.training.metrics import dual_scores

IMAGES, CAPTIONS, PAIRS, BATCH, ROUNDS = 4, 12, 12, 6, 2
# Ids of captions, on average as many as COCO's; two lengths, so that batches are full as there.
LENGTHS = (11, 14)
COCO = {"images": 5_000, "texts": 25_000, "pairs": (5_000 + 25_000) * 32}
H100, USED = 989e12, 0.4  # dense bf16 FLOP/s, and the share of it that is assumed


def base() -> Retrieval:
    """A model of the base size."""
    size = params.preset("paper").load(Dimensions, "pretrain.common.dimensions")
    backbone = BackboneConfig(
        image_size=size.image_size,
        patch_size=size.patch_size,
        depth=size.depth,
        embed_dim=size.embed_dim,
        num_heads=size.num_heads,
        mlp_dim=size.mlp_dim,
        vocab_size=64_000,
        text_length=size.text_length,
        experts="mome",
        drop_path=0.0,
        init_std=size.init_std,
    )
    torch.manual_seed(0)
    return Retrieval(RetrievalConfig(backbone)).eval()


def split() -> EvaluationSet:
    """A test split."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 64_000, LENGTHS[number % len(LENGTHS)]) for number in range(CAPTIONS)]
    pixels = torch.from_numpy(rng.integers(0, 256, (IMAGES, 224, 224, 3), np.uint8))
    return EvaluationSet([], [""] * CAPTIONS, pixels, ids, torch.arange(CAPTIONS) % IMAGES)


@torch.inference_mode()
def as_they_come(
    model: Retrieval, data: EvaluationSet, image: torch.Tensor, caption: torch.Tensor
) -> None:
    """Batches in the order of the pairs, padded to the longest caption that there may be."""
    for rows in torch.arange(len(image)).split(BATCH):
        ids, mask = pad([data.ids[text] for text in caption[rows]] + [np.zeros(40, int)])
        model.match_logits(images.normalize(data.all_pixels()[image[rows]]), ids[:-1], mask[:-1])


def ways(model: Retrieval, data: EvaluationSet) -> dict[str, Callable[[], float]]:
    """What is measured, each in samples."""
    image, caption = torch.arange(PAIRS) % IMAGES, torch.arange(PAIRS) % CAPTIONS

    def pairs() -> float:
        match_logits(model, data, image, caption, BATCH)
        return PAIRS

    def padded_pairs() -> float:
        as_they_come(model, data, image, caption)
        return PAIRS

    def dual_encoder() -> float:
        dual_scores(model, data, BATCH)
        return IMAGES + CAPTIONS

    return {
        "pairs": pairs,
        "pairs, padded and masked": padded_pairs,
        "dual encoder": dual_encoder,
    }


def sample_flops(config: BackboneConfig) -> dict[str, float]:
    """Of what `COCO` counts, each."""
    dual = [dual_flops(config, length) for length in LENGTHS]
    return {
        "images": dual[0][0],
        "texts": mean(text for _, text in dual),
        "pairs": mean(match_flops(config, length) for length in LENGTHS),
    }


def main() -> None:
    model = base()
    speeds = rates(ways(model, split()), ROUNDS)
    for name, rate in speeds.items():
        print(f"{name:28} {rate:7.2f} a second")
    each = sample_flops(model.config.backbone)
    total = sum(count * each[name] for name, count in COCO.items())
    gflop, pairs = each["pairs"] / 1e9, speeds["pairs"]
    print(f"one pair: {gflop:.1f} GFLOP, here {pairs * gflop:.0f} GFLOP/s")
    print(
        f"COCO 5K, {COCO['pairs']:,} pairs at most: {total / 1e15:.1f} PFLOP; here "
        f"{COCO['pairs'] / pairs / 3600:.0f} h; projected for one H100 at {USED:.0%} of bf16: "
        f"{total / H100 / USED / 60:.1f} min"
    )


if __name__ == "__main__":
    main()
