"""What image-text retrieval costs, for `make plan`."""

import math

from model.backbone.config import BackboneConfig
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.meta import on_meta
from pipeline.tasks.retrieval.predict import EvaluateParams
from pipeline.tasks.retrieval.training.data import FUSION_PASSES, EvaluationInputs
from pipeline.tasks.retrieval.training.task import FineTuneParams
from pipeline.utils import flops, memory
from pipeline.utils.memory import Precision
from pipeline.utils.sample_cost import EvaluationCost, SampleCost

CAPTIONS = 5  # of an image


def dual_flops(config: BackboneConfig, text: int, pooling: str = "cls") -> tuple[float, float]:
    """Forward FLOPs of an image and of a caption of `text` tokens through the dual encoder."""
    projection = flops.linear(1, config.embed_dim, config.embed_dim)
    image, caption = flops.apart(text, pooling)
    return flops.encoder(config, image) + projection, flops.encoder(config, caption) + projection


def match_flops(config: BackboneConfig, text: int) -> float:
    """Forward FLOPs of a pair through the fusion encoder: one of ITM's passes, or of reranking."""
    head = flops.linear(1, config.embed_dim, config.embed_dim, 2)
    return flops.encoder(config, flops.fused(text)) + head


def sample_flops(
    config: BackboneConfig,
    text: int,
    batch: int,
    passes: float = FUSION_PASSES,
    pooling: str = "cls",
) -> float:
    """Forward FLOPs of one pair of a global batch: ITC against all of it, and so many passes of
    ITM."""
    similarities = 2 * flops.linear(1, config.embed_dim, batch)
    return (
        sum(dual_flops(config, text, pooling)) + similarities + passes * match_flops(config, text)
    )


def training(params: FineTuneParams, backbone: BackboneConfig) -> tuple[Retrieval, SampleCost]:
    """The model on the meta device, and what one of its samples takes.

    Where a worker has several passes, both encoders run once more for the features (see
    `pipeline.tasks.retrieval.training.global_negatives`). Every worker holds the pixels of the global batch,
    from which its hard negatives are selected.
    """
    text, batch = params.inputs.text_length, params.inputs.order.batch_size
    pooling = params.pooling
    matching = params.matching
    passes = 0.0 if matching is None else FUSION_PASSES / matching.every
    several = params.loop.gradient_accumulation > max(params.num_workers, 1)
    cost = SampleCost(
        batch,
        sample_flops(backbone, text, batch, passes, pooling),
        (*flops.apart(text, pooling), *[flops.fused(text)] * math.ceil(passes)),
        extra_flops=sum(dual_flops(backbone, text, pooling)) if several else 0.0,
        shared_bytes=batch * 3.0 * backbone.image_size**2,
    )
    config = RetrievalConfig(backbone, matching is not None, pooling)
    return on_meta(lambda: Retrieval(config)), cost


def evaluation(
    config: RetrievalConfig, inputs: EvaluationInputs, params: EvaluateParams, tested: float
) -> EvaluationCost:
    """`tested` images with their captions."""
    backbone, text, captions = config.backbone, inputs.text_length, tested * CAPTIONS
    image_flops, caption_flops = dual_flops(backbone, text, config.pooling)
    precision = Precision(params.precision == "bf16")
    longest = flops.fused(text) if config.matching else flops.apart(text, config.pooling)[0]
    matches = params.rerank_k * (tested + captions) if config.matching else 0
    return EvaluationCost(
        f"{tested:,.0f} images, {captions:,.0f} captions, {matches:,.0f} matches",
        tested * image_flops + captions * caption_flops + matches * match_flops(backbone, text),
        params.batch * memory.forward(backbone, longest, precision),
    )
