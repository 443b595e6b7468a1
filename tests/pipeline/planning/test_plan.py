"""The plan: FLOPs and memory by formula against what torch counts, and where numbers come from."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from model.backbone import layers
from model.backbone.config import BackboneConfig
from model.heads.classification import Classification, ClassificationConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.retrieval import (
    DropPathNoise,
    HardNegatives,
    ImageTextPairs,
    Retrieval,
    RetrievalConfig,
)
from model.heads.segmentation import HeadConfig, Segmentation, SegmentationConfig
from model.heads.vqa import VQA, VQAConfig
from model.pretraining.batches import ImageBatch, PairBatch, PretrainingBatch, TextBatch
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from model.tokenizer.vqkd import VQKD, VQKDConfig
from pipeline.config import params, yaml_reader
from pipeline.errors import UserError
from pipeline.planning import data_cost, evaluation_cost, plan, provenance, training_cost
from pipeline.reporting.render import DASH
from pipeline.tasks import fine_tunes
from pipeline.tasks.classification import cost as classification_cost
from pipeline.tasks.nlvr2 import cost as nlvr2_cost
from pipeline.tasks.retrieval import cost as retrieval_cost
from pipeline.tasks.segmentation import cost as segmentation_cost
from pipeline.tasks.vqa import cost as vqa_cost
from pipeline.utils import flops, memory
from pipeline.utils.flops import Pass
from pipeline.utils.memory import ParameterCounts, Precision
from stages import plan as stage
from tests.helpers.tiny import ROOT

BATCH, TEXT = 2, 20
BACKBONE = BackboneConfig(
    image_size=96,
    patch_size=16,
    depth=3,
    embed_dim=96,
    num_heads=4,
    mlp_dim=384,
    vocab_size=500,
    text_length=TEXT,
    experts="mome",
    init_std=0.02,
    drop_path=0.1,
)
MASKED = MaskedModelingConfig(BACKBONE, codebook_size=64, mlm_head="transform")
HEAD = HeadConfig(
    classes=10,
    layers=[0, 1, 1, 2],
    channels=64,
    auxiliary_channels=32,
    pool_scales=[1, 2, 3],
    dropout=0.1,
)
TOKENIZER = VQKDConfig(
    image_size=64,
    patch_size=16,
    depth=2,
    decoder_depth=1,
    embed_dim=64,
    num_heads=4,
    codebook_size=128,
    codebook_dim=8,
    teacher_dim=45,
    ema_decay=0.9,
    codebook_start_step=0,
)
MASKED_COUNT = {"text": 6, "image": 12}  # of a sample


def pixels():
    return torch.rand(BATCH, 3, BACKBONE.image_size, BACKBONE.image_size)


def noise(*shape):
    return torch.rand(BATCH, *shape, BACKBONE.depth, 3)


def masked_at(length, count):
    """The first `count` positions of each sample, as a mask, as indices, and with targets."""
    masked = torch.zeros(BATCH, length, dtype=torch.bool)
    masked[:, :count] = True
    positions = masked.flatten().nonzero()[:, 0]
    return masked, positions, positions % 64


def texts():
    _, positions, targets = masked_at(TEXT, MASKED_COUNT["text"])
    return TextBatch(*ids(), positions, targets, noise())


def image_batch():
    return ImageBatch(pixels(), *masked_at(BACKBONE.patches, MASKED_COUNT["image"]), noise())


def streams(*names):
    batches = {
        "texts": texts(),
        "images": image_batch(),
        "pairs": PairBatch(texts(), image_batch(), noise()),
    }
    return PretrainingBatch(**{name: batches[name] for name in names})


def ids():
    return torch.randint(5, 500, (BATCH, TEXT)), torch.ones(BATCH, TEXT, dtype=torch.bool)


def retrieval(model):
    pair = ImageTextPairs(pixels(), *ids())

    def negatives(images, texts, log_scale):
        similar = log_scale.exp() * images @ texts.T, log_scale.exp() * texts @ images.T
        hard = HardNegatives(*pair) if model.config.matching else None
        return sum(one.square().sum() for one in similar), hard

    return sum(
        model(
            pair,
            DropPathNoise(noise(), noise(), torch.rand(3, BATCH, BACKBONE.depth, 3)),
            negatives,
        ).values()
    )


def segmentation(model):
    labels = torch.randint(0, 10, (BATCH, BACKBONE.image_size, BACKBONE.image_size))
    return sum(model(pixels(), labels, noise(), torch.rand(BATCH, 96)).values())


def encoder(precision, *passes):
    return sum(memory.encoder(BACKBONE, one, precision) for one in passes)


IMAGE = Pass(image=True)
STREAMS = (
    Pass(TEXT, read=MASKED_COUNT["text"]),
    Pass(image=True, read=MASKED_COUNT["image"]),  # of pretraining, in one pass
    Pass(TEXT, image=True, read=sum(MASKED_COUNT.values())),
)


def masked_heads(precision):
    return 2 * memory.prediction_head(
        MASKED_COUNT["text"], MASKED, precision, text=True
    ) + 2 * memory.prediction_head(MASKED_COUNT["image"], MASKED, precision, text=False)


def masked_modeling(precision, **kept):
    """Of a sample; the gradients of both heads' weights, of two losses each, do not grow with the
    batch."""
    weights = 2 * sum(
        memory.head_gradient(BACKBONE.embed_dim, classes)
        for classes in (BACKBONE.vocab_size, MASKED.codebook_size)
    )
    return (
        sum(memory.encoder(BACKBONE, one, precision, joined=True, **kept) for one in STREAMS)
        + masked_heads(precision)
        + weights / BATCH
    )


MULTIWAY = replace(BACKBONE, experts="multiway", norm_eps=1e-5)
BIASED = replace(BACKBONE, relative_bias=True)
BIASED_BY_BLOCK = replace(BIASED, bias_per_block=True)


def biased_vqa(config):
    """Its tables are not trained: of biases that are, CPUs have no fused attention."""
    model = VQA(VQAConfig(config, tuple("abcdefg")))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("relative_bias" not in name)
    return model


# Of each: the model, a forward pass of it, its FLOPs and what it keeps, of one sample.
CASES = {
    "pretraining": (
        lambda: MaskedModeling(MASKED),
        lambda m: sum(m(streams("texts", "images", "pairs")).values()),
        flops.mlm(MASKED, TEXT, 6) + flops.mim(MASKED, 12) + flops.mvlm(MASKED, TEXT, 6, 12),
        masked_modeling,
    ),
    "vqa": (
        lambda: VQA(VQAConfig(BACKBONE, tuple("abcdefg"))),
        lambda m: m(pixels(), *ids(), noise()).sum(),
        vqa_cost.sample_flops(BACKBONE, TEXT, 7),
        lambda p: encoder(p, flops.fused(TEXT)),
    ),
    "vqa of BEiT-3": (
        lambda: VQA(VQAConfig(MULTIWAY, tuple("abcdefg"), image_cls=True)),
        lambda m: m(pixels(), *ids(), noise()).sum(),
        vqa_cost.sample_flops(MULTIWAY, TEXT, 7),
        lambda p: memory.encoder(MULTIWAY, flops.fused(TEXT), p),
    ),
    "vqa with biases": (
        lambda: biased_vqa(BIASED),
        lambda m: m(pixels(), *ids(), noise()).sum(),
        vqa_cost.sample_flops(BIASED, TEXT, 7),
        lambda p: memory.encoder(BIASED, flops.fused(TEXT), p),
    ),
    "vqa of VLMo": (
        lambda: biased_vqa(BIASED_BY_BLOCK),
        lambda m: m(pixels(), *ids(), noise()).sum(),
        vqa_cost.sample_flops(BIASED_BY_BLOCK, TEXT, 7),
        lambda p: memory.encoder(BIASED_BY_BLOCK, flops.fused(TEXT), p),
    ),
    "classification of BEiT-3": (
        lambda: Classification(ClassificationConfig(MULTIWAY, 30, text=False)),
        lambda m: m(pixels(), noise()).sum(),
        classification_cost.sample_flops(MULTIWAY, 30),
        lambda p: memory.encoder(MULTIWAY, IMAGE, p),
    ),
    "nlvr2": (
        lambda: NLVR2(NLVR2Config(BACKBONE)),
        lambda m: m(torch.stack([pixels(), pixels()], 1), *ids(), noise(2)).sum(),
        nlvr2_cost.sample_flops(NLVR2Config(BACKBONE), TEXT),
        lambda p: encoder(p, *[flops.fused(TEXT)] * 2),
    ),
    "nlvr2 of BEiT-3": (
        lambda: NLVR2(NLVR2Config(MULTIWAY, image_cls=True)),
        lambda m: m(torch.stack([pixels(), pixels()], 1), *ids(), noise(2)).sum(),
        nlvr2_cost.sample_flops(NLVR2Config(MULTIWAY, image_cls=True), TEXT),
        lambda p: memory.encoder(MULTIWAY, flops.fused(TEXT), p) * 2,
    ),
    "nlvr2 of means": (
        lambda: NLVR2(NLVR2Config(BACKBONE, pooling="mean")),
        lambda m: m(torch.stack([pixels(), pixels()], 1), *ids(), noise(2)).sum(),
        nlvr2_cost.sample_flops(NLVR2Config(BACKBONE, pooling="mean"), TEXT),
        lambda p: encoder(p, *[flops.fused(TEXT, "mean")] * 2),
    ),
    "retrieval": (
        lambda: Retrieval(RetrievalConfig(BACKBONE)),
        retrieval,
        retrieval_cost.sample_flops(BACKBONE, TEXT, BATCH),
        lambda p: encoder(p, *flops.apart(TEXT), *[flops.fused(TEXT)] * 3),
    ),
    "dual encoder": (
        lambda: Retrieval(RetrievalConfig(BACKBONE, matching=False)),
        retrieval,
        retrieval_cost.sample_flops(BACKBONE, TEXT, BATCH, 0),
        lambda p: encoder(p, *flops.apart(TEXT)),
    ),
    "dual encoder of means": (
        lambda: Retrieval(RetrievalConfig(BACKBONE, matching=False, pooling="mean")),
        retrieval,
        retrieval_cost.sample_flops(BACKBONE, TEXT, BATCH, 0, "mean"),
        lambda p: encoder(p, *flops.apart(TEXT, "mean")),
    ),
    "classification": (
        lambda: Classification(ClassificationConfig(BACKBONE, 30)),
        lambda m: m(pixels(), noise()).sum(),
        classification_cost.sample_flops(BACKBONE, 30),
        lambda p: encoder(p, IMAGE),
    ),
    "segmentation": (
        lambda: Segmentation(SegmentationConfig(BACKBONE, HEAD)),
        segmentation,
        segmentation_cost.sample_flops(BACKBONE, HEAD),
        lambda p: encoder(p, IMAGE) + segmentation_cost.head_bytes(BACKBONE, HEAD, p),
    ),
    "visual tokenizer": (
        lambda: VQKD(TOKENIZER).eval(),
        lambda m: m(torch.rand(BATCH, 3, 64, 64)).features.sum(),
        flops.visual_tokenizer(TOKENIZER),
        lambda p: memory.visual_tokenizer(TOKENIZER, p),
    ),
}


def _by_onednn(x, weight, *_, **__):
    return 2 * math.prod(x) * weight[0]


def counted(work):
    """FLOPs that torch counts; its counter knows no attention on CPUs but the plain products, and
    must be told of products by oneDNN (`model.backbone.fast_linear`)."""
    mapping = {torch.ops.mkldnn._linear_pointwise: _by_onednn}
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False, custom_mapping=mapping) as counter,
    ):
        work()
    return counter.get_total_flops()


# What forward passes do of the backward pass: the loss at masked positions finds the gradients of the
# last layer.
AHEAD = {
    "pretraining": 2
    * 2
    * sum(
        flops.linear(MASKED_COUNT[half], BACKBONE.embed_dim, classes)
        for half, classes in (("text", BACKBONE.vocab_size), ("image", MASKED.codebook_size))
    )
}


@pytest.mark.parametrize("case", CASES)
def test_flops_are_those_that_torch_counts(case):
    """Forward to the last digit; the backward pass has no gradient of pixels, and of codes none to
    the encoder."""
    build, forward, expected, _ = CASES[case]
    model = build()
    assert counted(lambda: forward(model)) == BATCH * (expected + AHEAD.get(case, 0))
    step = counted(lambda: forward(model).backward())
    assert 0.9 * flops.TRAINING * BATCH * expected < step <= flops.TRAINING * BATCH * expected


def kept(model, forward, precision):
    """Bytes of what autograd keeps, parameters aside; casts of weights are in it."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage  # held, so that no other comes to have its address
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision.half),
    ):
        loss = forward(model)
    assert loss.requires_grad
    return sum(
        storage.nbytes() for pointer, storage in saved.items() if pointer not in parameters
    ) + found_ahead(loss.grad_fn)


