"""Every training run of a scale as params.yaml has it: what its samples go through, and what that
costs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from model.backbone.config import BackboneConfig
from model.meta import on_meta
from model.pretraining.masked_modeling import MaskedModelingConfig
from model.tokenizer.teachers import Hog
from model.tokenizer.vqkd import VQKD, VQKDConfig
from pipeline import tasks
from pipeline.config.params import Params
from pipeline.pretraining import task, variants
from pipeline.pretraining.variants import STREAM_OF, PretrainParams
from pipeline.released import imports
from pipeline.tasks import fine_tunes
from pipeline.tasks.fine_tunes import FineTune
from pipeline.tokenizers import vqkd_training
from pipeline.tokenizers.teacher_loading import NETWORKS
from pipeline.tokenizers.vqkd_training import VisualTokenizerParams
from pipeline.training.loop import LoopParams
from pipeline.utils import flops, memory
from pipeline.utils.flops import Pass
from pipeline.utils.memory import ParameterCounts, Precision
from pipeline.utils.sample_cost import SampleCost

ENDS = 2  # special ids of a text, which are never masked


@dataclass(frozen=True)
class TrainingRun:
    """A run with all that its costs follow from."""

    stage: str
    steps: int
    workers: int  # 0: in process
    loop: LoopParams
    weights: ParameterCounts
    backbone: BackboneConfig | None  # None: the visual tokenizer's networks
    streams: tuple[SampleCost, ...]
    config: Any = None  # of a fine-tune's model

    @property
    def samples(self) -> int:
        """Of a step."""
        return sum(stream.batch for stream in self.streams)

    @property
    def step_flops(self) -> float:
        """Of a step's forward and backward passes; nothing is counted twice."""
        return flops.TRAINING * sum(stream.batch * stream.forward_flops for stream in self.streams)

    @property
    def extra_flops(self) -> float:
        """Of a step, on top of these: teachers, ids of online views, cached features, and blocks computed
        again."""
        recomputed = 0.0
        if self.loop.activation_checkpointing and self.backbone:
            for stream in self.streams:
                for one in stream.passes:
                    recomputed += stream.batch * flops.blocks(self.backbone, one)
        return recomputed + sum(stream.batch * stream.extra_flops for stream in self.streams)

    @property
    def model_bytes(self) -> float:
        """On each worker, for weights, gradients and optimizer."""
        return memory.model(self.weights, self.loop.parallel, self.workers, self.precision)

    @property
    def precision(self) -> Precision:
        """Of matrix products."""
        return Precision(self.loop.precision == "bf16")

    def activation_bytes(self, *, checkpointed: bool) -> float:
        """On each worker, when a micro-batch takes most; `checkpointed`: with activation
        checkpointing."""
        saved = 0.0
        for stream in self.streams:
            size = stream.batch / self.loop.gradient_accumulation
            saved += size * self._saved_bytes(stream, checkpointed) + stream.shared_bytes
        recomputed = self._recomputed_bytes() if checkpointed else 0.0
        return saved + max(stream.loss_bytes for stream in self.streams) + recomputed

    def _saved_bytes(self, stream: SampleCost, checkpointed: bool) -> float:
        """Of a sample, for the backward pass."""
        if self.backbone is None:
            return stream.head_bytes
        passes = 0.0
        for one in stream.passes:
            passes += memory.encoder(
                self.backbone, one, self.precision, again=checkpointed, joined=self._is_joined
            )
        return passes + stream.head_bytes

    def _recomputed_bytes(self) -> float:
        """Of the block that is computed again. Streams go through a block together, the passes of
        one stream one after the other."""
        total = 0.0
        for stream in self.streams:
            size = stream.batch / self.loop.gradient_accumulation
            total += size * max(map(self._block_bytes, stream.passes), default=0.0)
        return total

    def _block_bytes(self, one: Pass) -> float:
        """What one block keeps of a pass."""
        assert self.backbone is not None
        return memory.recomputed(
            self.backbone, one._replace(read=None), self.precision, joined=self._is_joined
        )

    @property
    def _is_joined(self) -> bool:
        """Whether several streams are in one pass."""
        return len(self.streams) > 1


def runs(params: Params) -> Iterator[TrainingRun]:
    """All runs of a scale in the order of dvc.yaml."""
    tokenizer = vqkd_training.load_params(params)
    if tokenizer.origin == "train":
        yield tokenizer_run(tokenizer)
    backbones: dict[str, BackboneConfig] = {}
    for name in variants.names(params):
        variant = variants.load_params(params, name)
        vocab_size = params.subtree("text_tokenizer.vocab_size")
        model = on_meta(
            partial(task.build, variant, vocab_size, tokenizer.dimensions.codebook_size)
        )
        backbones[name] = model.config.backbone
        if variant.objectives:
            streams = [
                _masked(objective, variant, model.config, params)
                for objective in variant.objectives
            ]
            yield TrainingRun(
                f"{'pretrain_from' if variants.is_warm(params, name) else 'pretrain'} {name}",
                variant.steps,
                variant.num_workers,
                variant.loop,
                ParameterCounts.of(model),
                model.config.backbone,
                tuple(streams),
            )
    for name in fine_tunes.names(params):
        yield fine_tune_run(params, name, backbones)


