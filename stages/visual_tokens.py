"""Draw views of the pictures of a source and compute their visual tokens: `python -m stages.visual_tokens SOURCE`."""

from dataclasses import asdict
from pathlib import Path

from pipeline import params, tracking, visual_tokens
from pipeline.pool import PoolParams
from pipeline.stage import entry


def main(source: str) -> None:
    """Write `data/<scale>/visual_tokens/<source>`, file by file as the source's shards."""
    settings = params.load(visual_tokens.VisualTokensParams, "visual_tokens")
    data = Path("data", params.scale())
    pictures = data / "shards" / source
    with tracking.run(f"visual tokens {source}", stage="visual_tokens", params=asdict(settings)) as run:
        run.dataset(pictures, source, "tokenised")
        run.metrics(visual_tokens.tokenize(pictures, data / "visual_tokenizer" / "model",
                                           data / "visual_tokens" / source, source, settings,
                                           workers=params.load(PoolParams, "pool").workers))


if __name__ == "__main__":
    entry(main)
