"""What VQA costs, for `make plan`."""

from model.backbone.config import BackboneConfig
from model.heads.vqa import VQA, VQAConfig
from model.meta import on_meta
from pipeline.tasks.vqa.predict import EvaluateParams
from pipeline.tasks.vqa.training.data import EvaluationInputs
from pipeline.tasks.vqa.training.task import FineTuneParams, model_config
from pipeline.utils import flops, memory
from pipeline.utils.memory import Precision
from pipeline.utils.sample_cost import EvaluationCost, SampleCost

ANSWERS = 3129  # VL-BEiT §3.2; found in the data, of which the synthetic data have fewer


def sample_flops(config: BackboneConfig, text: int, answers: int) -> float:
    """Forward FLOPs of one question of `text` tokens about one image."""
    head = flops.linear(1, config.embed_dim, config.embed_dim, 2 * config.embed_dim, answers)
    return flops.encoder(config, flops.fused(text)) + head


def training(params: FineTuneParams, backbone: BackboneConfig) -> tuple[VQA, SampleCost]:
    """The model on the meta device, and what one of its samples takes."""
    text = params.inputs.text_length
    answers = tuple(str(number) for number in range(ANSWERS))
    model = on_meta(lambda: VQA(model_config(backbone, answers)))
    forward_flops = sample_flops(backbone, text, ANSWERS)
    return model, SampleCost(params.inputs.order.batch_size, forward_flops, (flops.fused(text),))


def evaluation(
    config: VQAConfig, inputs: EvaluationInputs, params: EvaluateParams, tested: float
) -> EvaluationCost:
    """`tested` questions."""
    one = sample_flops(config.backbone, inputs.text_length, len(config.answers))
    precision = Precision(params.precision == "bf16")
    taken = params.batch * memory.forward(
        config.backbone, flops.fused(inputs.text_length), precision
    )
    return EvaluationCost(f"{tested:,.0f} questions", tested * one, taken)
