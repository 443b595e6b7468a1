"""What brightness costs."""

from model.heads.brightness import Brightness, BrightnessConfig
from pipeline.tasks.brightness.predict import EvaluateParams
from pipeline.tasks.brightness.training.data import EvaluationInputs
from pipeline.tasks.brightness.training.task import FineTuneParams

from model.backbone.config import BackboneConfig
from model.meta import on_meta
from pipeline.utils import flops
from pipeline.utils.flops import Pass
from pipeline.utils.sample_cost import EvaluationCost, SampleCost

IMAGE = Pass(image=True, read=1)


def sample_flops(config: BackboneConfig) -> float:
    """Forward FLOPs of one image."""
    return flops.encoder(config, IMAGE) + flops.linear(1, config.embed_dim, 1)


def training(params: FineTuneParams, backbone: BackboneConfig) -> tuple[Brightness, SampleCost]:
    """The model on the meta device, and what one of its samples takes."""
    model = on_meta(lambda: Brightness(BrightnessConfig(backbone)))
    return model, SampleCost(params.inputs.order.batch_size, sample_flops(backbone), (IMAGE,))


def evaluation(
    config: BrightnessConfig, inputs: EvaluationInputs, params: EvaluateParams, tested: float
) -> EvaluationCost:
    """`tested` images."""
    one = sample_flops(config.backbone)
    return EvaluationCost(f"{tested:,.0f} images, brightness", tested * one, batch_bytes=0.0)
