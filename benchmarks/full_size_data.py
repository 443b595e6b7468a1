"""What `benchmarks.full_size` trains on and starts from: generated data in the form of shards, and
made-up files in the layouts and sizes of the released ones."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2

from model.tokenizer.teachers import Clip
from model.tokenizer.vqkd import VQKDConfig
from pipeline.data.shards import parquet, schema
from pipeline.released import synthetic
from pipeline.released.imports import ImportParams
from pipeline.released.synthetic import draw, tokenizers
from pipeline.tokenizers import beitv2_import
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams, train_tokenizer
from pipeline.tokenizers.text.beit3_pieces import Beit3Pieces
from pipeline.tokenizers.text.own_pieces import SPECIAL_IDS
from pipeline.tokenizers.text.wordpiece import WordPiece

BATCH = 2
ANSWERS = 3129  # VL-BEiT §3.2
SIDES = (640, 480)  # pixels of an image
SOURCES = ("imagenet22k", "cc3m", "sbu", "coco", "vg")  # of pretraining
# Of the released files: lines of bert-base-uncased, pieces of BEiT-3's model.
PIECES = {WordPiece.FILE: 30_522, Beit3Pieces.FILE: 64_000}
CODEBOOK = "quantize.embedding.weight"


def jpeg(seed: int) -> bytes:
    """A smooth random image."""
    colors = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(colors).resize(SIDES, Image.Resampling.BICUBIC)
    image.save(buffer := io.BytesIO(), "JPEG", quality=90)
    return buffer.getvalue()


def mask(classes: int) -> bytes:
    """The classes of an image's pixels, and some pixels without one."""
    labels = np.random.default_rng(0).integers(0, classes + 1, (12, 16), dtype=np.uint8)
    image = Image.fromarray(labels).resize(SIDES, Image.Resampling.NEAREST)
    image.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def image_columns(number: int) -> dict[str, Any]:
    """What rows with one image have in common."""
    return {"key": f"{number:04d}", "image": jpeg(number), "width": SIDES[0], "height": SIDES[1]}


def rows(source: str, split: str, tree: dict[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
    """Schema and rows of a source's split."""
    count = range(2 * BATCH if split == "train" else BATCH)
    captions = ["a red star above a blue ring", "two small green squares"]
    if source == "nlvr2":
        return schema.STATEMENT_SHARD, [statement(number, captions[0]) for number in count]
    if source == "vqav2":
        return schema.QUESTION_SHARD, [questions(split)]
    if source == "ade20k":
        labels = {"mask": mask(tree["finetune"][source]["head"]["classes"])}
        return schema.MASK_SHARD, [image_columns(number) | labels for number in count]
    texts = {"captions": captions}
    return schema.IMAGE_SHARD, [image_columns(n) | texts | {"label": n} for n in count]


def statement(number: int, text: str) -> dict[str, Any]:
    """A row of NLVR2."""
    return {
        "key": f"{number}",
        "left": jpeg(number),
        "right": jpeg(number + 50),
        "statement": text,
        "label": number % 2,
        "group": f"{number}",
    }


def questions(split: str) -> dict[str, Any]:
    """A row of VQA v2: an image with as many questions as there are answers to tell apart."""
    count = {"train": ANSWERS, "val": 1, "test": 1}[split]
    answers = [[] if split == "test" else [f"answer {number}"] * 10 for number in range(count)]
    return {
        **image_columns(0),
        "ids": list(range(count)),
        "answers": answers,
        "questions": ["what color is the star"] * count,
    }


def write_data(folder: Path, tree: dict[str, Any]) -> None:
    """Shards of all sources, packed texts, and a text tokenizer with as many pieces as the
    paper's."""
    for source in (*SOURCES, "flickr30k", "imagenet1k", "vqav2", "nlvr2", "ade20k"):
        splits = {split: rows(source, split, tree) for split in ("train", "val", "test")}
        write_shards(folder / "shards" / source, splits, kind="image")
    length, words = tree["text_tokens"]["max_length"], tree["text_tokenizer"]["vocab_size"]
    ids = np.random.default_rng(0).integers(len(SPECIAL_IDS), words, (2 * BATCH, length))
    texts = [{"key": f"{number}", "ids": row} for number, row in enumerate(ids)]
    for source in ("wikipedia", "bookcorpus"):
        splits = {split: (schema.TEXT_TOKENS, texts) for split in ("train", "val")}
        facts = {"max_length": length, "vocab_size": words}
        write_shards(folder / "text_tokens" / source, splits, **facts)
    write_tokenizer(folder / "text_tokenizer" / "spm.model", folder / "shards" / "coco", words)


def write_shards(
    folder: Path, splits: dict[str, tuple[Any, list[dict[str, Any]]]], **facts: Any
) -> None:
    """Shards in groups of two rows; `facts` stand in their index."""
    folder.mkdir(parents=True)
    entries = {}
    for split, (columns, content) in splits.items():
        entries[split] = parquet.write(
            folder, split, content, columns, rows_per_group=2, groups_per_file=9
        )
    parquet.write_index(folder, entries, **facts)


def write_tokenizer(path: Path, captions: Path, words: int) -> None:
    """A small tokenizer, filled up with pieces that never occur: so many cannot be learned from so
    little."""
    path.parent.mkdir()
    train_tokenizer(
        [captions], path, TextTokenizerParams("train", None, [], 28, 1.0, 1000, 1), "text_tokenizer"
    )
    fill_up_sentencepiece(path, words)


def fill_up_sentencepiece(path: Path, count: int) -> None:
    """Give a SentencePiece model `count` pieces in all; those that it lacks never occur."""
    proto: Any = sentencepiece_model_pb2  # protobuf makes its classes when it is imported
    model = proto.ModelProto.FromString(path.read_bytes())
    for number in range(count - len(model.pieces)):
        model.pieces.add(piece=f"\N{WHITE SQUARE}{number}", score=-100.0)
    path.write_bytes(model.SerializeToString())


def fill_up_wordpiece(path: Path, count: int) -> None:
    """Give a list of WordPiece's pieces `count` of them in all; those that it lacks never occur."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines += [f"[unused{number}]" for number in range(count - len(lines))]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_teacher(path: Path) -> None:
    """CLIP's size, random weights."""
    torch.manual_seed(0)
    save_file(Clip().model.state_dict(), path)


def write_visual_tokenizer(path: Path, config: VQKDConfig) -> None:
    """A file in the layout of BEiTv2's released tokenizers, with seeded weights."""
    tensors = draw.weights(beitv2_import.released_shapes(config).items(), seed=0)
    tensors[CODEBOOK] /= tensors[CODEBOOK].norm(dim=1, keepdim=True)
    tensors["quantize.embedding.initted"] = torch.ones(1)
    torch.save({"model": tensors}, path)


def write_released(folder: Path, imported: ImportParams) -> None:
    """The files of an import in the official layout, with as many pieces and seeded weights."""
    name = imported.tokenizer
    if name and not (folder / name).exists():
        tokenizers.write(folder / name)
        fill_up = fill_up_wordpiece if name == WordPiece.FILE else fill_up_sentencepiece
        fill_up(folder / name, PIECES[name])
    synthetic.write_weights(imported, folder, seed=0)
