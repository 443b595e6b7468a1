"""python -m stages.export [NAME] [FOLDER]: trained models as folders that need nothing else, each
with a model card.

NAME is a fine-tune or a pretraining variant; none: `main` and all that was fine-tuned from it. No
DVC stage: it copies what the pipeline has made, and the cards have the parameters that params.yaml
has now.
"""

from pathlib import Path

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.inference import export
from pipeline.tasks import fine_tunes
from pipeline.utils.entry_point import entry


def main(name: str | None = None, folder: str | None = None) -> None:
    """Write FOLDER, by default `exports/SCALE/NAME`."""
    scale = params.scale()
    tuned, variants = fine_tunes.names(), params.subtree("pretrain.variants")
    if name is not None and name not in tuned and name not in variants:
        known = ", ".join((*variants, *tuned))
        raise UserError(f"export: no model {name!r}; one of {known}")
    for exported in [name] if name else ["main", *_made_from_main()]:
        make = export.of_fine_tune if exported in tuned else export.of_variant
        out = Path(folder or Path("exports", scale, exported))
        export.write(make(scale, exported), scale, out)
        print(out)


def _names() -> list[str]:
    return [*params.subtree("pretrain.variants"), *fine_tunes.names()]


def _made_from_main() -> list[str]:
    """Names of the fine-tunes of the variant `main`."""
    return [name for name in fine_tunes.names() if fine_tunes.load(name).pretraining == "main"]


if __name__ == "__main__":
    entry(main, _names)
