"""Every training run of a scale as params.yaml has it: what its samples go through, and what that
costs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from model.backbone.config import BackboneConfig
from model.heads.classification import Classification, ClassificationConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.heads.segmentation import Segmentation, SegmentationConfig
from model.heads.vqa import VQA, VQAConfig
from model.pretraining.masked_modeling import MaskedModelingConfig
from model.tokenizer.teachers import Hog
from model.tokenizer.vqkd import VQKD, VQKDConfig
from pipeline import tasks
from pipeline.config.params import Params
from pipeline.pretraining import task
from pipeline.pretraining.task import STREAM_OF, PretrainParams
from pipeline.tokenizers import vqkd_training
from pipeline.tokenizers.teacher_loading import NETWORKS
from pipeline.tokenizers.vqkd_training import VisualTokenizerParams
from pipeline.training.loop import LoopParams
from pipeline.utils import flops, memory
from pipeline.utils.flops import Pass
from pipeline.utils.memory import ParameterCounts, Precision

ANSWERS = 3129  # VL-BEiT §3.2; found in the data, of which the generated world has fewer
ENDS = 2  # special ids of a text, which are never hidden


@dataclass(frozen=True)
class Stream:
    """What one sample of a kind goes through."""

    batch: int  # samples of a step, on all workers
    forward: float  # FLOPs
    passes: tuple[Pass, ...] = ()  # through the backbone
    heads: float = 0.0  # bytes that the heads keep for the backward pass
    spike: float = 0.0  # bytes that the loss takes for a moment, of the whole micro-batch
    besides: float = 0.0  # FLOPs that are computed on top, without a backward pass
    shared: float = 0.0  # bytes on each worker whatever the micro-batch


@dataclass(frozen=True)
class TrainingRun:
    """A run with all that its costs follow from."""

    stage: str
    steps: int
    workers: int  # 0: in process
    loop: LoopParams
    weights: ParameterCounts
    backbone: BackboneConfig | None  # None: the visual tokenizer's networks
    streams: tuple[Stream, ...]

    @property
    def samples(self) -> int:
        """Of a step."""
        return sum(stream.batch for stream in self.streams)

    @property
    def step_flops(self) -> float:
        """Of a step's forward and backward passes; nothing is counted twice."""
        return flops.TRAINING * sum(stream.batch * stream.forward for stream in self.streams)

    @property
    def extra_flops(self) -> float:
        """Of a step, besides: teachers, ids of online views, cached features, and blocks computed
        again."""
        again = (
            sum(
                stream.batch * flops.blocks(self.backbone, one)
                for stream in self.streams
                for one in stream.passes
            )
            if self.loop.activation_checkpointing
            else 0.0
        )
        return again + sum(stream.batch * stream.besides for stream in self.streams)

    @property
    def model_bytes(self) -> float:
        """On each worker, for weights, gradients and optimiser."""
        return memory.model(self.weights, self.loop.parallel, self.workers, self.precision)

    @property
    def precision(self) -> Precision:
        return Precision(self.loop.precision == "bf16")

    def activation_bytes(self, *, again: bool) -> float:
        """On each worker, when a micro-batch takes most; `again`: with activation checkpointing."""
        return (
            sum(
                stream.batch / self.loop.gradient_accumulation * self._kept(stream, again)
                + stream.shared
                for stream in self.streams
            )
            + max(stream.spike for stream in self.streams)
            + (self._recomputed() if again else 0.0)
        )

    def _kept(self, stream: Stream, again: bool) -> float:
        passes = (
            memory.encoder(self.backbone, one, self.precision, again=again, joined=self._joined)
            for one in stream.passes
        )
        return sum(passes) + stream.heads

    def _recomputed(self) -> float:
        """Streams go through a block together, the passes of one stream one after the other."""
        return sum(
            max(
                (
                    stream.batch
                    / self.loop.gradient_accumulation
                    * memory.recomputed(
                        self.backbone, one._replace(read=None), self.precision, joined=self._joined
                    )
                    for one in stream.passes
                ),
                default=0.0,
            )
            for stream in self.streams
        )

    @property
    def _joined(self) -> bool:
        return len(self.streams) > 1


