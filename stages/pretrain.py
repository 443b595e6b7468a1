"""python -m stages.pretrain VARIANT: one model from texts, pictures and pairs."""

from pathlib import Path

from pipeline import params, pretraining, work
from pipeline.launch import launch
from pipeline.pretraining_data import DataFolders
from pipeline.stage import entry
from pipeline.views import ViewParams


def main(variant: str) -> None:
    """Read the variant's parameters, train on the workers they name, publish into `runs/<scale>/pretrain/<variant>`."""
    scale = params.scale()
    common = params.load(pretraining.CommonParams, "pretrain.common")
    chosen = params.load(pretraining.VariantParams, f"pretrain.variants.{variant}")
    folders = DataFolders.of(scale)
    draws = None
    if common.open.visual_tokens == "online":
        draws = {name: params.load(ViewParams, f"visual_tokens.{name}.draw") for name in ("images", "pairs")}
    work.clean()
    place = work.folder(f"{scale}/pretrain/{variant}", {"common": common, "variant": chosen, "draws": draws},
                        pretraining.inputs(folders, common))
    job = pretraining.Job(variant, place, folders, common, chosen, draws)
    launch(pretraining.run, job, num_workers=chosen.num_workers, threads=chosen.threads)
    work.publish(place, Path("runs", scale, "pretrain", variant))


if __name__ == "__main__":
    entry(main)
