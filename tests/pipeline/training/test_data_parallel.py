"""A step has the same gradient on any number of workers, in any number of micro-batches, with DDP
and with FSDP."""

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from pipeline.data.loading.sampler import MicroBatch
from pipeline.utils.seeds import generator
from tests.helpers import parallel_workers
from tests.helpers.toy import TOYS, ClassificationToy, SegmentationToy


def start(world_size, out, work):
    """Run a function of `parallel_workers` in as many processes, all forked from one that has
    imported torch."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers.parallel_workers"])
    arguments = (world_size, out / f"rendezvous-{work}-{world_size}", work, out)
    mp.start_processes(
        parallel_workers.in_group, arguments, nprocs=world_size, start_method="forkserver"
    )


@pytest.fixture(scope="module")
def reference():
    """Losses and gradients by task: the global batch as one micro-batch of one process."""
    return {toy.__name__: parallel_workers.gradients(toy, 1) for toy in TOYS}


@pytest.fixture(scope="module")
def of_workers(tmp_path_factory):
    """A folder of losses and gradients by task, number of workers and micro-batches of each."""
    out = tmp_path_factory.mktemp("gradients")
    for world_size in (2, 4):
        start(world_size, out, "compare")
    return out


def test_losses_are_divided_by_the_number_of_their_targets():
    """The denominators, counted by hand from the samples."""
    texts = [sample.text for sample in samples_of(TOYS[0])]
    masked_tokens = float(sum(text.masked.sum() for text in texts))
    labels = np.stack([sample.labels for sample in samples_of(SegmentationToy)])
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
        "DualEncoderToy": {"itc": 8.0},
        "VQAToy": {"bce": 5.0},
        "NLVR2Toy": {"cross_entropy": 8.0},
        "ClassificationToy": {"ce": 8.0},
        "SegmentationToy": dict.fromkeys(("decode", "auxiliary"), float((labels != 255).sum())),
    }
    for toy in TOYS:
        task = toy()
        assert task.num_targets(task.batches[MicroBatch(0)]) == expected[toy.__name__]


def samples_of(toy):
    """The samples of the first global batch."""
    return [toy().sample(position, generator("toy", position)) for position in range(8)]


def assert_same(expected, actual):
    assert actual["values"] == pytest.approx(expected["values"], rel=1e-5)
    assert actual["grads"].keys() == expected["grads"].keys()
    differences = [actual["grads"][name] - grad for name, grad in expected["grads"].items()]
    difference, norm = total_norm(differences), total_norm(expected["grads"].values())
    assert 0 < norm and difference <= 1e-5 * norm


def total_norm(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors]).norm()


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("toy", [toy.__name__ for toy in TOYS])
def test_workers_and_micro_batches_do_not_change_the_gradient(
    reference, of_workers, toy, world_size, micro_batches
):
    assert_same(reference[toy], torch.load(of_workers / f"{toy}-{world_size}-{micro_batches}"))


@pytest.mark.parametrize("toy", TOYS)
def test_micro_batches_of_one_worker_do_not_change_the_gradient(reference, toy):
    assert_same(reference[toy.__name__], parallel_workers.gradients(toy, 4))


@pytest.mark.parametrize("toy", TOYS)
def test_activation_checkpointing_has_the_same_gradient(reference, toy):
    assert_same(reference[toy.__name__], parallel_workers.gradients(toy, 1, checkpointing=True))


def test_activation_checkpointing_keeps_less():
    def saved_numbers(checkpointing):
        saved, model = [], ClassificationToy().model
        model.backbone.set_grad_checkpointing(checkpointing)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: saved.append(tensor.numel()) or tensor, iter
        ):
            model(torch.rand(4, 3, 16, 16), torch.rand(4, 4, 3))
        return sum(saved)

    assert saved_numbers(True) < saved_numbers(False) / 4


def test_fsdp_trains_as_ddp_does(reference, tmp_path):
    start(2, tmp_path, "shard")
    for toy in TOYS:
        assert_same(reference[toy.__name__], torch.load(tmp_path / f"{toy.__name__}-fsdp2"))
    ddp, fsdp2, resumed = (
        torch.load(tmp_path / name / "model") for name in ("ddp", "fsdp2", "resumed")
    )
    for name, weight in ddp.items():
        torch.testing.assert_close(fsdp2[name], weight, rtol=1e-4, atol=1e-5)
        assert torch.equal(fsdp2[name], resumed[name]), name
