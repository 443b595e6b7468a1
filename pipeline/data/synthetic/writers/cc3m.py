"""CC3M: two TSV files of caption and URL, without header. Captions are in lower case, with blanks
around punctuation marks."""

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.data.synthetic import captioned_images, url_responses
from pipeline.data.synthetic.language import caption_grammar
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.url_responses import Responder
from pipeline.utils import files, seeds

_LISTS = {"train": "Train_GCC-training.tsv", "val": "Validation_GCC-1.1.0-Validation.tsv"}
# Like the real ones: with and without a suffix, some with a query.
_URLS = (
    "http://images.cc3m.example/{part}/{index:06d}.jpg",
    "http://images.cc3m.example/{part}/{index:06d}.jpg",
    "http://cdn.cc3m.example/view?set={part}&id={index:06d}&w=72",
    "http://pictures.cc3m.example/{part}/scene-(large)/{index:06d}",
)
_URL = re.compile(r"http://\w+\.cc3m\.example/(?:view\?set=)?(train|val)\D+(\d{6})(?:\.jpg|&w=72)?")


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    for part, name in _LISTS.items():
        with files.replacing(folder / name) as temporary:
            temporary.write_bytes("".join(_lines(part, params)).encode())


def url_responder(params: SyntheticParams) -> Responder:
    """The function URL -> body of the response, None for 404."""
    return url_responses.responder("cc3m", params, _locate)


def _lines(part: str, params: SyntheticParams) -> Iterator[str]:
    for index in range(params.count("cc3m", part)):
        rng = seeds.generator(params.seed, "captions", "cc3m", part, index)
        scene = captioned_images.scene_at(params, "cc3m", part, index)
        caption = caption_grammar.alt_text(scene, rng, params.world)
        yield f"{caption}\t{_URLS[index % len(_URLS)].format(part=part, index=index)}\n"


def _locate(url: str) -> tuple[str, int] | None:
    """Part and index of the image of a URL."""
    match = _URL.fullmatch(url)
    return (match[1], int(match[2])) if match else None
