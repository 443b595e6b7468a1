"""Draw views of the pictures of a source and compute their visual tokens: `python -m stages.visual_tokens SOURCE`."""

from dataclasses import asdict
from pathlib import Path

from pipeline import params, tracking, visual_tokens, work
from pipeline.pool import PoolParams
from pipeline.stage import entry


def main(source: str) -> None:
    """Write `data/<scale>/visual_tokens/<source>`, file by file as the source's shards; a killed run goes on."""
    settings = params.load(visual_tokens.VisualTokensParams, "visual_tokens")
    data = Path("data", params.scale())
    pictures = data / "shards" / source
    tokenizer = data / "visual_tokenizer" / "model"
    work.clean()
    place = work.folder(f"visual_tokens/{source}", {"tokens": settings},
                        [pictures / "index.json", tokenizer / "model.safetensors"])
    with work.locked(place), tracking.run(f"visual tokens {source}", stage="visual_tokens",
                                          params=asdict(settings)) as run:
        run.dataset(pictures, source, "tokenised")
        run.metrics(visual_tokens.tokenize(pictures, tokenizer, place / "finished", source, settings,
                                           workers=params.load(PoolParams, "pool").workers))
        work.publish_folder(place, data / "visual_tokens" / source)


if __name__ == "__main__":
    entry(main)
