"""python -m stages.export [NAME] [FOLDER]: trained models as folders that need nothing else, each
with a model card.

NAME is a fine-tune, a pretraining variant or an import; none: `main` and all that was fine-tuned from it,
those that were trained; of the others a line says why they are missing. No DVC stage: it copies what the pipeline has made, and the cards have the parameters that params.yaml
has now.
"""

import sys
from pathlib import Path

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.inference import export
from pipeline.pretraining import variants
from pipeline.tasks import fine_tunes
from pipeline.utils.entry_point import entry


def main(name: str | None = None, folder: str | None = None) -> None:
    """Write FOLDER, by default `exports/SCALE/NAME`."""
    scale = params.scale()
    if name is not None and name not in (known := _names()):
        raise UserError(f"export: no model {name!r}; one of {', '.join(known)}")
    if name is not None:
        print(_export(name, scale, folder))
        return
    missing = []
    for trained in ["main", *_made_from_main()]:
        try:
            print(_export(trained, scale))
        except UserError as error:
            missing.append(str(error))
            print(f"{trained}: not exported: {error}", file=sys.stderr)
    if len(missing) > len(_made_from_main()):
        raise UserError(f"nothing to export: {missing[0]}")


def _export(name: str, scale: str, folder: str | None = None) -> Path:
    """The folder that a model was written to. Raises UserError where it has not been trained."""
    if name in fine_tunes.names():
        kind = "finetune"
    else:
        kind = "import" if name in params.subtree("imports") else "pretrain"
    out = Path(folder or Path("exports", scale, name))
    export.write(export.of(scale, f"{kind}/{name}"), scale, out)
    return out


def _names() -> list[str]:
    imports = params.subtree("imports")
    return [*variants.names(params.read()), *fine_tunes.names(), *imports]


def _made_from_main() -> list[str]:
    """Names of the fine-tunes of the variant `main`."""
    return [name for name in fine_tunes.names() if fine_tunes.load(name).pretraining == "main"]


if __name__ == "__main__":
    entry(main, _names)
