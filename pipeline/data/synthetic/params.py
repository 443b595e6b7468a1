"""The parameters of the generated world."""

from dataclasses import dataclass

from pipeline.errors import UserError


@dataclass(frozen=True)
class SyntheticParams:
    """What is generated, and how much of it.

    seed: everything in the world is a function of it; image_size: longest side of the pictures,
    pixels; jpeg_quality: 1..95; sizes: how many pictures, pages or lines, by source and then by
    part (such as `sizes["flickr30k"]["test"]`).
    """

    seed: int
    image_size: int
    jpeg_quality: int
    sizes: dict[str, dict[str, int]]

    def count(self, source: str, part: str) -> int:
        """How many records this part of a source has. Raises UserError that names the missing or
        negative key."""
        size = self.sizes.get(source, {}).get(part)
        if size is None or size < 0:
            raise UserError(
                f"params.yaml: world.sizes.{source}.{part}: expected a number of records, found {size!r}"
            )
        return size
