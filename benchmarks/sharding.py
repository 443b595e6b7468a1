"""How fast shards are made, and in how much memory: `python -m benchmarks.sharding`, or with a
data set and a folder of its official files, such as `wikipedia /data/wikipedia`.

One process, all that a stage does: reading, checking, sorting, writing. Images are generated
noise of the sizes and byte counts of photographs, articles are synthetic. Prints a line
per case.
"""

import bz2
import io
import multiprocessing
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.photos import photograph
from pipeline.config import params as parameters
from pipeline.data import datasets
from pipeline.data.sharding import build
from pipeline.data.sharding.build import ImageShardParams, ShardParams
from pipeline.data.synthetic.generate import write
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.world import World
from pipeline.utils import files

IMAGES = 3000  # of a case, in three classes
DISTINCT = 40  # of these
PAGES = 3000
TEXTS = ShardParams(rows_per_group=100, groups_per_file=100, val_fraction=0.0)

WORLD = parameters.load(World, "synthetic.world")


@dataclass(frozen=True)
class Case:
    """What is measured; sizes in pixels."""

    name: str
    width: int
    height: int
    quality: int
    max_side: int


# Quality is such that an image has the mean number of bytes of its data set's.
CASES = (
    Case("ImageNet's size, checked and kept (92 KB)", 500, 375, 94, 512),
    Case("ImageNet's size, reduced to 256 pixels", 500, 375, 94, 256),
    Case("COCO's size, checked and kept (163 KB)", 640, 480, 95, 0),
    Case("COCO's size, reduced to 512 pixels", 640, 480, 95, 512),
)


def write_images(folder: Path, case: Case) -> None:
    """A tar of tars, as ImageNet's."""
    images = [photograph(seed, case.width, case.height, case.quality) for seed in range(DISTINCT)]
    with tarfile.open(folder / "fall11_whole.tar", "w") as outer:
        for wnid in ("n01", "n02", "n03"):
            with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w") as inner:
                for number in range(IMAGES // 3):
                    name = f"{wnid}_{number}.JPEG"
                    # no two are equal to Parquet
                    _add(inner, name, images[number % DISTINCT] + name.encode())
            _add(outer, f"{wnid}.tar", buffer.getvalue())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def measured(source: str, root: Path, params: ShardParams) -> tuple[int, float, float, float]:
    """Rows, seconds, MB written, and MiB of memory at the highest, less what an idle process
    has."""
    idle = peak()
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        counts = build.shard(source, root, Path(out), params)
        seconds = time.perf_counter() - start
        written = sum(path.stat().st_size for path in Path(out).glob("*.parquet"))
    return sum(counts.values()) - counts["rejected"], seconds, written / 1e6, peak() - idle


def peak() -> float:
    """MiB of memory that this process has had at the highest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _decoded(path: Path) -> int:
    """Bytes of a file, of a dump as XML."""
    if path.suffix != ".bz2":
        return path.stat().st_size
    with bz2.open(path) as file:
        return sum(map(len, iter(lambda: file.read(1 << 20), b"")))


def in_fresh_process(*arguments: Any) -> tuple[int, float, float, float]:
    """`measured` in a process whose memory nobody has used."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, *arguments).result()


def line(name: str, root: Path, source: str, params: ShardParams) -> str:
    """One case, with its rates."""
    size = sum(map(_decoded, datasets.load(source).files(root))) / 1e6
    rows, seconds, written, peak = in_fresh_process(source, root, params)
    return (
        f"{name:44} {rows:6} rows {size:7.1f} MB in {written:7.1f} MB out {seconds:6.1f} s "
        f"{rows / seconds:7.1f} rows/s {size / seconds:6.1f} MB/s {peak:6.0f} MiB"
    )


def generated(folder: Path) -> Iterator[str]:
    """All cases."""
    for case in CASES:
        root = files.fresh_directory(folder / "images")
        write_images(root, case)
        yield line(case.name, root, "imagenet22k", ImageShardParams(100, 100, 0.0, case.max_side))
    root = files.fresh_directory(folder / "wikipedia")
    write(
        "wikipedia", root, SyntheticParams(1, 64, 90, {"wikipedia": {"pages": PAGES}}, world=WORLD)
    )
    yield line("generated articles, XML", root, "wikipedia", TEXTS)


def main(words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        if words:
            source, root = words
            params = TEXTS
            if datasets.load(source).KIND != "text":
                params = ImageShardParams(**asdict(TEXTS), max_side=512)
            print(line(source, Path(root), source, params))
        else:
            for text in generated(Path(name)):
                print(text, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
