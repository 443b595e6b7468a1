"""Every task with a tiny model on random data. A sample is a function of its position in the endless
sequence of samples, so global batches do not depend on how they are cut."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from model.backbone.config import BackboneConfig
from model.heads.classification import Classification, ClassificationConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.heads.segmentation import HeadConfig, Segmentation, SegmentationConfig
from model.heads.vqa import VQA, VQAConfig
from model.pretraining.batches import PairBatch, PretrainingBatch
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from pipeline.data.transforms.masking import block_mask, text_mask
from pipeline.pretraining.samples import (
    ImageSample,
    Sample,
    TextSample,
    collate_image,
    collate_text,
)
from pipeline.pretraining.task import PretrainingTask
from pipeline.tasks.classification.training.data import ImageBatch
from pipeline.tasks.classification.training.task import Task as ClassificationTask
from pipeline.tasks.image_text_inputs import stack
from pipeline.tasks.nlvr2.training import data as nlvr2
from pipeline.tasks.nlvr2.training.task import Task as NLVR2Task
from pipeline.tasks.retrieval.training import data as retrieval
from pipeline.tasks.retrieval.training.global_negatives import Matching
from pipeline.tasks.retrieval.training.task import Task as RetrievalTask
from pipeline.tasks.segmentation.training import data as segmentation
from pipeline.tasks.segmentation.training.task import Task as SegmentationTask
from pipeline.tasks.vqa.training import data as vqa
from pipeline.tasks.vqa.training.task import Task as VQATask
from pipeline.utils.seeds import generator

BACKBONE = BackboneConfig(
    image_size=16,
    patch_size=4,
    depth=4,
    embed_dim=16,
    num_heads=2,
    mlp_dim=32,
    vocab_size=40,
    text_length=12,
    experts="mome",
    drop_path=0.2,
    init_std=0.02,
)
HEAD = HeadConfig(
    classes=5,
    layers=[0, 1, 2, 3],
    channels=8,
    auxiliary_channels=6,
    pool_scales=[1, 2],
    dropout=0.1,
)
BATCH = 8


class Toy:
    """Random batches instead of a task's."""

    def __init__(self, model):
        self.model = model

    @property
    def batches(self):
        return self

    def __getitem__(self, micro_batch):
        share = BATCH // micro_batch.count
        start = micro_batch.step * BATCH + micro_batch.index * share
        return self.collate(
            [
                self.sample(position, generator("toy", position))
                for position in range(start, start + share)
            ]
        )

    def evaluate(self):
        return {"norm": sum(p.double().norm().item() for p in self.model.parameters())}


def ids_of(rng):
    """Between 3 and 12 ids, so micro-batches have texts of different lengths."""
    return np.concatenate([[0], rng.integers(5, 40, size=rng.integers(1, 11)), [2]])


def pixels_of(rng, *shape):
    return rng.integers(0, 256, size=(*shape, 16, 16, 3), dtype=np.uint8)


def noise_of(rng, *shape):
    return rng.random((*shape, BACKBONE.depth, 3), dtype=np.float32)


class MaskedToy(Toy, PretrainingTask):
    """Masked modeling; micro-batches have different numbers of masked tokens."""

    loss_weights: Mapping[str, float] = {
        "mlm": 1.0,
        "mim": 0.5,
        "mvlm_text": 2.0,
        "mvlm_image": 1.0,
    }

    config = MaskedModelingConfig(BACKBONE, codebook_size=20)

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(MaskedModeling(self.config))

    def sample(self, position, rng):
        ids = ids_of(rng)
        corrupted, masked = text_mask(ids, 0.5, mask_id=4, ordinary=range(5, 40), rng=rng)
        text = TextSample(corrupted, masked, ids)
        image = ImageSample(pixels_of(rng), block_mask(4, 6, 2, rng), rng.integers(0, 20, size=16))
        return Sample(noise_of(rng), text, image)

    def collate(self, samples):
        noise = torch.from_numpy(np.stack([sample.drop_path_noise for sample in samples]))
        text = collate_text([sample.text for sample in samples], noise)
        image = collate_image([sample.image for sample in samples], noise)
        return PretrainingBatch(text, image, PairBatch(text, image, noise))


