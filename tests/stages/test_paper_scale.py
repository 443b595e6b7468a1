"""The preset `paper` is VL-BEiT: sizes, initialization, rates and batches, built from
params/paper.yaml itself."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from model.backbone.config import PAD_ID, BackboneConfig
from model.heads.classification import Classification, ClassificationConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.heads.segmentation import Segmentation, SegmentationConfig
from model.heads.vqa import VQA, VQAConfig
from pipeline.config import params
from pipeline.data.loading.sampler import MicroBatch, StreamSampler
from pipeline.pretraining.task import build
from pipeline.pretraining.variants import ArchitectureParams, PretrainParams, load_params
from pipeline.tasks import fine_tunes
from pipeline.tokenizers import vqkd_training
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams
from pipeline.tokenizers.text.own_pieces import SPECIAL_IDS
from pipeline.training.optim import (
    OptimParams,
    adamw,
    learning_rate,
    parameter_groups,
    set_learning_rate,
)

PAPER = params.preset("paper")
VARIANTS = {name: load_params(PAPER, name) for name in PAPER.subtree("pretrain.variants")}
MAIN = VARIANTS["main"]
WORDS = PAPER.load(TextTokenizerParams, "text_tokenizer").vocab_size
TOKENIZER = vqkd_training.load_params(PAPER)
FINE_TUNES = {
    name: fine_tunes.load(name)
    for name in ("vqa", "nlvr2", "coco", "flickr30k", "imagenet22k", "imagenet1k", "ade20k")
}
TUNES = {name: fine_tune.load_params(PAPER) for name, fine_tune in FINE_TUNES.items()}
LAYERS = range(1, 13)
EFFECTIVE = 0.0108  # deviation of N(0, 0.02) cut at +-0.02


def pretrained(variant="main", **architecture):
    """A pretraining model of the paper's size, with other values of `architecture`."""
    chosen = VARIANTS[variant]
    chosen = replace(chosen, architecture=replace(chosen.architecture, **architecture))
    return build(chosen, WORDS, TOKENIZER.dimensions.codebook_size)


def tuned(name: str, backbone: BackboneConfig, **head: int) -> nn.Module:
    """The model of a fine-tune, as its task builds it; head: other sizes of the segmentation
    heads."""
    tune = TUNES[name]
    config = replace(backbone, image_size=tune.inputs.image_size, drop_path=tune.drop_path)
    return {
        "vqa": lambda: VQA(VQAConfig(config, tuple(map(str, range(3129))))),
        "nlvr2": lambda: NLVR2(NLVR2Config(config)),
        "retrieval": lambda: Retrieval(RetrievalConfig(config)),
        "classification": lambda: Classification(ClassificationConfig(config, tune.classes)),
        "segmentation": lambda: Segmentation(
            SegmentationConfig(config, replace(tune.head, **head), tune.inputs.normalize)
        ),
    }[FINE_TUNES[name].task]()


def count(*parts: nn.Module | nn.Parameter) -> int:
    return sum(
        p.numel()
        for part in parts
        for p in ([part] if isinstance(part, nn.Parameter) else part.parameters())
    )


@pytest.fixture(scope="module")
def meta():
    """Pretraining models, and the models of all fine-tunes, without memory."""
    with torch.device("meta"):
        main, standard = pretrained(), pretrained("standard")
        return {
            "main": main,
            "standard": standard,
            **{name: tuned(name, main.backbone.config) for name in FINE_TUNES},
        }


# Sizes


def test_parameters_of_the_backbone_are_those_of_the_arithmetic(meta):
    backbone, standard = meta["main"].backbone, meta["standard"].backbone
    block, experts = (
        backbone.blocks[5],
        (backbone.blocks[5].text_expert, backbone.blocks[5].image_expert),
    )
    assert count(backbone.patch_embed) == 590_592 and count(backbone.image_positions) == 151_296
    assert count(backbone.image_cls, backbone.mask_token) == 1_536
    assert count(backbone.word_embed) == 49_152_000 and count(backbone.text_positions) == 150_528
    assert count(block.attn) == 2_361_600 and [count(expert.mlp) for expert in experts] == 2 * [
        4_722_432
    ]
    assert count(block) == 11_811_072 and count(standard.blocks[5]) == 7_087_104
    assert count(backbone) == 191_780_352 and count(standard) == 135_092_736


