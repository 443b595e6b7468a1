"""Parameters of the synthetic data."""

from dataclasses import dataclass
from typing import Annotated

from pipeline.config.limits import Interval, Quality
from pipeline.data.synthetic.world import World
from pipeline.errors import UserError


@dataclass(frozen=True)
class SyntheticParams:
    """What is generated, and how much of it.

    seed: of everything that is random; image_size: longest side of the images, pixels;
    jpeg_quality: 1..95; sizes: number of images, pages or lines, by source and then by part (such
    as `sizes["flickr30k"]["test"]`); world: what images and texts are about.
    """

    seed: int
    image_size: Annotated[int, Interval(16, 16_384)]
    jpeg_quality: Quality
    sizes: dict[str, dict[str, int]]
    world: World

    def count(self, source: str, part: str) -> int:
        """The number of records in a part of a source.

        Raises:
            UserError: it is missing or negative.
        """
        size = self.sizes.get(source, {}).get(part)
        if size is None or size < 0:
            key = f"synthetic.sizes.{source}.{part}"
            raise UserError(f"params.yaml: {key}: expected a number of records, found {size!r}")
        return size
