"""A tiny pretraining task on random data whose global batches do not depend on the number of workers."""

import numpy as np
import torch

from model.config import BackboneConfig
from model.masking import block_mask, text_mask
from model.objectives import MaskedModeling, MaskedModelingConfig
from model.retrieval import Draws, Pairs, Retrieval, RetrievalConfig
from pipeline import distributed
from pipeline.pretraining_data import collate_image, collate_text
from pipeline.seeds import generator

BACKBONE = BackboneConfig(image_size=16, patch_size=4, depth=2, width=16, heads=2, ffn_width=32, vocab_size=40,
                          text_length=12, experts="mome", drop_path=0.2, init_sigma=0.02)
WEIGHTS = {"mlm": 1.0, "mim": 1.0, "mvlm_text": 1.0, "mvlm_image": 1.0, "itc": 1.0, "itm": 1.0}


def own_rows(step, size):
    """Global positions of this worker's rows."""
    share = size // distributed.world()
    start = step * size + distributed.rank() * share
    return range(start, start + share)


class MaskedToy:
    """Masked modelling; text lengths differ, so workers have different numbers of hidden tokens."""

    weights = WEIGHTS

    def __init__(self, batch=8):
        torch.manual_seed(0)
        self.size, self.model = batch, MaskedModeling(MaskedModelingConfig(BACKBONE, codes=20))

    @property
    def batches(self):
        return self

    def __getitem__(self, step):
        samples = [self._sample(position) for position in own_rows(step, self.size)]
        uniforms = torch.stack([sample["uniforms"] for sample in samples])
        text, image = collate_text([s["text"] for s in samples]), collate_image([s["image"] for s in samples])
        return {"texts": {"text": text, "uniforms": uniforms}, "images": {"image": image, "uniforms": uniforms},
                "pairs": {"text": text, "image": image, "uniforms": uniforms}}

    def _sample(self, position):
        rng = generator("toy", position)
        ids = np.concatenate([[0], rng.integers(5, 40, size=rng.integers(1, 11)), [2]])
        corrupted, chosen = text_mask(ids, 0.5, mask_id=4, vocab_size=40, special=5, rng=rng)
        return {"text": {"ids": corrupted, "chosen": chosen, "original": ids},
                "image": {"pixels": rng.integers(0, 256, size=(16, 16, 3), dtype=np.uint8),
                          "masked": block_mask(4, 6, 2, rng), "tokens": rng.integers(0, 20, size=16)},
                "uniforms": torch.from_numpy(rng.random((2, 3), dtype=np.float32))}

    def loss(self, module, batch):
        from pipeline.pretraining_data import prepared

        return module({name: prepared(part) for name, part in batch.items()})

    def evaluate(self):
        return {"norm": sum(p.double().norm().item() for p in self.model.parameters())}


class RetrievalToy:
    """ITC and ITM on random pairs."""

    weights = WEIGHTS

    def __init__(self, batch=8):
        torch.manual_seed(0)
        self.size, self.model = batch, Retrieval(RetrievalConfig(BACKBONE))

    @property
    def batches(self):
        return self

    def __getitem__(self, step):
        rngs = [generator("pair", position) for position in own_rows(step, self.size)]
        return {
            "pixels": torch.stack([torch.from_numpy(rng.random((3, 16, 16), dtype=np.float32)) for rng in rngs]),
            "ids": torch.stack([torch.from_numpy(rng.integers(5, 40, size=8)) for rng in rngs]),
            "image": torch.tensor([position % 5 for position in own_rows(step, self.size)]),
            "draws": torch.stack([torch.from_numpy(rng.random(2)) for rng in rngs]),
            "uniforms": torch.stack([torch.from_numpy(rng.random((5, 2, 3), dtype=np.float32)) for rng in rngs], 1),
        }

    def loss(self, module, batch):
        pairs = Pairs(batch["pixels"], batch["ids"], torch.ones_like(batch["ids"], dtype=torch.bool), batch["image"])
        uniforms = batch["uniforms"]
        draws = Draws(batch["draws"], uniforms[0], uniforms[1], uniforms[2:])
        return module(pairs, draws, distributed.gather_rows, distributed.rank() * len(pairs.ids))
