"""What image classification costs, for `make plan`."""

from model.backbone.config import BackboneConfig
from model.heads.classification import Classification, ClassificationConfig
from model.meta import on_meta
from pipeline.tasks.classification.predict import EvaluateParams
from pipeline.tasks.classification.training.data import EvaluationInputs
from pipeline.tasks.classification.training.task import FineTuneParams
from pipeline.utils import flops, memory
from pipeline.utils.flops import Pass
from pipeline.utils.memory import Precision
from pipeline.utils.sample_cost import EvaluationCost, SampleCost


def sample_flops(config: BackboneConfig, classes: int) -> float:
    """Forward FLOPs of one image."""
    return flops.encoder(config, Pass(image=True)) + flops.linear(1, config.embed_dim, classes)


def training(params: FineTuneParams, backbone: BackboneConfig) -> tuple[Classification, SampleCost]:
    """The model on the meta device, and what one of its samples takes."""
    config = ClassificationConfig(backbone, params.classes, text=backbone.vocab_size > 0)
    model = on_meta(lambda: Classification(config))
    forward_flops = sample_flops(backbone, params.classes)
    return model, SampleCost(params.inputs.order.batch_size, forward_flops, (Pass(image=True),))


def evaluation(
    config: ClassificationConfig, inputs: EvaluationInputs, params: EvaluateParams, tested: float
) -> EvaluationCost:
    """`tested` images."""
    one = sample_flops(config.backbone, config.classes)
    precision = Precision(params.precision == "bf16")
    taken = params.batch * memory.forward(config.backbone, Pass(image=True), precision)
    return EvaluationCost(f"{tested:,.0f} images", tested * one, taken)
