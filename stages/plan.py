"""python -m stages.plan [SCALE]: what the reproduction at a scale fetches, makes and takes, before
anything starts."""

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.planning import plan
from pipeline.utils.entry_point import entry


def main(scale: str | None = None) -> None:
    """Print the plan of `scale`, or of params.yaml's."""
    if scale is not None and scale not in params.SCALES:
        raise UserError(f"plan: expected one of {', '.join(params.SCALES)}, found {scale!r}")
    for page in plan.pages(scale or params.scale()):
        print(page, end="\n\n")


if __name__ == "__main__":
    entry(main)