def found_ahead(function):
    """Bytes of the gradients that losses at masked positions hold, in the graph behind a function."""
    waiting, seen, total = [function], set(), 0
    while waiting:
        if (one := waiting.pop()) is not None and one not in seen:
            seen.add(one)
            total += sum(grad.nbytes for grad in getattr(one, "grads", ()))
            waiting += [behind for behind, _ in one.next_functions]
    return total


@pytest.mark.parametrize(
    "precision", [Precision(half=False), Precision(half=True)], ids=["fp32", "bf16"]
)
@pytest.mark.parametrize("case", CASES)
def test_memory_is_what_layers_keep(case, precision, monkeypatch):
    """With the fused attention of GPUs; on CPUs, bf16 has another."""
    monkeypatch.setattr(layers, "attention", scaled_dot_product_attention)
    build, forward, _, expected = CASES[case]
    model = build()
    weights = precision.narrow * ParameterCounts.of(model).matrices if precision.half else 0
    assert BATCH * expected(precision) + weights == pytest.approx(
        kept(model, forward, precision), rel=0.03
    )


def test_activation_checkpointing_keeps_the_inputs_of_blocks():
    precision, model = Precision(half=False), MaskedModeling(MASKED)
    model.backbone.set_grad_checkpointing()
    expected = masked_modeling(precision, again=True)
    assert BATCH * expected == pytest.approx(
        kept(model, CASES["pretraining"][1], precision), rel=0.03
    )


