"""Pictures of downstream validation and test sets, by the names that pretraining sources know them
by.

COCO's pictures were taken from Flickr, and half of Visual Genome's are COCO's; SBU's and
Flickr30K's are Flickr's too. What a model was pretrained on must not be what it is tested on, so
retrieval's held-out pictures are left out of the pretraining pairs (UNITER). The test pictures of
VQA 2.0 are in no pretraining source; its validation pictures are COCO's training pictures in other
tasks, and no reported number comes from them. No other downstream set tells where its pictures are
from.
"""

from collections.abc import Mapping
from pathlib import Path

from pipeline.data import datasets
from pipeline.errors import UserError
from pipeline.utils import files

SOURCES = ("coco", "flickr30k")


def write(roots: Mapping[str, Path], path: Path) -> dict[str, int]:
    """Write the names of the held-out pictures, such as "coco 42" and "flickr 2345678901"; returns
    how many of each.

    roots: where the official files are of those of SOURCES that there are.

    Raises:
        UserError: an official file is missing or damaged.
    """
    try:
        names = sorted(
            {
                name
                for source, root in roots.items()
                for name in datasets.load(source).held_out(root)
            }
        )
    except FileNotFoundError as error:
        raise UserError(f"{error}; run the download stage") from None
    files.write_json(path, names)
    return {where: sum(name.startswith(where) for name in names) for where in ("coco", "flickr")}
