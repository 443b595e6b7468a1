"""Visual tokens: fixed views of every image of a source, and the token ids of each view.

There is one Parquet file per shard file, with the same name, rows and row groups. The loader
replays the stored views, so the token ids always belong to the pixels that the model sees.
"""

import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from model.tokenizer.vqkd import VisualTokenizer
from pipeline.config.limits import Count, Interval, Threads
from pipeline.config.params import Params
from pipeline.data.shards import parquet, schema
from pipeline.data.shards.parquet import RowGroup
from pipeline.data.transforms import images, views
from pipeline.data.transforms.views import View, ViewParams
from pipeline.errors import UserError
from pipeline.orchestration import parallel_map
from pipeline.tokenizers.visual_token_ids import visual_token_ids
from pipeline.utils import files, model_folder
from pipeline.utils.progress import Progress

STREAMS = ("images", "pairs")


@dataclass(frozen=True)
class VisualTokensParams:
    """Blocks `visual_tokens.common` and that of a stream, `visual_tokens.images` or `.pairs`."""

    seed: int
    sources: list[str]
    views: Annotated[int, Interval(1, 1_000)]  # per image
    view: ViewParams
    batch: Count  # views that the tokenizer sees at a time
    threads: Threads


def load_stream(params: Params, stream: str) -> VisualTokensParams:
    """The parameters of one of STREAMS."""
    return params.load(VisualTokensParams, "visual_tokens.common", f"visual_tokens.{stream}")


def load_params(params: Params, source: str) -> VisualTokensParams:
    """The parameters of the stream that reads a source.

    Raises:
        UserError: neither stream reads it.
    """
    for stream in STREAMS:
        loaded = load_stream(params, stream)
        if source in loaded.sources:
            return loaded
    raise UserError(
        f"{params.file}: visual_tokens: {source} is neither in images.sources nor in pairs.sources"
    )


class PreparedImage(NamedTuple):
    """An image whose views are drawn and not yet tokenized."""

    columns: dict[str, Any]  # a row of `schema.visual_tokens` without `tokens`
    pixels: list[np.ndarray]  # of each view, uint8 [size, size, 3]


