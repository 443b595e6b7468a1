"""Turn the official files of a source into Parquet shards: `python -m stages.shard SOURCE`."""

from dataclasses import asdict
from pathlib import Path

from pipeline import origins, params, sharding, tracking
from pipeline.stage import entry


def main(source: str) -> None:
    settings = params.load(sharding.params_class(source), f"shard.{source}")
    data = Path("data", params.scale())
    origin = params.load(origins.params_class(source), f"download.{source}")
    root, folder = origins.readable(data / "raw" / source, origin), data / "shards" / source
    with tracking.run(f"shard {source}", stage="shard", params=asdict(settings)) as run:
        run.metrics(sharding.shard(source, root, folder, settings))
        run.dataset(folder, source, "shards")


if __name__ == "__main__":
    entry(main)
