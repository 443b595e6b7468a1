"""A step has the same gradient on any number of workers, in any number of passes, in replicas or in
shards."""

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from pipeline.data.loading.sampler import MicroBatch
from pipeline.utils.seeds import generator
from tests.helpers import parallel_workers
from tests.helpers.toy import TOYS, ClassificationToy


def start(world, out, work):
    """Run a function of `parallel_workers` in as many processes, all out of one that has imported
    torch."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers.parallel_workers"])
    arguments = (world, out / f"rendezvous-{work}-{world}", work, out)
    mp.start_processes(
        parallel_workers.in_group, arguments, nprocs=world, start_method="forkserver"
    )


@pytest.fixture(scope="module")
def whole():
    """Of each task, the whole batch in one pass of one process."""
    return {toy.__name__: parallel_workers.gradients(toy, 1) for toy in TOYS}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By task, number of workers and passes."""
    out = tmp_path_factory.mktemp("gradients")
    for world in (2, 4):
        start(world, out, "compare")
    return out


def test_losses_are_divided_by_the_number_of_their_terms():
    """The denominators, counted by hand from the samples."""
    samples = [
        toy().sample(position, generator("toy", position)) for toy in TOYS for position in range(8)
    ]
    texts = [sample.text for sample in samples[:8]]
    masked_tokens = float(sum(text.masked.sum() for text in texts))
    labels = torch.from_numpy(np.stack([sample["labels"] for sample in samples[-8:]]))
    masked = {
        "mlm": masked_tokens,
        "mim": 8 * 6.0,
        "mvlm_text": masked_tokens,
        "mvlm_image": 8 * 6.0,
    }
    expected = {
        "MaskedToy": masked,
        "OptionsToy": masked,
        "RetrievalToy": {"itc": 8.0, "itm": 24.0},
        "VQAToy": {"bce": 5.0},
        "NLVR2Toy": {"cross_entropy": 8.0},
        "ClassificationToy": {"ce": 8.0},
        "SegmentationToy": dict.fromkeys(("decode", "auxiliary"), float((labels != 255).sum())),
    }
    for toy in TOYS:
        task = toy()
        assert task.num_targets(task.batches[MicroBatch(0)]) == expected[toy.__name__]


def assert_same(one, other):
    assert other["values"] == pytest.approx(one["values"], rel=1e-5)
    assert one["grads"].keys() == other["grads"].keys()
    difference, norm = (
        torch.cat([grad.flatten() for grad in grads]).norm()
        for grads in (
            [other["grads"][name] - one["grads"][name] for name in one["grads"]],
            one["grads"].values(),
        )
    )
    assert 0 < norm and difference <= 1e-5 * norm


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("toy", [toy.__name__ for toy in TOYS])
def test_workers_and_passes_do_not_change_the_gradient(whole, found, toy, world, passes):
    assert_same(whole[toy], torch.load(found / f"{toy}-{world}-{passes}"))


@pytest.mark.parametrize("toy", TOYS)
def test_passes_of_one_worker_do_not_change_the_gradient(whole, toy):
    assert_same(whole[toy.__name__], parallel_workers.gradients(toy, 4))


@pytest.mark.parametrize("toy", TOYS)
def test_activation_checkpointing_has_the_same_gradient(whole, toy):
    assert_same(whole[toy.__name__], parallel_workers.gradients(toy, 1, checkpointing=True))


def test_activation_checkpointing_keeps_less():
    def kept(checkpointing):
        saved, model = [], ClassificationToy().model
        model.backbone.set_grad_checkpointing(checkpointing)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: saved.append(tensor.numel()) or tensor, iter
        ):
            model(torch.rand(4, 3, 16, 16), torch.rand(4, 4, 3))
        return sum(saved)

    assert kept(True) < kept(False) / 4


def test_shards_train_as_replicas_do(whole, tmp_path):
    start(2, tmp_path, "shard")
    for toy in TOYS:
        assert_same(whole[toy.__name__], torch.load(tmp_path / f"{toy.__name__}-fsdp2"))
    ddp, fsdp2, resumed = (
        torch.load(tmp_path / name / "model") for name in ("ddp", "fsdp2", "resumed")
    )
    for name, weight in ddp.items():
        torch.testing.assert_close(fsdp2[name], weight, rtol=1e-4, atol=1e-5)
        assert torch.equal(fsdp2[name], resumed[name]), name
