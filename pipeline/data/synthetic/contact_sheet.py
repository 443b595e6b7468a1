"""A sheet of test images with one caption each: `python -m pipeline.data.synthetic.contact_sheet
docs/synthetic.png`."""

import sys
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline.config import params as parameters
from pipeline.data.synthetic import captioned_images
from pipeline.data.synthetic.captioned_images import CaptionedImage
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render

_ZOOM, _GAP, _TEXT = 3, 14, 64  # pixels, except for the zoom


def contact_sheet(params: SyntheticParams, rows: int, columns: int) -> Image.Image:
    """The first rows * columns images of Flickr30k's test part, three times as large, each with a
    caption below."""
    side = params.image_size * _ZOOM
    cell_width, cell_height = side + _GAP, side + _TEXT + _GAP
    size = columns * cell_width + _GAP, rows * cell_height + _GAP
    sheet = Image.new("RGB", size, "white")
    for index in range(rows * columns):
        image = captioned_images.captioned_image(params, "flickr30k", "test", index)
        row, column = divmod(index, columns)
        _paste(sheet, image, (_GAP + column * cell_width, _GAP + row * cell_height), side)
    return sheet


def _paste(sheet: Image.Image, image: CaptionedImage, corner: tuple[int, int], side: int) -> None:
    """Paste an image and a caption; corner: left top one of the image's square of `side` pixels."""
    pixels = render.render(image.scene)
    zoomed = (pixels.width * _ZOOM, pixels.height * _ZOOM)
    pixels = pixels.resize(zoomed, Image.Resampling.BICUBIC)
    left, top = corner
    sheet.paste(pixels, (left + (side - pixels.width) // 2, top + (side - pixels.height)))
    font = ImageFont.load_default(12)
    text = "\n".join(textwrap.wrap(image.captions[image.index % 5], width=side // 6))
    draw = ImageDraw.Draw(sheet)
    draw.multiline_text((left, top + side + 6), text, fill=(40, 40, 40), font=font)


if __name__ == "__main__":
    params = parameters.load(SyntheticParams, "synthetic")
    contact_sheet(params, rows=4, columns=6).save(Path(sys.argv[1]))
