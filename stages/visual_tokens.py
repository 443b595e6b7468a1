"""Draw views of the images of a source and compute their visual tokens: `python -m
stages.visual_tokens SOURCE`."""

from dataclasses import asdict
from pathlib import Path

from pipeline.config import params
from pipeline.orchestration.parallel_map import PoolParams
from pipeline.tokenizers import visual_tokens
from pipeline.tracking import client as tracking
from pipeline.utils import workdir
from pipeline.utils.entry_point import entry


def main(source: str) -> None:
    """Write `data/<scale>/visual_tokens/<source>`, file by file as the source's shards; a killed
    run goes on."""
    settings = visual_tokens.load_params(params.read(), source)
    data = Path("data", params.scale())
    shards = data / "shards" / source
    tokenizer = data / "visual_tokenizer" / "model"
    workdir.clean()
    work_dir = workdir.folder(
        f"visual_tokens/{source}",
        {"tokens": settings},
        [shards / "index.json", tokenizer / "model.safetensors"],
    )
    with (
        workdir.locked(work_dir),
        tracking.run(
            f"visual tokens {source}", stage="visual_tokens", params=asdict(settings)
        ) as run,
    ):
        run.dataset(shards, source, "tokenized")
        run.metrics(
            visual_tokens.tokenize(
                shards,
                tokenizer,
                work_dir / "finished",
                settings,
                workers=params.load(PoolParams, "pool").workers,
            )
        )
        workdir.publish_folder(work_dir, data / "visual_tokens" / source)


def _names() -> list[str]:
    """The data sets of images that are pretrained on."""
    streams = [visual_tokens.load_stream(params.read(), name) for name in visual_tokens.STREAMS]
    return [source for stream in streams for source in stream.sources]


if __name__ == "__main__":
    entry(main, _names)