def test_parameters_of_pretraining_are_those_of_the_arithmetic(meta):
    assert count(meta["main"].mim_head) == 6_299_648 and count(meta["main"].mlm_head) == 49_216_000
    assert count(meta["main"]) == 247_296_000 and count(meta["standard"]) == 190_608_384


def test_parameters_that_a_stream_alone_meets(meta):
    backbone = meta["main"].backbone
    blocks = sum(count(block.norm, block.attn) for block in backbone.blocks) + count(backbone.norm)
    image = blocks + sum(count(block.image_expert) for block in backbone.blocks)
    text = blocks + sum(count(block.text_expert) for block in backbone.blocks)
    assert (
        image + count(backbone.patch_embed, backbone.image_cls, backbone.image_positions)
        == 85_789_440
    )
    assert text + count(backbone.word_embed, backbone.text_positions) == 134_349_312


def test_parameters_of_the_heads_are_those_of_the_arithmetic(meta):
    for name in ("vqa", "nlvr2", "coco"):
        assert count(meta[name].pooler) == 590_592
    assert (
        count(meta["vqa"].classifier) == 5_993_529 and count(meta["nlvr2"].classifier) == 2_366_978
    )
    retrieval = meta["flickr30k"]
    assert (
        count(retrieval.image_projection, retrieval.text_projection) == 1_179_648
        and count(retrieval.match) == 1_538
    )
    assert count(meta["imagenet1k"].norm, meta["imagenet1k"].head) == 770_536
    assert count(meta["imagenet22k"].head) == 16_795_729
    segmentation = meta["ade20k"]
    parts = segmentation.decode_head, segmentation.auxiliary_head, segmentation.neck
    assert [count(part) for part in parts] == [67_963_542, 1_808_534, 7_081_728]


def test_options_add_what_the_arithmetic_says():
    def added(**change):
        with torch.device("meta"):
            return count(pretrained(**change)) - 247_296_000

    assert added(layer_scale=0.1) == 18_432 and added(token_types=True) == 1_536
    assert added(vl_ffn_start_layer=10) == 9_447_936
    assert (
        added(mlm_head="tied") == 198_144_000 - 247_296_000
        and added(mlm_head="transform") == 592_128
    )
    assert added(relative_bias=True) == 12 * (27**2 + 3 + 2 * 196 - 1 + 2)


def test_options_reach_the_model():
    with torch.device("meta"):
        config = pretrained(
            mvlm_mode="separate",
            mlm_head="tied",
            visual_tokens="online",
            layer_scale=0.2,
            relative_bias=True,
            token_types=True,
            vl_ffn_start_layer=9,
        ).config
    assert (config.mvlm_mode, config.mlm_head) == ("separate", "tied")
    backbone = config.backbone
    assert (backbone.layer_scale, backbone.relative_bias, backbone.token_types) == (0.2, True, True)
    assert backbone.vl_ffn_start_layer == 9 and backbone.text_length == 196


def test_resolutions_and_depths(meta):
    assert {name: model.backbone.config.grid for name, model in meta.items()} == {
        "main": 14,
        "standard": 14,
        "vqa": 30,
        "nlvr2": 24,
        "coco": 24,
        "flickr30k": 24,
        "imagenet22k": 14,
        "imagenet1k": 14,
        "ade20k": 32,
    }
    rates = meta["main"].backbone.drop_rates(torch.device("cpu"))
    assert rates.tolist() == pytest.approx([0.1 * layer / 11 for layer in range(12)])
    norms = {module.eps for module in meta["main"].modules() if isinstance(module, nn.LayerNorm)}
    assert norms == {1e-6}
    heads = {
        module.eps
        for name in ("vqa", "nlvr2")
        for module in meta[name].classifier.modules()
        if isinstance(module, nn.LayerNorm)
    }
    assert heads == {1e-5}  # VLMo's heads have PyTorch's own


