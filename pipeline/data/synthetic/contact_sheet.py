"""A page of test pictures with one caption each: `python -m pipeline.data.synthetic.contact_sheet
docs/world.png`."""

import sys
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline.config import params as parameters
from pipeline.data.synthetic import captioned_images
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render

_ZOOM, _GAP, _TEXT = 3, 14, 64  # pixels, except for the zoom


def contact_sheet(params: SyntheticParams, rows: int, columns: int) -> Image.Image:
    """The first rows * columns pictures of Flickr30k's test part, three times as large, each with a
    caption below."""
    side = params.image_size * _ZOOM
    cell = side + _GAP, side + _TEXT + _GAP
    sheet = Image.new("RGB", (columns * cell[0] + _GAP, rows * cell[1] + _GAP), "white")
    for index in range(rows * columns):
        item = captioned_images.item(params, "flickr30k", "test", index)
        corner = _GAP + index % columns * cell[0], _GAP + index // columns * cell[1]
        _paste(sheet, item, corner, side)
    return sheet


def _paste(
    sheet: Image.Image, item: captioned_images.Item, corner: tuple[int, int], side: int
) -> None:
    picture = render.render(item.scene)
    picture = picture.resize(
        (picture.width * _ZOOM, picture.height * _ZOOM), Image.Resampling.BICUBIC
    )
    left, top = corner[0] + (side - picture.width) // 2, corner[1] + (side - picture.height)
    sheet.paste(picture, (left, top))
    font = ImageFont.load_default(12)
    text = "\n".join(textwrap.wrap(item.captions[item.index % 5], width=side // 6))
    ImageDraw.Draw(sheet).multiline_text(
        (corner[0], corner[1] + side + 6), text, fill=(40, 40, 40), font=font
    )


if __name__ == "__main__":
    contact_sheet(parameters.load(SyntheticParams, "synthetic"), rows=4, columns=6).save(
        Path(sys.argv[1])
    )
