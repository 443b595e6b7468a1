"""VLMo's files: models with the outputs of VLMo come out, by a reference that shares nothing with
them; all facts about the real files that can be checked without these; damaged ones are refused."""

from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RectBivariateSpline

from model import checkpoint
from model.backbone.rel_pos_bias import RelativeBias, geometric_offsets
from model.backbone.vl_beit import VLBeit
from model.heads.nlvr2 import NLVR2
from model.heads.retrieval import Retrieval, RetrievalConfig
from pipeline.errors import UserError
from pipeline.released import state_dict, vlmo
from pipeline.released.vlmo import BASE, IMAGE_SIZES, Task, backbone_config
from pipeline.utils import model_folder
from tests.helpers.doc_examples import run_example
from tests.helpers.relative_error import assert_near
from tests.helpers.vlmo import Sizes, VLMo, row, rows, shapes, tensors

TINY = Sizes()
ANSWERS = ("net", "", "pitcher")
TASKS = tuple(IMAGE_SIZES)
TINY_CONFIG = replace(
    BASE,
    image_size=16,
    patch_size=4,
    depth=4,
    embed_dim=16,
    num_heads=2,
    mlp_dim=32,
    vocab_size=40,
    vl_ffn_start_layer=2,
)
IDS = [[21, 5, 9, 33, 22], [21, 7, 22]]
INDEX_TABLES = {
    "text_embeddings.position_ids": torch.arange(40)[None],
    "relative_position_index": torch.zeros(17, 17, dtype=torch.int64),
    "text_relative_position_index": torch.zeros(40, 40, dtype=torch.int64),
    "text_imag_relative_position_index": torch.zeros(57, 57),
}


def config(task: Task, image_size: int = 16):
    return replace(backbone_config(task, TINY_CONFIG), image_size=image_size)


def saved(path, task, change=lambda tensors: tensors, wrapper="state_dict"):
    content = change(tensors(task, TINY, len(ANSWERS)))
    torch.save({wrapper: content, "epoch": 3} if wrapper else content, path)
    return path


def imported(path, task, **options):
    return read(saved(path, task, **options), task, config(task))


def read(path, task, backbone, answers=ANSWERS):
    return vlmo.read(state_dict.read(path), task, backbone, answers)


def batch():
    """Two texts of different lengths and four images."""
    generator = torch.Generator().manual_seed(1)
    ids, mask = torch.zeros(2, 6, dtype=torch.int64), torch.zeros(2, 6, dtype=torch.bool)
    for number, text in enumerate(IDS):
        ids[number, : len(text)], mask[number, : len(text)] = torch.tensor(text), True
    return torch.rand(4, 3, 16, 16, generator=generator) * 2 - 1, ids, mask


@pytest.mark.parametrize("task", ["coco", "flickr30k", "pretrained"])
def test_images_and_texts_have_the_vectors_of_vlmo(tmp_path, task):
    model, reference = imported(tmp_path / "x", task), VLMo(tensors(task, TINY), TINY)
    pixels, ids, mask = batch()
    images = [reference.unit("itc_image_proj", reference.image(image)[0]) for image in pixels]
    texts = [reference.unit("itc_text_proj", reference.text(text)[0]) for text in IDS]
    assert_near(model.encode_image(pixels), images)
    assert_near(model.encode_text(ids, mask), texts)
    assert model.log_scale.item() == pytest.approx(tensors(task, TINY)["logit_scale"].item())
    assert model.config.matching == (task == "pretrained")
    if task == "pretrained":
        pairs = zip(IDS, pixels[:2], strict=True)
        pooled = [reference.pooled(*pair) for pair in pairs]
        matches = [reference.linear("itm_score.fc", vector) for vector in pooled]
        assert_near(model.match_logits(pixels[:2], ids, mask), matches)


def test_all_vectors_of_pairs_are_those_of_vlmo(tmp_path):
    model, reference = imported(tmp_path / "x", "vqa"), VLMo(tensors("vqa", TINY, 3), TINY)
    pixels, ids, mask = batch()
    encoded = model.backbone(pixels[:2], ids, text_mask=mask)
    for number, text in enumerate(IDS):
        vectors = reference.pair(text, pixels[number])
        assert_near(encoded.text[number, : len(text)], vectors[: len(text)])
        assert_near(encoded.image[number], vectors[len(text) :])


def test_answers_are_those_of_vlmo(tmp_path):
    model, reference = imported(tmp_path / "x", "vqa"), VLMo(tensors("vqa", TINY, 3), TINY)
    pixels, ids, mask = batch()
    pooled = [reference.pooled(text, image) for text, image in zip(IDS, pixels[:2], strict=True)]
    expected = [reference.classify("vqa_classifier", vector) for vector in pooled]
    assert_near(model(pixels[:2], ids, mask), expected)
    assert model.config.answers == ANSWERS


