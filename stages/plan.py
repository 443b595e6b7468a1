"""python -m stages.plan [SCALE] [ITEM]: what the reproduction at a scale fetches, makes and takes,
before anything starts; or what one DVC item of it does, such as `evaluate@vlmo-coco`."""

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.planning import plan
from pipeline.utils.entry_point import entry


def main(scale: str | None = None, item: str | None = None) -> None:
    """Print the plan of `scale`, or of params.yaml's."""
    scale = scale or params.scale()
    if item is None:
        pages = plan.pages(params.preset(scale))
    elif scale != params.scale():
        raise UserError(
            f"plan: items are those of params.yaml, which is {params.scale()}; run "
            f"`make scale SCALE={scale}` first"
        )
    else:
        pages = plan.item_pages(params.read(), item)
    for page in pages:
        print(page, end="\n\n")


if __name__ == "__main__":
    entry(main, params.presets)