class ViewTokenizer:
    """Draws the views of images and computes their token ids."""

    def __init__(self, tokenizer: VisualTokenizer, params: VisualTokensParams):
        self.tokenizer, self.params = tokenizer, params
        self.device = next(tokenizer.parameters()).device
        self.schema = schema.visual_tokens(params.views, tokenizer.config.grid**2)

    def prepare(self, key: str, encoded: bytes) -> PreparedImage:
        """Decode an image and draw its views."""
        image = images.decode(encoded)
        drawn = self.draw(key, image.size, images.mean_luma(image))
        size = self.tokenizer.config.image_size
        pixels = [views.apply(image, view, size) for view in drawn]
        return PreparedImage({"key": key, **views.columns(drawn)}, pixels)

    def table(self, prepared: Sequence[PreparedImage]) -> pa.Table:
        """The rows of one row group, in `schema.visual_tokens`."""
        pixels: list[np.ndarray] = []
        for image in prepared:
            pixels += image.pixels
        token_ids = self.token_ids(pixels).reshape(len(prepared), -1)
        rows = []
        for image, tokens in zip(prepared, token_ids, strict=True):
            rows.append({**image.columns, "tokens": tokens})
        return pa.Table.from_pylist(rows, self.schema)

    def draw(self, key: str, size: tuple[int, int], mean_luma: float) -> list[View]:
        """The views of an image of `size` (width, height) pixels."""
        return [
            views.draw(self.params.seed, key, index, *size, mean_luma, self.params.view)
            for index in range(self.params.views)
        ]

    def token_ids(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Token ids uint16 [n, patches] of n views, uint8 [size, size, 3] each."""
        token_ids = []
        for start in range(0, len(pixels), self.params.batch):
            token_ids.append(self._of_batch(pixels[start : start + self.params.batch]))
        return np.concatenate(token_ids)

    def _of_batch(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Token ids of at most a batch of views. Every batch is padded to its full size: the shape
        of a matrix product can change its last bits, and with them the nearest codebook vector."""
        padding = [pixels[0]] * (self.params.batch - len(pixels))
        batch = torch.from_numpy(np.stack([*pixels, *padding])).to(self.device)
        token_ids = visual_token_ids(self.tokenizer, images.normalize(batch))
        return token_ids[: len(pixels)].cpu().numpy().astype(np.uint16)


@dataclass(frozen=True)
class TokenizeJob:
    """What the tasks that tokenize a shard file each have in common."""

    shards: Path  # folder of image shards
    tokenizer: Path  # model folder
    digest: str  # SHA-256 of the tokenizer's weights
    out: Path
    params: VisualTokensParams
    workers: int  # threads that decode

    def record(self, name: str) -> Path:
        """The file that is written once a shard file's tokens are complete: their SHA-256, and how
        often each visual token occurs."""
        return self.out / ".unfinished" / f"{name}.json"


def tokenize(
    shards: Path,
    tokenizer: Path,
    out: Path,
    params: VisualTokensParams,
    *,
    workers: int = 1,
) -> dict[str, float]:
    """Tokenize every split of a folder of image shards, file by file; on a Ray cluster, one file at
    a time on each of its GPUs.

    Args:
        shards: folder of image shards.
        tokenizer: model folder.
        out: folder of the tokens. What it holds must come from an interrupted call with the same
            arguments, which is resumed.
        workers: threads that decode the images of a row group while the tokenizer computes those of
            the one before.

    Returns:
        Metrics: the number of images and of views, and the fraction of the codebook in use.
    """
    job = TokenizeJob(shards, tokenizer, _digest(tokenizer), out, params, workers)
    splits = files.read_json(shards / "index.json")["splits"]
    if not (out / "index.json").exists():
        _tokenize_files(job, splits)
        _write_index(job, splits)
    shutil.rmtree(out / ".unfinished", ignore_errors=True)
    num_images = sum(facts["rows"] for facts in splits.values())
    return {
        "images": num_images,
        "views": num_images * params.views,
        "codebook_usage": files.read_json(out / "index.json")["codebook_usage"],
    }


@lru_cache(maxsize=1)
def load_tokenizer(folder: Path, digest: str) -> VisualTokenizer:
    """The tokenizer, on the GPU where there is one; cached from shard file to shard file, under the
    digest of its weights.

    Raises:
        UserError: the folder holds none, or its codebook is too large for token ids of 16 bits.
    """
    model = model_folder.load(folder, "run the stage visual_tokenizer again")
    if not isinstance(model, VisualTokenizer):
        raise UserError(f"{folder}: holds a {type(model).__name__}, not a visual tokenizer")
    size = model.config.codebook_size
    if size > np.iinfo(np.uint16).max + 1:
        raise UserError(f"{folder}: the ids of {size} visual tokens do not fit into 16 bits")
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _digest(folder: Path) -> str:
    """SHA-256 of the tokenizer's weights. Raises UserError where there are none."""
    try:
        return files.sha256(folder / "model.safetensors")
    except FileNotFoundError:
        raise UserError(f"{folder}: no visual tokenizer; run the stage visual_tokenizer") from None


def _tokenize_files(job: TokenizeJob, splits: dict[str, Any]) -> None:
    """Tokenize the shard files that have no record; `splits` are those of the shards' index."""
    rows = {}
    for facts in splits.values():
        for file in facts["files"]:
            rows[file["name"]] = sum(count for count, _ in file["groups"])
    pending = [(job, name) for name in rows if not job.record(name).exists()]
    with Progress(job.shards.name, sum(rows.values()), "images") as progress:
        progress.skip(sum(rows.values()) - sum(rows[name] for _, name in pending))
        parallel_map.run(
            _tokenize_file, pending, 1, gpu=True, done=lambda call: progress.advance(rows[call[1]])
        )


def _tokenize_file(job: TokenizeJob, name: str) -> None:
    """Write the tokens of one shard file, then its record."""
    torch.set_num_threads(job.params.threads)
    tokenizer = ViewTokenizer(load_tokenizer(job.tokenizer, job.digest), job.params)
    counts = np.zeros(tokenizer.tokenizer.config.codebook_size, np.int64)
    path = job.out / name
    groups = parquet.file_groups(job.shards, name)
    with (
        files.replacing(path) as temporary,
        pq.ParquetWriter(
            temporary, tokenizer.schema, compression="zstd", **parquet.CHECKED
        ) as writer,
    ):
        for table in tokenized_groups(groups, tokenizer, job.workers):
            writer.write_table(table, row_group_size=len(table))
            token_ids = parquet.numbers(table["tokens"].combine_chunks().flatten())
            counts += np.bincount(token_ids, minlength=len(counts))
    record = {"checksums": parquet.checksums(path), "counts": counts.tolist()}
    files.write_json(job.record(name), record)


def tokenized_groups(
    groups: Sequence[RowGroup], tokenizer: ViewTokenizer, workers: int
) -> Iterator[pa.Table]:
    """The tokens of each row group of images. Meanwhile `workers` threads prepare the images of the
    next one."""
    with ThreadPoolExecutor(workers) as threads:
        pending: deque[list[Future[PreparedImage]]] = deque()
        for group in groups:
            rows = parquet.read_group(group, ("key", "image")).to_pylist()
            pending.append(
                [threads.submit(tokenizer.prepare, row["key"], row["image"]) for row in rows]
            )
            if len(pending) > 1:
                yield tokenizer.table(_results(pending.popleft()))
        for futures in pending:
            yield tokenizer.table(_results(futures))


def _results(futures: Sequence[Future[PreparedImage]]) -> list[PreparedImage]:
    return [future.result() for future in futures]


def _write_index(job: TokenizeJob, splits: dict[str, Any]) -> None:
    """Write index.json from the records of all shard files; `splits` are those of the shards'
    index."""
    entries: dict[str, list[dict[str, Any]]] = {}
    counts = []
    for split, facts in splits.items():
        entries[split] = []
        for file in facts["files"]:
            record = files.read_json(job.record(file["name"]))
            entries[split].append({**file, **record["checksums"]})
            counts.append(record["counts"])
    used = np.sum(counts, axis=0) > 0
    parquet.write_index(job.out, entries, codebook_usage=float(used.mean()), **_provenance(job))


def _provenance(job: TokenizeJob) -> dict[str, Any]:
    """How the tokens were made, for their index."""
    config, params = load_tokenizer(job.tokenizer, job.digest).config, job.params
    return {
        "codebook_size": config.codebook_size,
        "patches": config.grid**2,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "views": params.views,
        "draw": {"seed": params.seed, **asdict(params.view)},
        "interpolation": images.INTERPOLATION.name.lower(),
        "tokenizer_sha256": job.digest,
    }