def test_statements_of_two_images_are_judged_as_by_vlmo(tmp_path):
    model, reference = imported(tmp_path / "x", "nlvr2"), VLMo(tensors("nlvr2", TINY), TINY)
    pixels, ids, mask = batch()
    expected = []
    for number, text in enumerate(IDS):
        left, right = pixels[2 * number], pixels[2 * number + 1]
        both = torch.cat([reference.pooled(text, left, 1), reference.pooled(text, right, 2)])
        expected.append(reference.classify("nlvr2_classifier", both))
    assert_near(model(pixels.unflatten(0, (2, 2)), ids, mask), expected)


@pytest.mark.parametrize("wrapper", ["state_dict", "module", "model", None])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_layout_of_a_file_gives_equal_weights(tmp_path, wrapper, prefix, dtype):
    def change(content):
        content |= INDEX_TABLES
        return {f"{prefix}{name}": tensor.to(dtype) for name, tensor in content.items()}

    model = imported(tmp_path / "x", "coco", change=change, wrapper=wrapper)
    rounded = {name: tensor.to(dtype).float() for name, tensor in tensors("coco", TINY).items()}
    expected = imported(tmp_path / "y", "coco", change=lambda _: rounded)
    assert model.state_dict().keys() == expected.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, expected.state_dict()[name])


def test_a_retrieval_file_may_keep_heads_of_the_pretraining(tmp_path):
    kept = {"pretrained": tensors("pretrained", TINY)}
    model = imported(tmp_path / "x", "coco", change=lambda own: kept["pretrained"] | own)
    assert isinstance(model, Retrieval) and not model.config.matching
    for name in ("pooler.dense.weight", "text_embeddings.position_embeddings.weight"):
        imported(
            tmp_path / "x", "coco", change=lambda own, name=name: own | {name: own.pop(name)[:7]}
        )
    with pytest.raises(
        UserError, match=r"too many, such as itc_text_proj\.fc\.weight; is it VLMo's"
    ):
        imported(tmp_path / "x", "nlvr2", change=lambda own: kept["pretrained"] | own)


