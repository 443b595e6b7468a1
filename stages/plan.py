"""python -m stages.plan [SCALE]: what the reproduction at a scale fetches, makes and takes, before
anything starts."""

from pipeline.config import params
from pipeline.planning import plan
from pipeline.utils.entry_point import entry


def main(scale: str | None = None) -> None:
    """Print the plan of `scale`, or of params.yaml's."""
    for page in plan.pages(params.preset(scale or params.scale())):
        print(page, end="\n\n")


if __name__ == "__main__":
    entry(main, params.presets)
