"""What the halves of pairs say of each other, against models that read one half and nothing else."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from model.pretraining.batches import ImageBatch, PairBatch, TextBatch
from pipeline.pretraining import pair_halves
from pipeline.pretraining.score import Score

MASK, CLASSES = 0, 12


def text_batch(ids, masked):
    positions = masked.flatten().nonzero()[:, 0]
    targets = ids.flatten()[positions]
    return TextBatch(ids.masked_fill(masked, MASK), None, positions, targets)


def pairs(n=40):
    """Captions of one id each, beside images whose patches all have that id's token."""
    torch.manual_seed(0)
    kind = torch.arange(n) % (CLASSES - 1) + 1
    words = text_batch(
        kind[:, None].expand(n, 4).contiguous(), torch.tensor([[1, 1, 0, 0]] * n) > 0
    )
    masked = torch.tensor([[1, 0, 1, 0]] * n) > 0
    positions = masked.flatten().nonzero()[:, 0]
    tokens = kind[:, None].expand(n, 4).flatten()[positions]
    pixels = kind[:, None, None, None].expand(n, 3, 2, 2).float()
    return PairBatch(words, ImageBatch(pixels, masked, positions, tokens))


def rolled(batch):
    n = len(batch.text.ids)
    text = text_batch(batch.text.ids[:, 3:].expand(n, 4).roll(-1, 0), batch.text.ids == MASK)
    targets = batch.image.targets.view(n, -1).roll(-1, 0).flatten()
    image = batch.image._replace(pixels=batch.image.pixels.roll(-1, 0), targets=targets)
    return PairBatch(text, image)


class ReadsTheOtherHalf:
    """Predicts words by the first pixel of what is visible, and patches by the visible words."""

    def __init__(self, mvlm_mode="joint"):
        self.config = SimpleNamespace(mvlm_mode=mvlm_mode)

    def mvlm(self, text, image):
        seen = torch.where(image.masked.any(dim=1), 0, image.pixels[:, 0, 0, 0].long())
        words = F.one_hot(seen.repeat_interleave(2), CLASSES).float()
        said = text.ids.min(dim=1).values  # 0 where a word is masked
        patches = F.one_hot(said.repeat_interleave(2), CLASSES).float()
        return 5 * words, 5 * patches

    def mlm(self, text):
        return torch.zeros(len(text.targets), CLASSES)

    def mim(self, image):
        return torch.zeros(len(image.targets), CLASSES)


def scores():
    found: dict[str, Score] = {}
    for first in range(2):  # batch by batch
        batch = pairs(40 + first)
        for name, logits, predicted in pair_halves.predictions(
            ReadsTheOtherHalf(), batch, rolled(batch)
        ):
            found.setdefault(name, Score()).add(logits, predicted)
    return found


def test_the_other_half_is_shown_whole_and_is_all_that_tells():
    found = scores()
    for name in pair_halves.MEASURES:
        assert found[f"{name}_right"].metrics("x")["x_accuracy"] == 1.0
        assert found[f"{name}_other"].metrics("x")["x_accuracy"] < 0.05
    for name in ("mvlm_text", "mvlm_image"):
        assert found[f"{name}_none"].metrics("x")["x_loss"] == pytest.approx(
            torch.tensor(CLASSES).log().item()
        )


def test_gains_are_differences_with_the_standard_error_of_samples():
    found, gains = scores(), pair_halves.gains(scores())
    for name in pair_halves.MEASURES:
        right, other = (found[f"{name}_{half}"].metrics("x") for half in ("right", "other"))
        assert gains[f"{name}_gain"] == pytest.approx(right["x_accuracy"] - other["x_accuracy"])
        assert gains[f"{name}_gain_nats"] == pytest.approx(other["x_loss"] - right["x_loss"])


def test_targets_of_one_sample_count_as_one():
    """Ten samples of four targets that agree have the error of ten numbers, not of forty."""
    image = ImageBatch(
        torch.zeros(10, 3, 2, 2),
        torch.ones(10, 4, dtype=torch.bool),
        torch.arange(40),
        torch.ones(40, dtype=torch.int64),
    )
    hits = (torch.arange(10) < 7).repeat_interleave(4).long()
    ours, theirs = Score(), Score()
    ours.add(F.one_hot(hits, 2).float(), image)
    theirs.add(torch.tensor([[1.0, 0.0]] * 40), image)
    gain = ours.gain(theirs, "x")
    assert gain["x_gain"] == pytest.approx(0.7)
    assert gain["x_gain_error"] == pytest.approx((0.7 * 0.3 / 10) ** 0.5)


@pytest.mark.parametrize(("mvlm_mode", "accuracy"), [("joint", 0.0), ("separate", 1.0)])
def test_each_half_is_beside_what_training_shows_of_the_other(mvlm_mode, accuracy):
    model, batch = ReadsTheOtherHalf(mvlm_mode), pairs(44)
    words, patches = pair_halves.as_trained(model, batch)
    for logits, half in ((words, batch.text), (patches, batch.image)):
        assert (logits.argmax(dim=1) == half.targets).double().mean() == accuracy
    named = {name: logits for name, logits, _ in pair_halves.predictions(model, batch, batch)}
    assert named["mvlm_text"].equal(words) and named["mvlm_image"].equal(patches)
