"""Train the visual tokenizer on image shards, or import a released one: `python -m stages.visual_tokenizer`."""

from pathlib import Path

from pipeline import params, visual_tokenizer, work
from pipeline.launch import launch
from pipeline.stage import entry


def main() -> None:
    """Publish `model/`, `curve.jsonl` and `metrics.json` into `data/<scale>/visual_tokenizer`."""
    scale = params.scale()
    settings = params.load(visual_tokenizer.VisualTokenizerParams, "visual_tokenizer")
    data = Path("data", scale)
    work.clean()
    place = work.folder(f"{scale}/visual_tokenizer", {"params": settings},
                        visual_tokenizer.inputs(data / "shards", settings))
    job = visual_tokenizer.Job(place, data / "shards", settings)
    workers = settings.num_workers if settings.origin == "train" else 0
    launch(visual_tokenizer.run, job, num_workers=workers, threads=settings.threads)
    work.publish(place, data / "visual_tokenizer")


if __name__ == "__main__":
    entry(main)
