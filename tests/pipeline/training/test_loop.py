"""The loop: resumes to the same bytes, survives bad steps."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from model import checkpoint
from pipeline.data.loading.sampler import MicroBatch
from pipeline.errors import UserError
from pipeline.tracking.client import Run
from pipeline.training import curves, data_parallel
from pipeline.training.artifacts import finish
from pipeline.training.loop import LoopParams, step_batches, train
from pipeline.training.optim import OptimParams, adamw
from pipeline.training.step import train_step
from pipeline.training.train_state import checkpoints
from tests.helpers.toy import MaskedToy

OPTIM = OptimParams(
    steps=12,
    lr=1e-2,
    min_lr=1e-4,
    warmup_steps=3,
    schedule="cosine",
    weight_decay=0.05,
    betas=[0.9, 0.999],
    eps=1e-8,
    max_grad_norm=3.0,
    head_lr_mult=1.0,
    layer_decay=1.0,
)
LOOP = LoopParams(
    precision="fp32",
    gradient_accumulation=1,
    parallel="ddp",
    activation_checkpointing=False,
    loader_workers=0,
    log_every=3,
    evaluate_every=6,
    checkpoint_every=4,
    max_nonfinite_steps=2,
)


class Killed(Exception):
    pass


class Mortal(MaskedToy):
    """Dies when it is asked for a certain step."""

    def __init__(self, death):
        super().__init__()
        self.death = death

    def __getitem__(self, micro_batch):
        if micro_batch.step == self.death:
            raise Killed
        return super().__getitem__(micro_batch)


def run(task, folder, **changes):
    train(task, OPTIM, replace(LOOP, **changes), folder, Run(None))


@pytest.mark.parametrize("death", [3, 6, 11])
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, death, capsys):
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    undisturbed, resumed_task = MaskedToy(), MaskedToy()
    run(undisturbed, tmp_path / "undisturbed")
    with pytest.raises(Killed):
        run(Mortal(death), tmp_path / "killed")
    capsys.readouterr()
    run(resumed_task, tmp_path / "killed")
    resumed = death - death % 4
    assert (f"resumed at step {resumed} of 12" in capsys.readouterr().err) == (resumed > 0)
    checkpoint.save(undisturbed.model, tmp_path / "undisturbed")
    checkpoint.save(resumed_task.model, tmp_path / "killed")
    for file in ("model.safetensors", "curve.jsonl"):
        assert (tmp_path / "undisturbed" / file).read_bytes() == (
            tmp_path / "killed" / file
        ).read_bytes()


@pytest.mark.parametrize("death", [5, None])
def test_validation_may_change_on_the_way(tmp_path, death, capsys):
    """The weights are those of an undisturbed run, and no measure of another kind is kept; also
    where training had ended and only the results were not published yet."""
    (tmp_path / "changed").mkdir()
    (tmp_path / "undisturbed").mkdir()
    undisturbed, changed = MaskedToy(), MaskedToy()
    run(undisturbed, tmp_path / "undisturbed")
    first = MaskedToy() if death is None else Mortal(death)
    with nullcontext() if death is None else pytest.raises(Killed):
        train(first, OPTIM, LOOP, tmp_path / "changed", Run(None), {"samples": 1})
    train(changed, OPTIM, LOOP, tmp_path / "changed", Run(None), {"samples": 2})
    assert "other parameters of validation" in capsys.readouterr().err
    for name, weights in undisturbed.model.state_dict().items():
        assert torch.equal(weights, changed.model.state_dict()[name])
    rows = curves.read_jsonl(tmp_path / "changed" / curves.JSONL)
    assert [row.step for row in rows if row.kind == "train"] == [3, 6, 9, 12]
    steps = [row.step for row in rows if row.kind == "validation"]
    assert steps == ([12] if death is None else [6, 12])


def test_gradients_are_clipped_to_a_norm_and_keep_their_direction():
    def gradient(max_grad_norm):
        task = MaskedToy()
        wrapped = data_parallel.wrap(task.model, "ddp", torch.device("cpu"))
        values = train_step(
            task, wrapped, adamw(wrapped.model, OPTIM), [task[MicroBatch(0)]], max_grad_norm, "fp32"
        )
        return torch.cat([p.grad.flatten() for p in task.model.parameters()]), values[
            "grad_norm"
        ].item()

    unclipped, norm = gradient(0.0)
    assert unclipped.norm().item() == pytest.approx(norm)
    for clip in (norm / 4, 4 * norm):
        clipped, norm_before = gradient(clip)
        assert norm_before == pytest.approx(norm)
        torch.testing.assert_close(clipped, unclipped * min(1, clip / norm), rtol=1e-4, atol=1e-7)


def test_loader_processes_do_not_change_the_result(tmp_path):
    for workers in (0, 2):
        (tmp_path / str(workers)).mkdir()
        run(MaskedToy(), tmp_path / str(workers), loader_workers=workers)
    assert (tmp_path / "0/curve.jsonl").read_text() == (tmp_path / "2/curve.jsonl").read_text()


def test_the_last_two_checkpoints_are_kept(tmp_path):
    run(MaskedToy(), tmp_path)
    steps = [path.name.rpartition("-")[0] for path in checkpoints(tmp_path)]
    assert steps == ["checkpoint-00000008", "checkpoint-00000012"]


def test_a_row_of_the_curve_is_the_mean_of_the_steps_since_the_last(tmp_path):
    rows = {}
    for every in (1, 3):
        (tmp_path / str(every)).mkdir()
        run(MaskedToy(), tmp_path / str(every), log_every=every)
        rows[every] = [
            row.values["mlm"]
            for row in curves.read_jsonl(tmp_path / str(every) / "curve.jsonl")
            if row.kind == "train"
        ]
    assert rows[3] == pytest.approx(
        [sum(rows[1][start : start + 3]) / 3 for start in range(0, 12, 3)]
    )


def test_training_lowers_the_loss(tmp_path):
    task = MaskedToy()
    task.__class__ = type(
        "Same",
        (MaskedToy,),
        {"__getitem__": lambda self, _: MaskedToy.__getitem__(self, MicroBatch(0))},
    )
    train(task, replace(OPTIM, steps=40, lr=1e-2), LOOP, tmp_path, Run(None))
    rows = curves.read_jsonl(tmp_path / "curve.jsonl")
    losses = [row.values["loss"] for row in rows if row.kind == "train"]
    assert losses[-1] < 0.6 * losses[0]


def test_the_best_weights_by_score_are_kept(tmp_path):
    class Scored(MaskedToy):
        scores = iter([0.5, 0.9, 0.1])

        def evaluate(self):
            self.seen = [
                *getattr(self, "seen", []),
                {k: v.clone() for k, v in self.model.state_dict().items()},
            ]
            return {"score": next(self.scores)}

    task = Scored()
    run(task, tmp_path, evaluate_every=4)
    assert all(
        torch.equal(value, task.seen[1][name]) for name, value in task.model.state_dict().items()
    )


class Overflowing(MaskedToy):
    """From step 5 to `until` its loss is infinite."""

    def __init__(self, until):
        super().__init__()
        self.until = until

    def __getitem__(self, micro_batch):
        batch = super().__getitem__(micro_batch)
        if 5 <= micro_batch.step < self.until:
            broken = batch.images._replace(
                pixels=batch.images.pixels.float() * 1e38,
                drop_path_noise=batch.images.drop_path_noise * 0 + 1e38,
            )
            batch = batch._replace(images=broken)
        return batch


def test_a_step_without_a_finite_gradient_is_skipped(tmp_path):
    run(Overflowing(until=7), tmp_path, log_every=1)
    rows = curves.read_jsonl(tmp_path / "curve.jsonl")
    finite = [row.values["finite"] for row in rows if row.kind == "train"]
    assert finite == [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1]


def test_too_many_of_them_stop_the_run_with_a_diagnosis(tmp_path):
    with pytest.raises(
        UserError, match=r"stopped at step 8: 3 steps in a row without a finite gradient \(loss nan"
    ):
        run(Overflowing(until=12), tmp_path, log_every=1)


def test_they_are_noticed_at_the_next_row_of_the_curve(tmp_path):
    with pytest.raises(UserError, match="stopped at step 9: 3 steps in a row"):
        run(Overflowing(until=8), tmp_path)


def test_micro_batches_that_workers_cannot_share_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.training.collectives.world_size", lambda: 3)
    with pytest.raises(
        UserError, match="loop.gradient_accumulation: 4 cannot be shared by 3 workers"
    ):
        next(step_batches(MaskedToy(), replace(LOOP, gradient_accumulation=4), range(1)))


def test_a_step_in_several_micro_batches_trains_as_in_one(tmp_path):
    weights = []
    for count in (1, 4):
        (tmp_path / str(count)).mkdir()
        task = MaskedToy()
        run(task, tmp_path / str(count), gradient_accumulation=count)
        weights.append(torch.cat([p.detach().flatten() for p in task.model.parameters()]))
    assert (weights[1] - weights[0]).norm() < 1e-3 * weights[0].norm()


class Validated(MaskedToy):
    """Its validations give these scores, one after the other."""

    def __init__(self, *scores):
        super().__init__()
        self.scores = iter(scores)

    def evaluate(self):
        return {"loss": 0.5, "score": next(self.scores)}


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("before", [(), (0.5,)])
def test_a_score_that_is_no_number_ends_the_run_and_is_no_best(tmp_path, before, score):
    step = 4 * (1 + len(before))
    with pytest.raises(UserError, match=f"stopped at step {step}: validation: score is") as caught:
        run(Validated(*before, score, 0.1, 0.1), tmp_path, evaluate_every=4)
    assert "\n" not in str(caught.value)
    assert len(list(tmp_path.glob("best*"))) == bool(before)
    assert "NaN" not in (tmp_path / "curve.jsonl").read_text()


def test_a_loss_at_validation_that_is_no_number_ends_the_run(tmp_path):
    class Lossy(MaskedToy):
        def evaluate(self):
            return {"mlm_loss": float("nan")}

    with pytest.raises(UserError, match="stopped at step 6: validation: mlm_loss is nan"):
        run(Lossy(), tmp_path)


def test_weights_that_are_no_numbers_are_not_published(tmp_path):
    task = MaskedToy()
    with torch.no_grad():
        task.model.backbone.mask_token[0, 0, 3] = float("inf")
    with pytest.raises(UserError, match=r"1 of the 16 numbers of backbone\.mask_token"):
        finish(task.model, tmp_path, "title")
    assert not list(tmp_path.rglob("*.safetensors"))
