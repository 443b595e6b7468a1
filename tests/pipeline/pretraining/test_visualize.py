"""Images of what a pretrained model predicts at masked positions."""

import numpy as np
import torch

from model.pretraining.batches import ImageBatch, TextBatch
from pipeline.pretraining import visualize
from pipeline.tokenizers.text.own_pieces import SPECIAL_IDS


class Words:
    """Ids above the special ones are words that begin with a space, or without one where odd."""

    def piece(self, number):
        return f"w{number}" if number % 2 else f" w{number}"


def test_patches_are_cut_row_by_row_and_put_together_again():
    pixels = np.random.default_rng(0).integers(0, 255, (2, 12, 12, 3), dtype=np.uint8)
    patches = visualize.to_patches(pixels, 4)
    assert patches.shape == (2, 9, 4, 4, 3)
    assert (patches[1, 5] == pixels[1, 4:8, 8:12]).all()
    assert (visualize.to_images(patches) == pixels).all()


def test_only_masked_patches_change_and_show_the_means_of_their_tokens():
    pixels = np.random.default_rng(1).integers(0, 100, (1, 8, 8, 3), dtype=np.uint8)
    image = ImageBatch(
        pixels=torch.from_numpy(pixels),
        masked=torch.tensor([[False, True, True, False]]),
        masked_positions=torch.tensor([1, 2]),
        targets=torch.tensor([3, 0]),
    )
    means = np.stack([np.full((4, 4, 3), 200 + token, dtype=np.uint8) for token in range(4)])
    masked, predicted, true, original = visualize._cells(image, torch.tensor([1, 1]), means)[0]
    assert (original == pixels[0]).all()
    for cell, right, below in ((masked, 128, 128), (predicted, 201, 201), (true, 203, 200)):
        assert (cell[:4, 4:] == right).all() and (cell[4:, :4] == below).all()
        assert (cell[:4, :4] == pixels[0, :4, :4]).all() and (
            cell[4:, 4:] == pixels[0, 4:, 4:]
        ).all()


def test_captions_show_predictions_in_brackets_and_the_truth_behind_wrong_ones():
    begin, end, pad = (SPECIAL_IDS[name] for name in ("[T_CLS]", "[T_SEP]", "[PAD]"))
    ids = torch.tensor(
        [[begin, 10, SPECIAL_IDS["[MASK]"], 11, end, pad], [begin, 12, 14, 16, 18, end]]
    )
    text = TextBatch(
        ids, ids != pad, masked_positions=torch.tensor([2, 9]), targets=torch.tensor([20, 16])
    )
    assert visualize._captions(text, torch.tensor([20, 22]), Words()) == [
        "w10 [w20]w11",
        "w12 w14 [w22, not w16] w18",
    ]
