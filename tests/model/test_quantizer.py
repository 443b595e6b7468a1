"""The codebook follows its inputs as documented, and is the same on every worker."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

from model.tokenizer.quantizer import Quantizer, kmeans

CODEBOOK_SIZE, DIM, DECAY = 12, 5, 0.9


def tokens(count: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(
        torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


def started(delay: int = 0) -> Quantizer:
    quantizer = Quantizer(CODEBOOK_SIZE, DIM, DECAY, delay).train()
    quantizer.embedding.weight.copy_(tokens(CODEBOOK_SIZE, seed=9))
    quantizer.embedding.initted.fill_(1)
    return quantizer


def reference_update(codebook: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The recipe, one vector at a time."""
    unit = inputs / np.linalg.norm(inputs, axis=1, keepdims=True)
    nearest = np.array([np.sum((codebook - x) ** 2, axis=1).argmin() for x in unit])
    out = codebook.copy()
    for number in range(len(codebook)):
        if (nearest == number).any():
            mean = unit[nearest == number].mean(0)
            moved = DECAY * codebook[number] + (1 - DECAY) * mean / np.linalg.norm(mean)
            out[number] = moved / np.linalg.norm(moved)
    return out


def test_the_update_is_the_recipe_s_and_unused_codes_stay():
    quantizer, inputs = (
        started(),
        3 * torch.randn(6, DIM, generator=torch.Generator().manual_seed(1)),
    )
    before = quantizer.embedding.weight.clone()
    quantizer(inputs)
    after = quantizer.embedding.weight
    np.testing.assert_allclose(
        after.numpy(), reference_update(before.double().numpy(), inputs.double().numpy()), atol=1e-6
    )
    assert (after == before).all(dim=1).sum() >= CODEBOOK_SIZE - 6


def test_codes_are_nearest_and_gradients_pass_straight_through():
    quantizer = started().eval()
    inputs = torch.randn(8, DIM, generator=torch.Generator().manual_seed(2)).requires_grad_()
    out = quantizer(inputs)
    assert torch.equal(
        out.token_ids,
        torch.cdist(F.normalize(inputs.detach(), dim=-1), quantizer.embedding.weight).argmin(1),
    )
    assert torch.allclose(
        out.straight_through, quantizer.embedding.weight[out.token_ids], atol=1e-6
    )
    pull = torch.randn(8, DIM)
    (gradient,) = torch.autograd.grad(
        (out.straight_through * pull).sum(), inputs, retain_graph=True
    )
    (wanted,) = torch.autograd.grad((out.inputs * pull).sum(), inputs)
    assert torch.allclose(gradient, wanted)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_inputs_that_are_no_numbers_move_no_vector(value):
    """Those of a step whose gradient is not finite, which is skipped."""
    quantizer = started()
    inputs = tokens(6, seed=1)
    inputs[2, 1] = value
    quantizer(inputs)
    weight = quantizer.embedding.weight
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(CODEBOOK_SIZE))


def test_evaluation_leaves_the_codebook_alone():
    quantizer = started().eval()
    before = quantizer.embedding.weight.clone()
    quantizer(tokens(30))
    assert torch.equal(quantizer.embedding.weight, before)


def test_the_codebook_starts_after_the_delay_and_only_once():
    quantizer = Quantizer(CODEBOOK_SIZE, DIM, DECAY, codebook_start_step=2).train()
    for _ in range(2):
        out = quantizer(tokens(40))
        assert torch.equal(out.straight_through, out.inputs) and not quantizer.embedding.initted
    quantizer(tokens(40))
    assert quantizer.embedding.initted == 1
    first = quantizer.embedding.weight.clone()
    again = Quantizer(CODEBOOK_SIZE, DIM, DECAY, codebook_start_step=2).train()
    again.load_state_dict(quantizer.state_dict())
    again(tokens(40))
    assert (again.embedding.weight * first).sum(1).min() > 0.9  # moved a little, not started anew


def test_kmeans_finds_clusters():
    centres = torch.eye(4, DIM)
    noise = torch.randn(200, DIM, generator=torch.Generator().manual_seed(3))
    inputs = F.normalize(centres.repeat(50, 1) + 0.05 * noise, dim=-1)
    centers = kmeans(inputs, 16)
    assert torch.allclose(centers.norm(dim=1), torch.ones(16))
    assert ((inputs @ centers.T).max(dim=1).values > 0.98).all()
    assert torch.equal(centers, kmeans(inputs, 16))


def test_kmeans_with_fewer_inputs_than_clusters_gives_distinct_unit_centers():
    centers = kmeans(tokens(5), CODEBOOK_SIZE)
    assert torch.isfinite(centers).all() and torch.allclose(
        centers.norm(dim=1), torch.ones(CODEBOOK_SIZE)
    )
    assert len(torch.unique(centers, dim=0)) == CODEBOOK_SIZE
    assert ((tokens(5) @ centers.T).max(dim=1).values > 0.999).all()


def worker(rank: int, world: int, rendezvous: str, out: str) -> None:
    """Start the codebook on one batch and move it by another, each worker with its own half."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world
        )
    quantizer = Quantizer(CODEBOOK_SIZE, DIM, DECAY, codebook_start_step=0).train()
    weights = []
    for seed in (4, 5):
        quantizer(tokens(60, seed).chunk(world)[rank])
        weights.append(quantizer.embedding.weight.clone())
    torch.save(weights, f"{out}-{rank}")
    if world > 1:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs gloo")
def test_two_workers_share_one_codebook_that_is_a_single_worker_s(tmp_path):
    mp.spawn(worker, args=(2, str(tmp_path / "rendezvous"), str(tmp_path / "two")), nprocs=2)
    worker(0, 1, "", str(tmp_path / "one"))
    first, second, single = (torch.load(tmp_path / name) for name in ("two-0", "two-1", "one-0"))
    for step in range(2):
        assert torch.equal(first[step], second[step])
        assert torch.allclose(first[step], single[step], atol=1e-6)