# Initialization


def _narrow(variant: PretrainParams) -> PretrainParams:
    size = replace(variant.dimensions, embed_dim=96, num_heads=2, mlp_dim=384)
    architecture = replace(variant.architecture, token_types=True, vl_ffn_start_layer=0)
    return replace(variant, dimensions=size, architecture=architecture)


@pytest.fixture(scope="module")
def started():
    """Pretraining models of the paper's depth, and the models of fine-tunes, narrower; MoME has an
    expert for pairs."""
    models = {name: build(_narrow(VARIANTS[name]), 4000, 2000) for name in ("main", "standard")}
    torch.manual_seed(0)
    config, channels = models["main"].backbone.config, {"channels": 64, "auxiliary_channels": 32}
    return models | {
        name: tuned(name, config, **channels)
        for name in ("vqa", "nlvr2", "coco", "imagenet1k", "ade20k")
    }


def assert_spread(tensor, deviation, cut=None):
    """A normal's deviation to within five of its own standard errors, centred; nothing beyond
    `cut`."""
    error = 5 / math.sqrt(2 * tensor.numel())
    assert tensor.std().item() == pytest.approx(deviation, rel=error)
    assert abs(tensor.mean().item()) < 5 * deviation / math.sqrt(tensor.numel())
    assert cut is None or tensor.abs().max().item() <= cut * (1 + 1e-6)


assert_cut = partial(assert_spread, deviation=EFFECTIVE, cut=0.02)


@pytest.mark.parametrize("variant", ["main", "standard"])
def test_every_kind_of_weight_starts_from_the_truncated_normal(started, variant):
    model, backbone = started[variant], started[variant].backbone
    for tensor in (
        backbone.patch_embed.weight,
        backbone.image_positions,
        backbone.text_positions,
        model.mim_head.weight,
        model.mlm_head.weight,
        backbone.token_types,
    ):
        assert_cut(tensor)
    for vector in (backbone.image_cls, backbone.mask_token):  # 96 numbers each
        assert 0.006 < vector.std() < 0.015 and vector.abs().max() <= 0.02
    words = backbone.word_embed.weight
    assert_cut(torch.cat([words[:PAD_ID], words[PAD_ID + 1 :]]))
    assert not words[PAD_ID].any() and PAD_ID == SPECIAL_IDS["[PAD]"]


@pytest.mark.parametrize(
    ("variant", "experts"),
    [("main", ("text_expert", "image_expert", "pair_expert")), ("standard", ("expert",))],
)
@pytest.mark.parametrize("layer", LAYERS)
def test_blocks_are_rescaled_by_their_depth(started, variant, experts, layer):
    block, factor = started[variant].backbone.blocks[layer - 1], 1 / math.sqrt(2 * layer)
    assert_cut(block.attn.qkv.weight)
    assert_spread(block.attn.proj.weight, EFFECTIVE * factor, 0.02 * factor)
    for expert in (getattr(block, name) for name in experts):
        assert_cut(expert.mlp.fc1.weight)
        assert_spread(expert.mlp.fc2.weight, EFFECTIVE * factor, 0.02 * factor)


@pytest.mark.parametrize("name", ["main", "standard", "vqa", "nlvr2", "coco", "imagenet1k"])
def test_biases_start_at_zero_and_norms_at_one(started, name):
    model = started[name]
    biases = [p for key, p in model.named_parameters() if key.endswith("bias")]
    assert len(biases) > 80 and not any(p.any() for p in biases)
    norms = [module.weight for module in model.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) > 24 and all((weight == 1).all() for weight in norms)