BASE = BackboneConfig(
    image_size=224,
    patch_size=16,
    depth=12,
    embed_dim=768,
    num_heads=12,
    mlp_dim=3072,
    vocab_size=64000,
    text_length=196,
    experts="mome",
    init_std=0.02,
    drop_path=0.1,
)


def test_flops_of_the_base_size_are_the_known_ones():
    """34.9 GFLOP per image, 34.7 per text and 42.4 per pair forward; 108, 113 and 136 per step,
    with heads. What nobody reads of the last block is 4 % of these."""
    base = MaskedModelingConfig(BASE, codebook_size=8192)
    whole = [flops.encoder(BASE, Pass(*one)) for one in ((0, True), (196, False), (40, True))]
    assert whole == pytest.approx((34.9e9, 34.7e9, 42.4e9), rel=0.01)
    codes = flops.image_head(base, 75)
    heads = codes, flops.text_head(base, 29), codes + flops.text_head(base, 19)
    each = [flops.TRAINING * sum(one) for one in zip(whole, heads, strict=True)]
    assert each == pytest.approx([108e9, 113e9, 136e9], rel=0.005)
    online = 2 * flops.visual_tokens(VQKDConfig(224, 16, 12, 3, 768, 12, 8192, 32, 512, 0.99, 0))
    assert 480_000 * 2048 * (sum(each) + online) == pytest.approx(4.2e20, rel=0.01)
    computed = flops.mim(base, 75), flops.mlm(base, 196, 29), flops.mvlm(base, 40, 19, 75)
    left_out = 197 - 75, 196 - 29, 237 - 75 - 19
    for one, other, vectors in zip(each, computed, left_out, strict=True):
        assert one - 3 * other == pytest.approx(3 * vectors * 2 * (768 * 768 + 2 * 768 * 3072))


