"""Images of downstream validation and test sets, by the names under which pretraining sources know
them.

COCO's images were taken from Flickr, and half of Visual Genome's are COCO's; SBU's and Flickr30K's
are Flickr's too. A model must not be tested on what it was pretrained on, so retrieval's validation
and test images are left out of the pretraining pairs (UNITER). The test images of VQA 2.0 are in no
pretraining source; its validation images are COCO's training images in other tasks, and no reported
number comes from them. No other downstream set tells where its images are from.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pipeline.data import datasets
from pipeline.errors import UserError
from pipeline.utils import files


def has_evaluation_images(source: str) -> bool:
    """Whether the validation and test images of a data set must not be pretrained on."""
    return hasattr(datasets.load(source), "evaluation_images")


def write(roots: Mapping[str, Path], path: Path) -> dict[str, int]:
    """Write the names of all evaluation images, such as "coco 42" and "flickr 2345678901", sorted.

    roots: the folder of the official files of each data set that has such images.
    Returns how many names there are of each collection ("coco", "flickr").

    Raises:
        UserError: an official file is missing or damaged.
    """
    names: set[str] = set()
    try:
        for source, root in roots.items():
            names.update(datasets.load(source).evaluation_images(root))
    except FileNotFoundError as error:
        raise UserError(f"{error}; run the download stage") from None
    files.write_json(path, sorted(names))
    return dict(Counter(name.partition(" ")[0] for name in sorted(names)))