@pytest.mark.parametrize("task", TASKS)
def test_a_model_folder_comes_out_that_others_start_from(tmp_path, task):
    model = imported(tmp_path / "x", task)
    model_folder.save(model, tmp_path / "model")
    loaded = checkpoint.load(tmp_path / "model")
    assert loaded.config == model.config and type(loaded) is type(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    target = VLBeit(replace(model.backbone.config, image_size=24, second_image_type=True))
    report = checkpoint.load_backbone(target, tmp_path / "model")
    types = [] if task == "nlvr2" else ["token_types"]
    table = [f"blocks.{block}.relative_bias.image_table" for block in range(4)]
    assert report.resized == types + table and not report.missing
    if task != "nlvr2":  # the second image starts as the first
        assert torch.equal(target.token_types[2], model.backbone.token_types[1])


def test_a_start_at_another_resolution_resizes_the_table_of_each_block_as_vlmo(tmp_path):
    model_folder.save(imported(tmp_path / "x", "coco"), tmp_path / "model")
    target = VLBeit(config("coco", 28))
    checkpoint.load_backbone(target, tmp_path / "model")
    table = tensors("coco", TINY)["relative_position_bias_table"]
    offsets = geometric_offsets(3, 6)
    whole = torch.arange(-6, 7).clamp(offsets[0], offsets[-1]).numpy()
    for block in range(4):
        bias = target.blocks[block].relative_bias
        for head in range(2):
            column = table[:, 2 * block + head]
            spline = RectBivariateSpline(offsets, offsets, column[:49].view(7, 7).numpy(), s=0)
            expected = torch.from_numpy(spline(whole, whole)).flatten()
            torch.testing.assert_close(
                bias.image_table[:-3, head].double(), expected, atol=1e-5, rtol=0
            )
            assert torch.equal(bias.image_table[-3:, head], column[49:52])


# What can be known of the real files (numbers of the original networks).


@pytest.mark.parametrize(
    ("task", "count"), [("pretrained", 292), ("coco", 281), ("vqa", 284), ("nlvr2", 284)]
)
def test_tensors_of_the_base_model(task, count):
    sizes = Sizes(IMAGE_SIZES[task] // 16, 16, 12, 768, 12, 3072, 30_522, 10)
    listed = shapes(task, sizes)
    assert len(listed) == count
    cls, model_config = vlmo.model_config(
        task, backbone_config(task), [str(n) for n in range(3129)]
    )
    ours = state_dict.shapes_of(lambda: cls(model_config))
    read = vlmo.their_shapes(ours, task, backbone_config(task))
    left = {name for name in listed if name not in read}
    assert read.items() <= listed.items()
    unused = {"text_embeddings.position_embeddings.weight"}
    retrieval = {"pooler.dense.weight", "pooler.dense.bias"}
    assert left == {
        "pretrained": unused
        | {n for n in listed if n.startswith(("mlm_score", "itc_vl", "logit_vl"))},
        "coco": unused | retrieval,
    }.get(task, unused)


def test_numbers_of_the_base_model():
    sizes = Sizes(14, 16, 12, 768, 12, 3072, 30_522, 10)
    listed = shapes("pretrained", sizes)

    def numbers(*parts, of=listed):
        return sum(
            torch.Size(shape).numel()
            for name, shape in of.items()
            if any(part in name for part in parts)
        )

    blocks = {name: shape for name, shape in listed.items() if ".blocks." in name}
    assert (
        numbers("transformer.", of={k: v for k, v in listed.items() if k.startswith("transformer")})
        == 151_792_128
    )
    assert numbers("attn", "norm1", "gamma", of=blocks) == 28_376_064
    assert numbers("_text", of=blocks) == numbers("_imag", of=blocks) == 56_687_616
    assert numbers("_vl", of=blocks) == 9_447_936
    assert numbers("text_embeddings") == 23_474_688
    assert numbers("relative_position_bias_table") == 162_144
    assert numbers("vqa_classifier", of=shapes("vqa", sizes)) == 5_993_529
    assert numbers("nlvr2_classifier", of=shapes("nlvr2", sizes)) == 2_366_978


@pytest.mark.parametrize(
    ("pixels", "entries", "total"),
    [(224, 1126, 27_314_565), (384, 2606, 474_825_505), (480, 3878, 1_672_736_389)],
)
def test_the_table_of_the_base_model_is_read_where_vlmo_reads_it(pixels, entries, total):
    """Each row holds its own number, so that biases are indices."""
    assert vlmo.image_rows(replace(BASE, image_size=pixels)) == entries - 394
    index = indices(replace(BASE, image_size=pixels), 40)
    assert index.sum().item() == total and index.shape == (41 + (pixels // 16) ** 2,) * 2
    if pixels == 224:
        text, image = index[:40, :40], index[40:, 40:]
        pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (1, 39), (39, 1)]
        assert [text[pair] for pair in pairs] == [1125, 1123, 1124, 928, 929, 927, 966, 890]
        assert [image[place] for place in ((1, 1), (1, 196), (196, 1))] == [364, 0, 728]


def test_a_small_table_is_read_where_vlmo_reads_it():
    expected = """405 403 403  12  12  12  12  12
                  404 208 209  12  12  12  12  12
                  404 207 208  12  12  12  12  12
                   13  13  13  11   9   9   9   9
                   13  13  13  10   4   3   1   0
                   13  13  13  10   5   4   2   1
                   13  13  13  10   7   6   4   3
                   13  13  13  10   8   7   5   4"""
    grid = [[int(number) for number in line.split()] for line in expected.splitlines()]
    assert indices(replace(BASE, image_size=32), 3).tolist() == grid == rows(2, 3, True).tolist()
    assert row(2, ("image", 4), ("image", 1)) == 8


def indices(backbone, text):
    """The rows of VLMo's table that a block of ours reads, of `text` tokens before an image."""
    entries = (2 * backbone.grid - 1) ** 2 + 397
    backbone = replace(backbone, depth=1, num_heads=1, vl_ffn_start_layer=None)
    tables = vlmo.split_table(torch.arange(float(entries))[:, None], backbone)
    bias = RelativeBias(1, backbone.grid, backbone.text_length, text_cls=True)
    bias.load_state_dict({name.rpartition(".")[2]: table for name, table in tables.items()})
    return bias(text, 1 + backbone.patches)[0].long()


@pytest.mark.parametrize(
    ("grid", "ratio"),
    [(24, 1.0903074455), (30, 1.1250559044), (32, 1.1349178123), (40, 1.1685036278)],
)
def test_places_of_resized_tables_are_beits(grid, ratio):
    offsets = geometric_offsets(13, grid - 1)
    steps = offsets[15:] - offsets[14:-1]
    assert steps[-1] / steps[-2] == pytest.approx(ratio, abs=5e-10)
    if grid == 24:
        assert offsets[-1] == pytest.approx(22.999934, abs=5e-7)


def test_what_all_keys_share_changes_nothing(tmp_path):
    pixels, ids, mask = batch()

    def outputs(change):
        def changed(content):
            content["relative_position_bias_table"] += change
            return content

        model = imported(tmp_path / "x", "pretrained", change=changed)
        texts = model.encode_text(ids, mask)
        return model.encode_image(pixels), texts, model.match_logits(pixels[:2], ids, mask)

    plain = outputs(0.0)
    column, crossing = torch.zeros(49 + 397, 8), torch.zeros(49 + 397, 8)
    column[:, 3] = 0.7
    crossing[52:54] = 0.7
    for before, after in zip(plain, outputs(column), strict=True):
        torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-5)
    images, texts, matches = outputs(crossing)
    assert torch.equal(images, plain[0]) and torch.equal(texts, plain[1])
    assert not torch.allclose(matches, plain[2], atol=1e-4)


def test_padding_further_changes_nothing(tmp_path):
    model = imported(tmp_path / "x", "pretrained")
    pixels, ids, mask = batch()
    longer = torch.nn.functional.pad(ids, (0, 30), value=3), torch.nn.functional.pad(mask, (0, 30))
    torch.testing.assert_close(model.encode_text(*longer), model.encode_text(ids, mask))
    torch.testing.assert_close(
        model.match_logits(pixels[:2], *longer), model.match_logits(pixels[:2], ids, mask)
    )
    with pytest.raises(ValueError, match="41 tokens; biases are made for 40"):
        model.encode_text(torch.ones(1, 41, dtype=torch.int64), None)


# Damaged files


TINY_NAMES = {
    task: [name for name in shapes(task, TINY, 3) if "position_embeddings" not in name]
    for task in ("vqa", "nlvr2")
}


@given(data=st.data(), task=st.sampled_from(["vqa", "nlvr2"]))
@settings(max_examples=25)
def test_every_damaged_tensor_is_refused_by_name(tmp_path_factory, data, task):
    name = data.draw(st.sampled_from(TINY_NAMES[task]))
    kind = data.draw(st.sampled_from(["absent", "longer", "flat", "whole", "nan", "renamed"]))

    def damaged(content):
        tensor = content.pop(name)
        changed = {
            "longer": torch.cat([tensor, tensor]),
            "flat": tensor.flatten()[:-1],
            "whole": tensor.long(),
            "nan": tensor.fill_(float("nan")),
        }.get(kind)
        new = {f"{name}_": tensor} if kind == "renamed" else {}
        return content | new | ({} if changed is None else {name: changed})

    path = saved(tmp_path_factory.getbasetemp() / "damaged", task, change=damaged)
    with pytest.raises(UserError) as error:
        read(path, task, config(task))
    assert name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("task", "of", "message"),
    [
        ("vqa", "coco", r"vqa_classifier\.0\.weight"),
        ("coco", "vqa", r"logit_scale \(vqa_classifier\.0\.weight is too many"),
        ("nlvr2", "vqa", r"nlvr2_classifier\.0\.weight"),
        ("pretrained", "coco", r"itm_score\.fc\.weight"),
    ],
)
def test_the_file_of_another_task_is_refused(tmp_path, task, of, message):
    with pytest.raises(UserError, match=message):
        read(saved(tmp_path / "x", of), task, config(task))


def test_a_file_for_another_resolution_and_other_answers_are_refused(tmp_path):
    path = saved(tmp_path / "x", "coco")
    with pytest.raises(UserError, match=r"relative_position_bias_table has shape \(446, 8\)"):
        read(path, "coco", config("coco", 24))
    path = saved(tmp_path / "x", "vqa")
    with pytest.raises(UserError, match=r"vqa_classifier\.3\.weight has shape \(3, 32\)"):
        read(path, "vqa", config("vqa"), (*ANSWERS, "orange"))


def test_without_matching_there_is_neither_a_head_nor_a_fusion_encoder_to_train():
    assert asdict(RetrievalConfig(TINY_CONFIG))["matching"]
    model = Retrieval(RetrievalConfig(TINY_CONFIG, matching=False))
    assert not any("pooler" in name or "match" in name for name in model.state_dict())
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any("pair_expert" in name or "cross_table" in name for name in trained)
    assert any("text_expert" in name for name in trained)


def test_only_the_second_image_has_the_third_type(tmp_path):
    model = imported(tmp_path / "x", "nlvr2")
    assert isinstance(model, NLVR2)
    pixels, ids, mask = batch()
    seen = []
    embed = model.backbone.embed_image
    model.backbone.embed_image = lambda *inputs: seen.append(inputs[2]) or embed(*inputs)
    model(pixels.unflatten(0, (2, 2)), ids, mask)
    assert [second.tolist() for second in seen] == [[False, True, False, True]]


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vlmo, "backbone_config", config)
    saved("vlmo_base_patch16_384_coco.pt", "coco")
    model = run_example("docs/released-weights.md", "VLMo")["model"]
    assert checkpoint.load(tmp_path / "vlmo-coco").config == model.config