def runs(params: Params) -> Iterator[TrainingRun]:
    """All runs of a scale in the order of dvc.yaml."""
    tokenizer = vqkd_training.load_params(params)
    if tokenizer.origin == "train":
        yield tokenizer_run(tokenizer)
    built: dict[str, MaskedModelingConfig] = {}
    for name in params.subtree("pretrain.variants"):
        variant = task.load_params(params, name)
        vocab_size = params.subtree("text_tokenizer.vocab_size")
        model = _on_meta(partial(task.build, variant, vocab_size, tokenizer.size.codebook_size))
        built[name] = model.config
        if variant.objectives:
            streams = tuple(
                _masked(objective, variant, model.config, params)
                for objective in variant.objectives
            )
            yield TrainingRun(
                f"pretrain {name}",
                variant.steps,
                variant.num_workers,
                variant.loop,
                ParameterCounts.of(model),
                model.config.backbone,
                streams,
            )
    for name in tasks.items():
        item = tasks.item(name)
        chosen = tasks.finetune_params(params, item)
        backbone = replace(built[item.pretraining].backbone, image_size=chosen.inputs.image_size)
        model, stream = _TASKS[item.task](chosen, backbone)
        yield TrainingRun(
            f"finetune {name}",
            chosen.steps,
            chosen.num_workers,
            chosen.loop,
            ParameterCounts.of(model),
            backbone,
            (stream,),
        )


def tokenizer_config(chosen: VisualTokenizerParams) -> VQKDConfig:
    """The visual tokenizer as it will be."""
    dim = NETWORKS[chosen.teacher].dim if chosen.teacher in NETWORKS else Hog.dim
    return vqkd_training.config(chosen, dim)


def tokenizer_run(chosen: VisualTokenizerParams) -> TrainingRun:
    """VQ-KD's training."""
    config, precision = tokenizer_config(chosen), Precision(chosen.loop.precision == "bf16")
    teacher = (
        flops.visual_tokens(replace(config, codebook_size=0)) if chosen.teacher in NETWORKS else 0.0
    )  # a ViT of its size
    stream = Stream(
        chosen.order.batch_size,
        flops.visual_tokenizer(config),
        besides=teacher,
        heads=memory.visual_tokenizer(config, precision),
    )
    weights = ParameterCounts.of(_on_meta(partial(VQKD, config)))
    return TrainingRun(
        "visual_tokenizer",
        chosen.steps,
        chosen.num_workers,
        chosen.loop,
        weights,
        None,
        (stream,),
    )


def _masked(
    objective: str, variant: PretrainParams, config: MaskedModelingConfig, params: Params
) -> Stream:
    """The stream of one objective; its texts are of the greatest length."""
    masks, size = variant.masks, variant.size
    precision = Precision(variant.loop.precision == "bf16")
    batch, width = getattr(variant.data, STREAM_OF[objective]).order.batch_size, size.embed_dim
    online = 0.0
    if variant.architecture.visual_tokens == "online":
        tokenizer = vqkd_training.load_params(params)
        online = flops.visual_tokens(tokenizer_config(tokenizer))
    words, codes = config.backbone.vocab_size, config.codebook_size
    patches = 0 if objective == "mlm" else masks.num_masked_patches
    own = batch / variant.loop.gradient_accumulation
    if objective == "mim":
        return Stream(
            batch,
            flops.mim(config, patches),
            (Pass(image=True, read=patches),),
            memory.prediction_head(patches, config, precision, text=False),
            memory.chunk(own * patches, codes, precision),
            online,
            memory.head_gradient(width, codes),
        )
    if objective == "mlm":
        text = params.subtree("text_tokens.max_length")
        hidden = round(masks.text_mask_ratio * (text - ENDS))
        return Stream(
            batch,
            flops.mlm(config, text, hidden),
            (Pass(text, read=hidden),),
            memory.prediction_head(hidden, config, precision, text=True),
            memory.chunk(own * hidden, words, precision),
            shared=memory.head_gradient(width, words),
        )
    hidden = round(masks.caption_mask_ratio * (size.caption_length - ENDS))
    passes = tuple(flops.mvlm_passes(config, size.caption_length, hidden, patches))
    heads = memory.prediction_head(hidden, config, precision, text=True) + memory.prediction_head(
        patches, config, precision, text=False
    )
    return Stream(
        batch,
        flops.mvlm(config, size.caption_length, hidden, patches),
        passes,
        heads,
        memory.chunk(own * hidden, words, precision),
        online,
        memory.head_gradient(width, words) + memory.head_gradient(width, codes),
    )


