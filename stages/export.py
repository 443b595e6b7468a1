"""python -m stages.export [ITEM] [FOLDER]: trained models as folders that need nothing else, each
with a model card.

ITEM is a fine-tune of `items` or a variant of pretraining; none: `main` and all that was fine-tuned
from it. No DVC stage: it copies what the pipeline has made, and the cards have the settings that
params.yaml has now.
"""

from pathlib import Path

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.inference import export
from pipeline.utils.entry_point import entry


def main(name: str | None = None, folder: str | None = None) -> None:
    """Write FOLDER, by default `exports/<scale>/<item>`."""
    scale = params.scale()
    items, variants = params.subtree("items"), params.subtree(f"{scale}.pretrain.variants")
    names = (
        [name]
        if name
        else ["main", *(key for key, item in items.items() if item["variant"] == "main")]
    )
    for one in names:
        if one not in items and one not in variants:
            raise UserError(f"export: no item {one!r}; items are {', '.join((*variants, *items))}")
        exported = export.of_item(scale, one) if one in items else export.of_variant(scale, one)
        target = Path(folder or Path("exports", scale, one))
        export.write(exported, scale, target)
        print(target)


if __name__ == "__main__":
    entry(main)