class OptionsToy(MaskedToy):
    """The same with every option of the model."""

    config = MaskedModelingConfig(
        replace(
            BACKBONE, layer_scale=0.1, relative_bias=True, token_types=True, vl_ffn_start_layer=3
        ),
        codebook_size=20,
        mlm_head="transform",
        mvlm_mode="separate",
    )


class RetrievalToy(Toy, RetrievalTask):
    """Some captions belong to one image."""

    loss_weights: Mapping[str, float] = {"itc": 1.0, "itm": 0.5}
    matching = Matching(every=1, hardness=1.0)

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(Retrieval(RetrievalConfig(BACKBONE)))

    def sample(self, position, rng):
        return retrieval.Sample(
            pixels_of(rng), ids_of(rng), position % 5, rng.random(2), noise_of(rng, 5)
        )

    def collate(self, samples):
        return retrieval.collate(samples)


class DualEncoderToy(RetrievalToy):
    """Retrieval without matching, by a model with VLMo's options."""

    loss_weights: Mapping[str, float] = {"itc": 1.0}
    matching = None

    def __init__(self):
        torch.manual_seed(0)
        vlmo = replace(
            OptionsToy.config.backbone,
            layer_scale=1.0,  # else all vectors are alike, and gradients small beside what they cancel
            bias_per_block=True,
            word_norm=True,
            absolute_positions=False,
        )
        Toy.__init__(self, Retrieval(RetrievalConfig(vlmo, matching=False)))


class VQAToy(Toy, VQATask):
    """Some questions have no answer among the classes."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(VQA(VQAConfig(BACKBONE, tuple("abcd"))))

    def sample(self, position, rng):
        targets = rng.random(4, dtype=np.float32) * (position % 3 > 0)
        return vqa.Sample(pixels_of(rng), ids_of(rng), targets.astype(np.float32), noise_of(rng))

    def collate(self, samples):
        return vqa.collate(samples)


class NLVR2Toy(Toy, NLVR2Task):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(NLVR2(NLVR2Config(BACKBONE)))

    def sample(self, position, rng):
        return nlvr2.Sample(pixels_of(rng, 2), ids_of(rng), int(rng.integers(2)), noise_of(rng, 2))

    def collate(self, samples):
        return nlvr2.collate(samples)


class ClassificationToy(Toy, ClassificationTask):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(Classification(ClassificationConfig(BACKBONE, 6)))

    def sample(self, position, rng):
        pixels, noise = rng.random((3, 16, 16), dtype=np.float32), noise_of(rng)
        return pixels, rng.dirichlet(np.ones(6)).astype(np.float32), noise

    def collate(self, samples):
        return ImageBatch(*(stack(arrays) for arrays in zip(*samples, strict=True)))


class SegmentationToy(Toy, SegmentationTask):
    """Images differ in how many of their pixels have a class. Batch norms have their statistics
    frozen: those of a micro-batch depend on the cut."""

    loss_weights: Mapping[str, float] = {"decode": 1.0, "auxiliary": 0.4}

    def __init__(self):
        torch.manual_seed(0)
        model = Segmentation(SegmentationConfig(BACKBONE, HEAD))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train = lambda mode=True, module=module: module
                module.training = False
        super().__init__(model)

    def sample(self, position, rng):
        labels = rng.integers(0, 5, size=(16, 16))
        labels[: position % 4 * 4] = 255
        return segmentation.Sample(
            pixels_of(rng), labels, noise_of(rng), rng.random(14, dtype=np.float32)
        )

    def collate(self, samples):
        return segmentation.collate(samples)


TOYS = (
    MaskedToy,
    OptionsToy,
    RetrievalToy,
    DualEncoderToy,
    VQAToy,
    NLVR2Toy,
    ClassificationToy,
    SegmentationToy,
)