def test_new_heads(started):
    vqa, nlvr2, retrieval = started["vqa"], started["nlvr2"], started["coco"]
    for layer in (
        vqa.pooler.dense,
        vqa.classifier[0],
        vqa.classifier[3],
        nlvr2.pooler.dense,
        nlvr2.classifier[0],
        nlvr2.classifier[3],
        retrieval.pooler.dense,
        retrieval.match,
        retrieval.image_projection,
        retrieval.text_projection,
    ):
        assert_spread(layer.weight, 0.02)
    assert retrieval.log_scale.item() == pytest.approx(2.6593, abs=1e-4)
    assert_spread(started["imagenet1k"].head.weight, 0.02 * 0.001)
    segmentation = started["ade20k"]
    assert_spread(segmentation.decode_head.classify.weight, 0.01)
    assert_spread(segmentation.auxiliary_head.classify.weight, 0.01)
    kernel = segmentation.decode_head.fuse[0].weight  # He's normal of what comes out
    assert_spread(kernel, math.sqrt(2 / (kernel.shape[0] * 9)))
    assert not TUNES["vqa"].init_bias_from_frequency  # the classifier's biases start at zero, too


# Optimisation


def optim_of(name: str) -> OptimParams:
    return VARIANTS[name] if name in VARIANTS else TUNES[name]


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        (
            "main",
            {
                0: 0,
                5_000: 1e-3,
                10_000: 2e-3,
                127_500: 1e-5 + 1.99e-3 * (2 + math.sqrt(2)) / 4,
                245_000: 1.005e-3,
                362_500: 1e-5 + 1.99e-3 * (2 - math.sqrt(2)) / 4,
            },
        ),
        ("all", {10_000: 2e-3, 101_000: 1.005e-3}),
        ("vqa", {0: 0, 2_550: 1.5e-5, 5_100: 3e-5, 28_050: 1.5e-5, 51_000: 0}),
        ("coco", {150: 1.5e-5, 300: 3e-5, 1_650: 1.5e-5, 3_000: 0}),
        ("flickr30k", {75: 1.5e-5, 150: 3e-5, 825: 1.5e-5}),
        ("nlvr2", {675: 5e-5, 6_748: 0}),
        ("imagenet22k", {8_661: 1.5e-3, 17_322: 3e-3, 164_556: 1e-6 + 2.999e-3 / 2}),
        ("imagenet1k", {12_510: 2e-5, 43_785: 1e-6 + 1.9e-5 / 2}),
        ("ade20k", {750: 1.5e-5, 1_500: 3e-5, 80_750: 1.5e-5, 160_000: 0}),
    ],
)
def test_rates_at_chosen_steps(name, rates):
    assert {step: learning_rate(step, optim_of(name)) for step in rates} == pytest.approx(
        rates, rel=1e-9, abs=1e-20
    )


