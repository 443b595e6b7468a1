"""The loop: resumes to the same bytes, does not depend on how a batch is split, survives bad steps."""

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from model import io
from pipeline import curves
from pipeline.errors import UserError
from pipeline.optim import OptimParams
from pipeline.tracking import Run
from pipeline.training import LoopParams, backward, checkpoints, train
from tests.toy import MaskedToy, RetrievalToy

OPTIM = OptimParams(steps=12, lr=1e-2, floor_lr=1e-4, warmup_steps=3, schedule="cosine", weight_decay=0.05,
                    betas=[0.9, 0.999], eps=1e-8, clip=3.0, head_lr=1.0, layer_decay=1.0)
LOOP = LoopParams(precision="fp32", loader_workers=0, log_every=3, evaluate_every=6, checkpoint_every=4, patience=2)


class Killed(Exception):
    pass


class Mortal(MaskedToy):
    """Dies when it is asked for a certain step."""

    def __init__(self, death):
        super().__init__()
        self.death = death

    def __getitem__(self, step):
        if step == self.death:
            raise Killed
        return super().__getitem__(step)


def run(task, folder, **changes):
    train(task, OPTIM, replace(LOOP, **changes), folder, Run(None))


@pytest.mark.parametrize("death", [3, 6, 11])
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, death, capsys):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, resumed_task = MaskedToy(), MaskedToy()
    run(whole, tmp_path / "whole")
    with pytest.raises(Killed):
        run(Mortal(death), tmp_path / "killed")
    capsys.readouterr()
    run(resumed_task, tmp_path / "killed")
    resumed = death - death % 4
    assert (f"resumed at step {resumed} of 12" in capsys.readouterr().err) == (resumed > 0)
    io.save(whole.model, tmp_path / "whole")
    io.save(resumed_task.model, tmp_path / "killed")
    for file in ("model.safetensors", "curve.jsonl"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes()


def test_loader_processes_do_not_change_the_result(tmp_path):
    for workers in (0, 2):
        (tmp_path / str(workers)).mkdir()
        run(MaskedToy(), tmp_path / str(workers), loader_workers=workers)
    assert (tmp_path / "0/curve.jsonl").read_text() == (tmp_path / "2/curve.jsonl").read_text()


def test_the_last_two_checkpoints_are_kept(tmp_path):
    run(MaskedToy(), tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000008.pt", "checkpoint-00000012.pt"]


def test_a_row_of_the_curve_is_the_mean_of_the_steps_since_the_last(tmp_path):
    rows = {}
    for every in (1, 3):
        (tmp_path / str(every)).mkdir()
        run(MaskedToy(), tmp_path / str(every), log_every=every)
        rows[every] = [row["values"]["mlm"] for row in curves.read(tmp_path / str(every) / "curve.jsonl")
                       if row["kind"] == "train"]
    assert rows[3] == pytest.approx([sum(rows[1][start : start + 3]) / 3 for start in range(0, 12, 3)])


def test_training_lowers_the_loss(tmp_path):
    task = MaskedToy()
    task.__class__ = type("Same", (MaskedToy,), {"__getitem__": lambda self, step: MaskedToy.__getitem__(self, 0)})
    train(task, replace(OPTIM, steps=40, lr=1e-2), LOOP, tmp_path, Run(None))
    losses = [row["values"]["loss"] for row in curves.read(tmp_path / "curve.jsonl") if row["kind"] == "train"]
    assert losses[-1] < 0.6 * losses[0]


def test_the_best_weights_by_score_are_kept(tmp_path):
    class Scored(MaskedToy):
        scores = iter([0.5, 0.9, 0.1])

        def evaluate(self):
            self.seen = [*getattr(self, "seen", []), {k: v.clone() for k, v in self.model.state_dict().items()}]
            return {"score": next(self.scores)}

    task = Scored()
    run(task, tmp_path, evaluate_every=4)
    assert all(torch.equal(value, task.seen[1][name]) for name, value in task.model.state_dict().items())


class Overflowing(MaskedToy):
    """From step 5 to `until` its loss is infinite."""

    def __init__(self, until):
        super().__init__()
        self.until = until

    def __getitem__(self, step):
        batch = super().__getitem__(step)
        if 5 <= step < self.until:
            batch["images"]["uniforms"] = batch["images"]["uniforms"] * 0 + 1e38
            batch["images"]["image"]["pixels"] = batch["images"]["image"]["pixels"].float() * 1e38
        return batch


def test_a_step_without_a_finite_gradient_is_skipped(tmp_path):
    run(Overflowing(until=7), tmp_path, log_every=1)
    finite = [row["values"]["finite"] for row in curves.read(tmp_path / "curve.jsonl") if row["kind"] == "train"]
    assert finite == [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1]


def test_too_many_of_them_stop_the_run_with_a_diagnosis(tmp_path):
    with pytest.raises(UserError, match=r"stopped at step 7: 3 steps in a row without a finite gradient \(loss nan"):
        run(Overflowing(until=12), tmp_path)


def gradients(rank, world, rendezvous, toy, out):
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    task = toy()
    module = DistributedDataParallel(task.model) if world > 1 else task.model
    task.model.train()
    values = backward(task, module, task.batches[0], "fp32")
    if rank == 0:
        torch.save({"values": values, "grad": [p.grad for p in task.model.parameters() if p.requires_grad]}, out)
    del module  # its reducer must go before the process group
    if world > 1:
        dist.destroy_process_group()


@pytest.mark.parametrize("toy", [MaskedToy, RetrievalToy])
def test_one_and_two_workers_have_the_same_gradient(tmp_path, toy):
    gradients(0, 1, None, toy, tmp_path / "one")
    mp.spawn(gradients, args=(2, tmp_path / "rendezvous", toy, tmp_path / "two"), nprocs=2)
    one, two = (torch.load(tmp_path / name) for name in ("one", "two"))
    assert two["values"] == pytest.approx(one["values"], rel=1e-5)
    difference = torch.cat([(a - b).flatten() for a, b in zip(one["grad"], two["grad"], strict=True)]).norm()
    assert difference <= 1e-5 * torch.cat([a.flatten() for a in one["grad"]]).norm()
