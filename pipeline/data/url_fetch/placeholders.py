"""Images that stand for others ("photo unavailable"): those that many URLs of a list gave.

They are known only when all URLs have an answer. So the files of what was fetched call such images
"ok", and `placeholders.json` beside them holds their digests; who reads the files leaves these rows
out.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.data.shards import parquet
from pipeline.utils import files

STATUS = "placeholder image"
_NAME = "placeholders.json"


def mark(folder: Path, minimum: int) -> int:
    """Write the digests of the images that at least `minimum` different URLs gave; return how many
    rows hold them.

    The same URL in several rows counts once. Takes some 50 bytes of memory per URL.
    """
    tables = [np.empty((0, 2), np.int64)]
    tables += map(_digests_and_urls, sorted(folder.glob("*.parquet")))
    pairs = np.concatenate(tables)
    digests, urls = np.unique(np.unique(pairs, axis=0)[:, 0], return_counts=True)
    shared = digests[urls >= minimum]
    files.write_json(folder / _NAME, shared.view(np.uint64).tolist())
    return int(np.isin(pairs[:, 0], shared).sum())


def read(folder: Path) -> frozenset[int]:
    """The digests."""
    return frozenset(files.read_json(folder / _NAME))


def _digests_and_urls(path: Path) -> np.ndarray:
    """int64 [images, 2]: digest, and a hash of the URL that holds in this process."""
    table = pq.read_table(path, columns=["digest", "url"])
    table = table.filter(table["digest"].is_valid())
    digests = parquet.numbers(table["digest"].combine_chunks()).view(np.int64)
    urls = np.fromiter(map(hash, table["url"].to_pylist()), np.int64, len(table))
    return np.stack([digests, urls], axis=1)