def fine_tune_run(params: Params, name: str, backbones: dict[str, BackboneConfig]) -> TrainingRun:
    """The run of a fine-tune; backbones: of each pretraining variant."""
    fine_tune = fine_tunes.load(name, params)
    fine_tune_params = fine_tune.load_params(params)
    image_size = fine_tune_params.inputs.image_size
    backbone = replace(_start(params, fine_tune, backbones), image_size=image_size)
    cost = tasks.load(fine_tune.task, "cost")
    model, sample_cost = cost.training(fine_tune_params, backbone)
    return TrainingRun(
        f"finetune {name}",
        fine_tune_params.steps,
        fine_tune_params.num_workers,
        fine_tune_params.loop,
        ParameterCounts.of(model),
        backbone,
        (sample_cost,),
        model.config,
    )


def _start(
    params: Params, fine_tune: FineTune, backbones: dict[str, BackboneConfig]
) -> BackboneConfig:
    """The backbone that a fine-tune starts from."""
    kind, _, name = fine_tune.init.partition("/")
    if kind != "import":
        return backbones[fine_tune.pretraining]
    _, config = imports.load(name, params).planned()
    return getattr(config, "backbone", config)


def tokenizer_config(tokenizer: VisualTokenizerParams) -> VQKDConfig:
    """The visual tokenizer as it will be."""
    dim = NETWORKS[tokenizer.teacher].dim if tokenizer.teacher in NETWORKS else Hog.dim
    return vqkd_training.config(tokenizer, dim)


def tokenizer_run(tokenizer: VisualTokenizerParams) -> TrainingRun:
    """VQ-KD's training."""
    config = tokenizer_config(tokenizer)
    precision = Precision(tokenizer.loop.precision == "bf16")
    # a teacher that is a network is a ViT of the tokenizer's size
    network = tokenizer.teacher in NETWORKS
    stream = SampleCost(
        tokenizer.order.batch_size,
        flops.visual_tokenizer(config),
        extra_flops=flops.visual_tokens(replace(config, codebook_size=0)) if network else 0.0,
        head_bytes=memory.visual_tokenizer(config, precision),
    )
    weights = ParameterCounts.of(on_meta(partial(VQKD, config)))
    return TrainingRun(
        "visual_tokenizer",
        tokenizer.steps,
        tokenizer.num_workers,
        tokenizer.loop,
        weights,
        None,
        (stream,),
    )


def _masked(
    objective: str, variant: PretrainParams, config: MaskedModelingConfig, params: Params
) -> SampleCost:
    """The stream of one objective; its texts are of the greatest length."""
    if objective == "mlm":
        return _masked_language(variant, config, params.subtree("text_tokens.max_length"))
    online = 0.0  # FLOPs of the visual tokens of a new view
    if variant.architecture.visual_tokens == "online":
        online = flops.visual_tokens(tokenizer_config(vqkd_training.load_params(params)))
    if objective == "mim":
        return _masked_image(variant, config, online)
    return _masked_pair(variant, config, online)


def _batch_size(objective: str, variant: PretrainParams) -> int:
    """Samples of a step."""
    return getattr(variant.data, STREAM_OF[objective]).order.batch_size


def _precision(variant: PretrainParams) -> Precision:
    return Precision(variant.loop.precision == "bf16")


def _masked_language(
    variant: PretrainParams, config: MaskedModelingConfig, text: int
) -> SampleCost:
    """MLM on texts of `text` tokens."""
    batch, precision = _batch_size("mlm", variant), _precision(variant)
    vocab_size = config.backbone.vocab_size
    masked = round(variant.masks.text_mask_ratio * (text - ENDS))
    micro_batch = batch / variant.loop.gradient_accumulation
    return SampleCost(
        batch,
        flops.mlm(config, text, masked),
        (Pass(text, read=masked),),
        memory.prediction_head(masked, config, precision, text=True),
        memory.chunk(micro_batch * masked, vocab_size, precision),
        shared_bytes=memory.head_gradient(variant.dimensions.embed_dim, vocab_size),
    )


def _masked_image(
    variant: PretrainParams, config: MaskedModelingConfig, online: float
) -> SampleCost:
    """MIM on images."""
    batch, precision = _batch_size("mim", variant), _precision(variant)
    masked, codebook_size = variant.masks.num_masked_patches, config.codebook_size
    micro_batch = batch / variant.loop.gradient_accumulation
    return SampleCost(
        batch,
        flops.mim(config, masked),
        (Pass(image=True, read=masked),),
        memory.prediction_head(masked, config, precision, text=False),
        memory.chunk(micro_batch * masked, codebook_size, precision),
        online,
        memory.head_gradient(variant.dimensions.embed_dim, codebook_size),
    )


def _masked_pair(
    variant: PretrainParams, config: MaskedModelingConfig, online: float
) -> SampleCost:
    """MVLM on pairs, whose captions are of the greatest length."""
    batch, precision = _batch_size("mvlm", variant), _precision(variant)
    embed_dim, text = variant.dimensions.embed_dim, variant.dimensions.caption_length
    vocab_size, patches = config.backbone.vocab_size, variant.masks.num_masked_patches
    masked = round(variant.masks.caption_mask_ratio * (text - ENDS))
    text_bytes = memory.prediction_head(masked, config, precision, text=True)
    image_bytes = memory.prediction_head(patches, config, precision, text=False)
    text_gradient = memory.head_gradient(embed_dim, vocab_size)
    micro_batch = batch / variant.loop.gradient_accumulation
    return SampleCost(
        batch,
        flops.mvlm(config, text, masked, patches),
        tuple(flops.mvlm_passes(config, text, masked, patches)),
        text_bytes + image_bytes,
        memory.chunk(micro_batch * masked, vocab_size, precision),
        online,
        text_gradient + memory.head_gradient(embed_dim, config.codebook_size),
    )