@pytest.fixture(scope="module")
def at_paper():
    """The repository's own params.yaml."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield {run.stage: run for run in training_cost.runs(params.preset("paper"))}


def test_runs_at_paper_scale(at_paper):
    main = at_paper["pretrain main"]
    assert (main.samples, main.steps, main.weights.trained) == (6144, 480_000, 247_296_000)
    assert at_paper["pretrain standard"].weights.trained == 190_608_384
    assert at_paper["finetune imagenet22k"].weights.trained == 85_789_440 + 16_795_729
    assert main.step_flops == pytest.approx(2048 * (104.3e9 + 107.4e9 + 131.5e9), rel=1e-3)
    assert main.activation_bytes(checkpointed=True) < main.activation_bytes(checkpointed=False) / 3
    retrieval_ = at_paper["finetune coco"]
    assert retrieval_.extra_flops == pytest.approx(
        3072 * sum(flops.encoder(retrieval_.backbone, one) for one in flops.apart(40)), rel=1e-3
    )


def test_state_of_replicas_and_shards():
    weights = ParameterCounts(trained=100, frozen=10, matrices=80, largest_block=20, all_blocks=80)
    assert memory.model(weights, "ddp", 0, Precision(half=False)) == 100 * 16 + 10 * 4
    assert memory.model(weights, "ddp", 4, Precision(half=True)) == 100 * 20 + 10 * 4 + 80 * 2
    assert (
        memory.model(weights, "fsdp2", 4, Precision(half=False)) == 100 * 4 + 10 + (2 * 20 + 30) * 4
    )


def test_numbers_come_from_whom_their_comments_name_first(tmp_path):
    (tmp_path / "params.yaml").write_text(
        """scale: small