@pytest.mark.parametrize(
    ("name", "decay"),
    [
        ("imagenet22k", 0.65),
        ("imagenet1k", 0.85),
        ("ade20k", 0.9),
        ("nlvr2", 1.0),
        ("coco", 1.0),
        ("vqa", 1.0),
    ],
)
def test_layers_learn_at_their_own_rates(meta, name, decay):
    model, tune = meta[name], TUNES[name]
    optimizer = adamw(model, tune)
    set_learning_rate(optimizer, 1.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert optimizer.defaults["betas"] == tuple(tune.betas) and optimizer.defaults["eps"] == 1e-8
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert id(parameter) not in rates
            continue
        layer = (
            13
            if not key.startswith("backbone.") or key.startswith("backbone.norm")
            else int(key.split(".")[2]) + 1
            if key.startswith("backbone.blocks")
            else 0
        )
        head = 20.0 if name == "vqa" and key.startswith("classifier") else 1.0
        assert rates[id(parameter)] == pytest.approx(head * decay ** (13 - layer)), key


@pytest.mark.parametrize("name", ["main", "standard", *FINE_TUNES])
def test_weight_decay_spares_vectors_positions_and_cls(meta, name):
    model, optim = meta[name], optim_of(name)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    found = {
        names[id(p)]: group["weight_decay"]
        for group in parameter_groups(model, optim)
        for p in group["params"]
    }
    spared = {"backbone.image_positions", "backbone.text_positions", "backbone.image_cls"}
    assert found == {
        key: 0.0 if p.ndim <= 1 or key.endswith("bias") or key in spared else optim.weight_decay
        for key, p in model.named_parameters()
        if p.requires_grad
    }
    if name in VARIANTS:
        assert found["backbone.mask_token"] == found["backbone.word_embed.weight"] == 0.05


def test_only_pretraining_clips_gradients():
    assert {variant.max_grad_norm for variant in VARIANTS.values()} == {3.0}
    assert {tune.max_grad_norm for tune in TUNES.values()} == {0.0}


# Batches


STREAMS = {
    f"pretrain {name}": (
        getattr(MAIN.data, name).order,
        MAIN.loop,
        MAIN.num_workers,
    )
    for name in ("texts", "images", "pairs")
}
BATCHES = (
    STREAMS
    | {name: (tune.inputs.order, tune.loop, tune.num_workers) for name, tune in TUNES.items()}
    | {"tokenizer": (TOKENIZER.order, TOKENIZER.loop, TOKENIZER.num_workers)}
)


def test_global_batches_are_the_papers():
    assert {name: order.batch_size for name, (order, _, _) in BATCHES.items()} == {
        "pretrain texts": 2048,
        "pretrain images": 2048,
        "pretrain pairs": 2048,
        "vqa": 128,
        "nlvr2": 128,
        "coco": 3072,
        "flickr30k": 3072,
        "imagenet22k": 4096,
        "imagenet1k": 512,
        "ade20k": 16,
        "tokenizer": 512,
    }


@pytest.mark.parametrize("name", BATCHES)
def test_workers_and_accumulation_keep_the_global_batch(name):
    """The micro-batches of params.yaml, shared out by as many workers as it names or by fewer."""
    params, loop, workers = BATCHES[name]
    order = StreamSampler([7] * 2 * params.streams, params, 1, name)
    whole = [index.position for index in order.samples(MicroBatch(3))]
    assert (
        whole == list(range(3 * params.batch_size, 4 * params.batch_size))
        and loop.gradient_accumulation % workers == 0
    )
    for cuts in (1, workers, loop.gradient_accumulation):
        assert [
            index.position
            for index in range(cuts)
            for index in order.samples(MicroBatch(3, index, cuts))
        ] == whole


# What the paper leaves open


@pytest.mark.parametrize("scale", params.presets())
def test_open_questions_have_the_recommended_answers(scale):
    preset = params.preset(scale)
    main = load_params(preset, "main")
    assert main.architecture == ArchitectureParams(
        experts="mome",
        mvlm_mode="separate" if scale == "small" else "joint",
        mlm_head="linear",
        visual_tokens="precomputed",
        layer_scale=0.0,
        relative_bias=False,
        bias_per_block=False,
        absolute_positions=True,
        word_norm=False,
        token_types=False,
        vl_ffn_start_layer=None,
    )
    weights = dict(vars(main.loss_weights))
    if scale == "small":
        assert (weights.pop("mvlm_text"), weights.pop("mvlm_image")) == (4.0, 3.0)
    assert set(weights.values()) == {1.0}
    for task in ("retrieval", "nlvr2"):
        pooling = preset.subtree(f"finetune.{task}.pooling")
        assert pooling == ("mean" if scale == "small" else "cls")
    assert (main.masks.text_mask_ratio, main.masks.caption_mask_ratio) == (0.15, 0.5)
    assert main.dimensions.text_length == preset.subtree("text_tokens.max_length")


def test_text_lengths_and_masks_of_the_paper():
    assert (MAIN.dimensions.text_length, MAIN.dimensions.caption_length) == (196, 40)
    assert {TUNES[name].inputs.text_length for name in ("vqa", "nlvr2", "coco", "flickr30k")} == {
        40
    }
    assert (MAIN.masks.num_masked_patches, MAIN.masks.min_block) == (75, 16)
