"""Networks as graphs give what the networks give, whatever the size of the batch and of the texts."""

from dataclasses import replace

import pytest
import torch

from model.heads.classification import Classification, ClassificationConfig
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.heads.vqa import VQA, VQAConfig
from model.timm_encoder import ImageEncoder, ImageEncoderConfig
from pipeline.errors import UserError
from pipeline.inference import graphs
from tests.helpers.toy import BACKBONE, DualEncoderToy

VLMO = DualEncoderToy().model.config.backbone  # biases, layer scale, norms
BEIT3 = replace(BACKBONE, depth=2, experts="multiway")
IMAGES = replace(BACKBONE, text_length=1)  # as released ones that read no texts
NETWORKS = {
    "image encoder": lambda: ImageEncoder(ImageEncoderConfig(IMAGES, 5, "avg")),
    "dual encoder": lambda: Retrieval(RetrievalConfig(replace(VLMO, depth=2))),
    "VQA": lambda: VQA(VQAConfig(replace(BACKBONE, depth=2), tuple("abcd"))),
    "VQA as BEiT-3": lambda: VQA(VQAConfig(BEIT3, tuple("abcd"), image_cls=True)),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().eval()


def inputs(graph, batch, length):
    rng = torch.Generator().manual_seed(batch)
    every = {
        "pixels": torch.rand(batch, 3, 16, 16, generator=rng) * 2 - 1,
        "ids": torch.randint(5, 40, (batch, length), generator=rng),
        "mask": torch.arange(length) < torch.arange(length, length - batch, -1)[:, None],
    }
    return {name: every[name] for name in graph.inputs}


@torch.no_grad()
def test_programs_of_any_batch(network):
    programs = graphs.programs(network)
    assert set(programs) == set(graphs.GRAPHS[type(network).__name__])
    for name, program in programs.items():
        graph = graphs.GRAPHS[type(network).__name__][name]
        for batch, length in ((1, 2), (5, 12)):
            given = inputs(graph, batch, length).values()
            expected = getattr(network, graph.method)(*given)
            torch.testing.assert_close(program.module()(*given), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_onnx_of_any_batch(network, tmp_path):
    pytest.importorskip("onnxscript", reason="pip install --group onnx")
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install --group onnx")
    for path in graphs.write_onnx(network, tmp_path / "new"):
        graph = graphs.GRAPHS[type(network).__name__][path.stem]
        session = onnxruntime.InferenceSession(path)
        for batch, length in ((1, 2), (5, 12)):
            given = inputs(graph, batch, length)
            expected = getattr(network, graph.method)(*given.values())
            fed = {name: value.numpy() for name, value in given.items()}
            (output,) = session.run([graph.output], fed)
            torch.testing.assert_close(torch.from_numpy(output), expected, rtol=0, atol=1e-4)


def test_other_networks_are_refused():
    network = Classification(ClassificationConfig(BACKBONE, 5))
    with pytest.raises(UserError, match=r"^this model is a Classification; graphs are made of"):
        graphs.programs(network)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^ONNX: needs the package onnxscript; `pip install"):
        graphs.write_onnx(NETWORKS["VQA"](), tmp_path)