def _vqa(chosen: Any, backbone: BackboneConfig) -> tuple[nn.Module, Stream]:
    text = chosen.inputs.text_length
    model = _on_meta(partial(VQA, VQAConfig(backbone, tuple(map(str, range(ANSWERS))))))
    return model, Stream(
        chosen.inputs.order.batch_size, flops.vqa(backbone, text, ANSWERS), (flops.fused(text),)
    )


def _nlvr2(chosen: Any, backbone: BackboneConfig) -> tuple[nn.Module, Stream]:
    text = chosen.inputs.text_length
    model = _on_meta(partial(NLVR2, NLVR2Config(backbone)))
    return model, Stream(
        chosen.inputs.order.batch_size, flops.nlvr2(backbone, text), (flops.fused(text),) * 2
    )


def _retrieval(chosen: Any, backbone: BackboneConfig) -> tuple[nn.Module, Stream]:
    """Where a worker has several passes, both encoders run once more for the features (see
    `tasks.retrieval.global_negatives`); every worker holds the pixels of the whole batch, of which its hard
    negatives are chosen."""
    text, batch = chosen.inputs.text_length, chosen.inputs.order.batch_size
    passes = (*flops.apart(text), *(flops.fused(text),) * flops.FUSION_PASSES)
    cached = (
        sum(flops.dual(backbone, text))
        if chosen.loop.gradient_accumulation > max(chosen.num_workers, 1)
        else 0.0
    )
    pixels = batch * 3.0 * backbone.image_size**2
    model = _on_meta(partial(Retrieval, RetrievalConfig(backbone)))
    return model, Stream(
        batch, flops.retrieval(backbone, text, batch), passes, besides=cached, shared=pixels
    )


def _classification(chosen: Any, backbone: BackboneConfig) -> tuple[nn.Module, Stream]:
    model = _on_meta(partial(Classification, ClassificationConfig(backbone, chosen.classes)))
    return model, Stream(
        chosen.inputs.order.batch_size,
        flops.classification(backbone, chosen.classes),
        (Pass(image=True),),
    )


def _segmentation(chosen: Any, backbone: BackboneConfig) -> tuple[nn.Module, Stream]:
    precision = Precision(chosen.loop.precision == "bf16")
    model = _on_meta(partial(Segmentation, SegmentationConfig(backbone, chosen.head)))
    return model, Stream(
        chosen.inputs.order.batch_size,
        flops.segmentation(backbone, chosen.head),
        (Pass(image=True),),
        memory.segmentation(backbone, chosen.head, precision),
    )


_TASKS = {
    "vqa": _vqa,
    "nlvr2": _nlvr2,
    "retrieval": _retrieval,
    "classification": _classification,
    "segmentation": _segmentation,
}


class _Unfilled(TorchFunctionMode):
    """Draws no initial numbers. There are none on the meta device, and to draw them there torch
    imports its compiler, for seconds."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "trunc_normal_"):
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


def _on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """A model without its numbers."""
    with torch.device("meta"), _Unfilled():
        return build()
