"""CC3M: two headerless TSV files of caption and URL. Captions are lower-cased, with blanks around
punctuation."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.data.synthetic import captioned_images, url_responses
from pipeline.data.synthetic.language import caption_grammar
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.utils import files, seeds

_LISTS = {"train": "Train_GCC-training.tsv", "val": "Validation_GCC-1.1.0-Validation.tsv"}
# Like the real ones: with and without an extension, some with a query.
_URLS = (
    "http://images.cc3m.example/{part}/{index:06d}.jpg",
    "http://images.cc3m.example/{part}/{index:06d}.jpg",
    "http://cdn.cc3m.example/view?set={part}&id={index:06d}&w=72",
    "http://pictures.cc3m.example/{part}/scene-(large)/{index:06d}",
)
_PLACE = re.compile(
    r"http://\w+\.cc3m\.example/(?:view\?set=)?(train|val)\D+(\d{6})(?:\.jpg|&w=72)?"
)


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    for part, name in _LISTS.items():
        with files.replacing(folder / name) as temporary:
            temporary.write_bytes("".join(_lines(part, params)).encode())


def images(params: SyntheticParams) -> Callable[[str], bytes | None]:
    """What the URLs answer."""
    return url_responses.responder("cc3m", params, _locate)


def _lines(part: str, params: SyntheticParams) -> Iterator[str]:
    for index in range(params.count("cc3m", part)):
        rng = seeds.generator(params.seed, "captions", "cc3m", part, index)
        caption = caption_grammar.alt_text(
            captioned_images.scene_at(params, "cc3m", part, index), rng
        )
        yield f"{caption}\t{_URLS[index % len(_URLS)].format(part=part, index=index)}\n"


def _locate(url: str) -> tuple[str, int] | None:
    found = _PLACE.fullmatch(url)
    return (found[1], int(found[2])) if found else None