stage:  # VL-BEiT §9 is not inherited from a stage
  lone: 1
  size:  # VL-BEiT §3.1, base size
    width: 768
    deep: {depth: 12, word: "a # b"}
    heads: 12  # choice; VL-BEiT §3.1: 16
  # BEiT; BEiTv2: 2e-4,
  # in two lines
  rate: 1e-3
  open:  # the values here are the choices
    scale: 0.1  # BEiT: 0.1
  loop: {threads: 8}  # VLMo
  text: none of the numbers  # VLMo
# Choice; a whole stage
other:
  lone: 2
""",
        encoding="utf-8",
    )
    sources = {
        number.key.removeprefix("stage."): number.source
        for number in provenance.numbers(tmp_path / "params.yaml")
    }
    assert sources == {
        "lone": "unstated",
        "size.width": "VL-BEiT",
        "size.deep.depth": "VL-BEiT",
        "size.heads": "choice",
        "rate": "a relative",
        "open.scale": "choice",
        "loop.threads": "how it runs",
        "other.lone": "choice",
    }


@pytest.mark.parametrize("scale", params.presets())
def test_the_plan_of_every_scale(scale, monkeypatch, capsys):
    """Printed without data, network or a file written."""
    monkeypatch.chdir(ROOT)
    stage.main(scale)
    printed = capsys.readouterr().out
    tables = [line for line in printed.splitlines() if line.startswith("|")]
    assert max(map(len, printed.splitlines())) < 200
    for name in fine_tunes.names():
        assert name in printed
    for source in set(params.subtree("download")) - {"common"}:
        assert any(line.startswith(f"| {source} ") for line in tables)
    assert ("247,296,000" in printed) == (scale in ("paper", "one-gpu"))  # base size
    assert ("winter21_whole.tar.gz" in printed) == (scale == "paper")


def test_one_gpu_takes_two_days_and_fits(monkeypatch):
    """With the visual tokens, and the fine-tunes whose data need no form."""
    monkeypatch.chdir(ROOT)
    preset = params.preset("one-gpu")
    assumed = preset.load(plan.PlanParams, "plan")
    planned = {run.stage: run for run in training_cost.runs(preset)}
    runs = [planned[stage] for stage in ("pretrain main", "finetune coco", "finetune vqa")]
    sources = data_cost.planned_sources(preset)
    tokens = evaluation_cost.visual_tokens(preset, sources)
    hours = assumed.hours(tokens.flops, tokens.precision)
    for run in runs:
        flops = (run.step_flops + run.extra_flops) * run.steps
        hours += assumed.hours(flops, run.loop.precision)
        assert run.model_bytes + run.activation_bytes(checkpointed=False) < 0.9 * assumed.memory
    assert 36 < hours < 48
    by_hand = {source.name for source in sources if source.by_hand}
    assert not by_hand & set(preset.subtree("download"))


@pytest.fixture
def paper(tmp_path):
    """The paper's scale with another block for a data set: the planned sources by name."""

    def planned(source, **origin):
        tree = yaml_reader.parse((ROOT / "params/paper.yaml").read_bytes())
        tree["download"][source] |= {"official": False, "mirrors": []} | origin
        found = data_cost.planned_sources(params.Params(ROOT / "params.yaml", tree))
        return next(each for each in found if each.name == source)

    return planned


