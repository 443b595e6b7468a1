"""A folder of small image shards."""

from io import BytesIO

import numpy as np
from PIL import Image

from pipeline.data.shards import parquet, schema
from pipeline.utils.seeds import generator


def jpeg(*name) -> bytes:
    """A smooth random image, 20 to 28 pixels wide and high."""
    random = generator("toy picture", *name)
    width, height = (int(side) for side in random.integers(20, 29, 2))
    image = Image.fromarray(random.integers(0, 256, (5, 5, 3)).astype(np.uint8)).resize(
        (width, height)
    )
    data = BytesIO()
    image.save(data, "JPEG", quality=90)
    return data.getvalue()


def write(folder, splits):
    """Shards with `splits[name]` images, in groups of 6 and files of 2 groups."""
    entries = {}
    folder.mkdir(parents=True)
    for split, count in splits.items():
        rows = []
        for number in range(count):
            data = jpeg(split, number)
            width, height = Image.open(BytesIO(data)).size
            rows.append(
                {
                    "key": f"{split}-{number}",
                    "image": data,
                    "width": width,
                    "height": height,
                    "label": -1,
                    "captions": ["a", "b"],
                }
            )
        entries[split] = parquet.write(
            folder, split, rows, schema.IMAGE_SHARD, rows_per_group=6, groups_per_file=2
        )
    parquet.write_index(folder, entries)
