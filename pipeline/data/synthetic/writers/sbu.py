"""SBU: `sbu-captions-all.tar.gz` with one JSON object of three parallel arrays. Captions are in the
style of users."""

import re
from pathlib import Path

import numpy as np

from pipeline.data.synthetic import archives, captioned_images, url_responses
from pipeline.data.synthetic.language import caption_grammar
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes.scene import Scene
from pipeline.data.synthetic.url_responses import Responder
from pipeline.data.synthetic.world import World
from pipeline.utils import seeds

_URL = re.compile(r"http://static\.flickr\.com/\d{4}/(\d{10})_([0-9a-f]{10})\.jpg")
_FIRST, _STEP = 2_000_000_019, 37  # numbers of photographs
_REMARKS = (
    "I like this one",
    "taken on a day off",
    "look at that",
    "my favourite",
    "seen from our window",
    "as we found it",
    "again",
    "what a day",
)


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official file."""
    indices = range(params.count("sbu", "train"))
    table = {
        "image_urls": [_url(index) for index in indices],
        "user_ids": [f"{10_000_000 + 7919 * (index % 211)}@N00" for index in indices],
        "captions": [_caption(index, params) for index in indices],
    }
    archives.write_tar_gz(
        folder / "sbu-captions-all.tar.gz", [("sbu-captions-all.json", archives.json_bytes(table))]
    )


def url_responder(params: SyntheticParams) -> Responder:
    """The function URL -> body of the response, None for 404."""
    return url_responses.responder("sbu", params, _locate)


def _url(index: int) -> str:
    folder, number = 1000 + index % 4000, _FIRST + _STEP * index
    return f"http://static.flickr.com/{folder}/{number}_{_secret(index)}.jpg"


def _secret(index: int) -> str:
    return f"{seeds.key('sbu', index) % 16**10:010x}"


def _locate(url: str) -> tuple[str, int] | None:
    """Part and index of the image of a URL."""
    match = _URL.fullmatch(url)
    if not match:
        return None
    index, rest = divmod(int(match[1]) - _FIRST, _STEP)
    return ("train", index) if index >= 0 and rest == 0 and match[2] == _secret(index) else None


def _caption(index: int, params: SyntheticParams) -> str:
    rng = seeds.generator(params.seed, "captions", "sbu", "train", index)
    scene = captioned_images.scene_at(params, "sbu", "train", index)
    return _chatty_caption(scene, rng, params.world)


def _chatty_caption(scene: Scene, rng: np.random.Generator, world: World) -> str:
    """A caption with a remark, odd case and stray blanks."""
    text = caption_grammar.caption(scene, rng, world)
    draw = rng.random()
    if draw < 0.3:
        text = f"{caption_grammar.choose(rng, _REMARKS, world.usual)}.  {text.capitalize()}"
    elif draw < 0.4:
        text = text.title()
    elif draw < 0.5:
        text = f" {text}, {caption_grammar.choose(rng, _REMARKS, world.usual)}!"
    return text if rng.random() < 0.5 else text[0].upper() + text[1:] + "."
