"""Visual tokens: for every picture of a source some fixed views, and the tokenizer's ids of each.

One Parquet file per shard file, with the same name, rows and row groups. The loader replays the
stored views, so the ids always belong to the pixels that the model sees.
"""

import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from model import checkpoint
from model.tokenizer.vqkd import VisualTokenizer
from pipeline.config.params import Params
from pipeline.data.shards import parquet, schema
from pipeline.data.transforms import images, views
from pipeline.data.transforms.views import View, ViewParams
from pipeline.errors import UserError
from pipeline.orchestration import parallel_map
from pipeline.utils import files

STREAMS = ("images", "pairs")


@dataclass(frozen=True)
class VisualTokensParams:
    """Blocks `visual_tokens.common` and that of a stream, `visual_tokens.images` or `.pairs`."""

    seed: int
    sources: list[str]
    views: int  # per image
    view: ViewParams
    batch: int  # views that the tokenizer sees at a time
    threads: int


def load_stream(params: Params, stream: str) -> VisualTokensParams:
    """The parameters of one of STREAMS."""
    return params.load(VisualTokensParams, "visual_tokens.common", f"visual_tokens.{stream}")


def load_params(params: Params, source: str) -> VisualTokensParams:
    """The parameters of the stream that has a source.

    Raises:
        UserError: neither stream has it.
    """
    for stream in STREAMS:
        loaded = load_stream(params, stream)
        if source in loaded.sources:
            return loaded
    raise UserError(
        f"{params.file}: visual_tokens: {source} is neither in images.sources nor in pairs.sources"
    )