def test_what_a_local_source_has_is_neither_fetched_nor_got_by_hand(paper, tmp_path):
    folder = tmp_path / "own"
    for name in ("train2014/1.jpg", "val2014/2.jpg"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"xyz")
    missing = paper("coco", origin="local", path=str(folder))
    assert missing.to_fetch == 0 and "dataset" in str([f.name for f in missing.by_hand])
    (folder / "dataset_coco.json").write_bytes(b"{}")
    source = paper("coco", origin="local", path=str(folder))
    assert (source.to_fetch, source.by_hand, source.raw) == (0, [], 8)


def test_images_behind_a_local_list_of_urls_are_to_be_fetched(paper, tmp_path):
    for name in ("GCC-training.tsv", "GCC-1.1.0-Validation.tsv"):
        (tmp_path / name).write_bytes(b"a\tb\n")
    source = paper("cc3m", origin="local", path=str(tmp_path))
    assert source.to_fetch > 1e11 and not source.by_hand


@pytest.mark.parametrize("origin", ["local", "upstream"])
def test_class_folders_stand_for_the_tars_that_are_got_by_hand(paper, tmp_path, origin):
    (tmp_path / "train/n01440764").mkdir(parents=True)
    (tmp_path / "train/n01440764/n01440764_1.JPEG").write_bytes(b"xyz")
    source = paper("imagenet22k", origin=origin, path=str(tmp_path))
    assert source.to_fetch == 0 and not source.by_hand


def test_a_part_of_a_data_set_takes_its_own_files_and_no_byte_more_than_the_whole(paper):
    part = paper("coco-test")
    assert [file.name for file in part.files] == ["val2014.zip", "caption_datasets.zip"]
    assert part.to_fetch == 6_645_013_297 + 36_745_453
    assert (part.records, part.tested) == (5000, 5000)
    both = [paper("coco"), part]
    assert data_cost.to_fetch(both) == data_cost.raw(both) == both[0].to_fetch
    assert [file.name for file in paper("nlvr2-test").by_hand] == ["dev_img.zip", "test1_img.zip"]


@pytest.mark.parametrize("name", ["coco", "imagenet22k", "wikipedia", "coco-test"])
def test_a_source_that_is_left_out_takes_nothing(paper, name):
    source = paper(name, origin="none")
    assert source.files == [] and plan._source_row(source, None)[3:] == [
        "0 B",
        DASH,
        DASH,
        DASH,
        f"0 {source.unit}",
        DASH,
    ]
    assert not any((source.raw, source.to_fetch, source.core_seconds, source.images, source.tested))


def test_an_unknown_scale_is_named(monkeypatch):
    monkeypatch.chdir(ROOT)
    known = "medium, one-gpu, own, paper, small"
    with pytest.raises(UserError, match=f"^unknown scale 'huge'; one of {known}$"):
        stage.main("huge")
