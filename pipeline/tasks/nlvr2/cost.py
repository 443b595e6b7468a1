"""What NLVR2 costs, for `make plan`."""

from model.backbone.config import BackboneConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.meta import on_meta
from pipeline.tasks.nlvr2.predict import EvaluateParams
from pipeline.tasks.nlvr2.training.data import EvaluationInputs
from pipeline.tasks.nlvr2.training.task import FineTuneParams, model_config
from pipeline.utils import flops, memory
from pipeline.utils.memory import Precision
from pipeline.utils.sample_cost import EvaluationCost, SampleCost

PASSES = 2  # of an evaluation: with the examples' own images, and with shuffled ones


def sample_flops(config: NLVR2Config, text: int) -> float:
    """Forward FLOPs of one statement of `text` tokens about two images."""
    embed_dim = config.backbone.embed_dim
    pairs = 2 * flops.encoder(config.backbone, flops.fused(text, config.pooling))
    if config.image_cls:  # four vectors, none of them pooled
        return pairs + flops.linear(1, 4 * embed_dim, 2 * embed_dim, 2)
    pooler = flops.linear(1, embed_dim, embed_dim)
    return pairs + 2 * pooler + flops.linear(1, 2 * embed_dim, 2 * embed_dim, 2)


def training(params: FineTuneParams, backbone: BackboneConfig) -> tuple[NLVR2, SampleCost]:
    """The model on the meta device, and what one of its samples takes."""
    text = params.inputs.text_length
    model = on_meta(lambda: NLVR2(model_config(backbone, params.pooling)))
    passes = (flops.fused(text, model.config.pooling),) * 2
    one = sample_flops(model.config, text)
    return model, SampleCost(params.inputs.order.batch_size, one, passes)


def evaluation(
    config: NLVR2Config, inputs: EvaluationInputs, params: EvaluateParams, tested: float
) -> EvaluationCost:
    """`tested` examples."""
    one = sample_flops(config, inputs.text_length)
    precision = Precision(params.precision == "bf16")
    pair = memory.forward(
        config.backbone, flops.fused(inputs.text_length, config.pooling), precision
    )
    taken = params.batch * 2 * pair
    return EvaluationCost(f"{tested:,.0f} examples, twice", PASSES * tested * one, taken)