class Tokens:
    """Draws views and computes ids for the rows of one source."""

    def __init__(self, tokenizer: VisualTokenizer, params: VisualTokensParams):
        self.tokenizer, self.params = tokenizer, params
        self.device = next(tokenizer.parameters()).device
        self.schema = schema.visual_tokens(params.views, tokenizer.config.grid**2)

    def prepare(self, key: str, data: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
        """A picture's row of the table, still without ids, and the pixels of its views."""
        image = images.decode(data)
        drawn = self.draw(key, image.size, images.mean_luma(image))
        return (
            {"key": key, **views.columns(drawn)},
            [views.apply(image, view, self.tokenizer.config.image_size) for view in drawn],
        )

    def table(self, prepared: Sequence[tuple[dict[str, Any], list[np.ndarray]]]) -> pa.Table:
        """The rows of one row group, in `schema.visual_tokens`."""
        ids = self.ids([pixels for _, each in prepared for pixels in each]).reshape(
            len(prepared), -1
        )
        rows = [{**row, "tokens": tokens} for (row, _), tokens in zip(prepared, ids, strict=True)]
        return pa.Table.from_pylist(rows, self.schema)

    def draw(self, key: str, size: tuple[int, int], mean_luma: float) -> list[View]:
        """The views of a picture of `size` (width, height) pixels."""
        return [
            views.draw(self.params.seed, key, index, *size, mean_luma, self.params.view)
            for index in range(self.params.views)
        ]

    def ids(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Ids uint16 [n, patches] of n views, uint8 [size, size, 3] each."""
        parts = [
            self._ids(np.stack(pixels[start : start + self.params.batch]))
            for start in range(0, len(pixels), self.params.batch)
        ]
        return np.concatenate(parts)

    def _ids(self, pixels: np.ndarray) -> np.ndarray:
        """Of one batch, filled up to its full size: the shape of a matrix product can change its
        last bits, and with them the nearest code, so every picture is computed in a batch of the
        same shape."""
        filled = np.concatenate(
            [pixels, np.repeat(pixels[:1], self.params.batch - len(pixels), axis=0)]
        )
        ids = self.tokenizer.token_ids(images.normalize(torch.from_numpy(filled).to(self.device)))
        return ids[: len(pixels)].cpu().numpy().astype(np.uint16)


@dataclass(frozen=True)
class Job:
    """What the call for each shard file knows."""

    pictures: Path  # image shards
    tokenizer: Path  # model folder,
    digest: str  # and its SHA-256
    out: Path
    params: VisualTokensParams
    workers: int  # threads that decode

    def note(self, name: str) -> Path:
        """Says that a shard's tokens are whole: their checksum, and how often each code occurs."""
        return self.out / ".unfinished" / f"{name}.json"


def tokenize(
    pictures: Path,
    tokenizer: Path,
    out: Path,
    params: VisualTokensParams,
    *,
    workers: int = 1,
) -> dict[str, float]:
    """Tokenise every split of a folder of image shards, shard by shard; on a Ray cluster, a shard
    on each of its GPUs.

    Args:
        pictures: image shards. tokenizer: model folder. out: what is there already must come from
        an interrupted call with the same arguments; it is gone on with. workers: threads that
        decode the pictures of a row group while the tokenizer is at the one before.

    Returns:
        Metrics: the number of pictures and views, and the share of the codes in use.
    """
    job = Job(pictures, tokenizer, _digest(tokenizer), out, params, workers)
    splits = files.read_json(pictures / "index.json")["splits"]
    if not (out / "index.json").exists():
        names = [entry["name"] for described in splits.values() for entry in described["files"]]
        parallel_map.run(
            _write, ((job, name) for name in names if not job.note(name).exists()), 1, gpu=True
        )
        notes = {name: files.read_json(job.note(name)) for name in names}
        entries = {
            split: [
                {**entry, "sha256": notes[entry["name"]]["sha256"]} for entry in described["files"]
            ]
            for split, described in splits.items()
        }
        used = np.sum([note["counts"] for note in notes.values()], axis=0) > 0
        parquet.write_index(out, entries, code_usage=float(used.mean()), **_facts(job))
    shutil.rmtree(out / ".unfinished", ignore_errors=True)
    rows = sum(described["rows"] for described in splits.values())
    return {
        "pictures": rows,
        "views": rows * params.views,
        "code_usage": files.read_json(out / "index.json")["code_usage"],
    }


@lru_cache(maxsize=1)
def load_tokenizer(folder: Path, digest: str) -> VisualTokenizer:
    """The tokenizer, on the GPU where there is one; kept for the next shard, as long as it has this
    digest.

    Raises:
        UserError: it has more codes than the stored type can tell apart.
    """
    model = checkpoint.load(folder)
    if model.config.codebook_size > np.iinfo(np.uint16).max + 1:
        raise UserError(f"{folder}: {model.config.codebook_size} codes do not fit into 16 bits")
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _digest(folder: Path) -> str:
    """SHA-256 of the tokenizer's weights. Raises UserError where there is none."""
    try:
        return files.sha256(folder / "model.safetensors")
    except FileNotFoundError:
        raise UserError(f"{folder}: no visual tokenizer; run the stage visual_tokenizer") from None


def _write(job: Job, name: str) -> None:
    """Write the tokens of one shard file, and the note on them last of all."""
    torch.set_num_threads(job.params.threads)
    tokens = Tokens(load_tokenizer(job.tokenizer, job.digest), job.params)
    counts = np.zeros(tokens.tokenizer.config.codebook_size, np.int64)
    path = job.out / name
    with (
        files.replacing(path) as temporary,
        pq.ParquetWriter(temporary, tokens.schema, compression="zstd") as writer,
    ):
        for table in tables(job.pictures / name, tokens, job.workers):
            writer.write_table(table, row_group_size=len(table))
            ids = parquet.numbers(table["tokens"].combine_chunks().flatten())
            counts += np.bincount(ids, minlength=len(counts))
    files.write_json(job.note(name), {"sha256": files.sha256(path), "counts": counts.tolist()})


def tables(shard: Path, tokens: Tokens, workers: int) -> Iterator[pa.Table]:
    """The tokens of each row group of a shard file. `workers` threads prepare the next one
    meanwhile."""
    with pq.ParquetFile(shard) as file, ThreadPoolExecutor(workers) as threads:
        waiting: deque[list[Future]] = deque()
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=["key", "image"])
            waiting.append(
                [
                    threads.submit(tokens.prepare, key.as_py(), image.as_py())
                    for key, image in zip(table["key"], table["image"], strict=True)
                ]
            )
            if len(waiting) > 1:
                yield tokens.table([future.result() for future in waiting.popleft()])
        for futures in waiting:
            yield tokens.table([future.result() for future in futures])


def _facts(job: Job) -> dict[str, Any]:
    """What a reader of the tokens has to know of how they were made."""
    size, params = load_tokenizer(job.tokenizer, job.digest).config, job.params
    return {
        "codes": size.codebook_size,
        "patches": size.grid**2,
        "image_size": size.image_size,
        "patch_size": size.patch_size,
        "views": params.views,
        "draw": {"seed": params.seed, **asdict(params.view)},
        "interpolation": images.INTERPOLATION.name.lower(),
        "tokenizer_sha256": job.digest,
    }
