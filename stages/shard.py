"""Turn the official files of a source into Parquet shards: `python -m stages.shard SOURCE`."""

from dataclasses import asdict
from pathlib import Path

from pipeline import files, origins, params, pool, sharding, tracking, work, yields
from pipeline.sharding import ShardParams
from pipeline.stage import entry


def main(source: str) -> None:
    """Write `data/<scale>/shards/<source>`."""
    settings = params.load(sharding.params_class(source), f"shard.{source}")
    data = Path("data", params.scale())
    origin = params.load(origins.params_class(source), f"download.{source}")
    root, folder = origins.readable(data / "raw" / source, origin), data / "shards" / source
    work.clean()
    with tracking.run(f"shard {source}", stage="shard", params=asdict(settings)) as run:
        run.metrics(_shard(source, root, folder, settings, data / "held_out.json"))
        run.metrics(yields.metrics(source, folder))
        run.dataset(folder, source, "shards")


def _shard(source: str, root: Path, folder: Path, settings: ShardParams, held_out: Path) -> dict[str, int]:
    """Work in the work folder, where an interrupted run goes on, and link the whole into `folder`."""
    filtered = getattr(settings, "filter_leaks", False)
    names = frozenset(files.read_json(held_out) if filtered else ())
    workers = params.load(pool.PoolParams, "pool").workers
    place = work.folder(f"shard/{source}", {"shard": settings, "files": _versions(root)}, [held_out] * filtered)
    with work.locked(place):
        counts = sharding.shard(source, root, place / "finished", settings, workers=workers, held_out=names)
        _report_yield(source, place / "finished")
        work.publish_folder(place, folder)
    return counts


def _report_yield(source: str, finished: Path) -> None:
    """Say how much of the paper's data is there. Too little stops the stage, whose work is kept."""
    if source in yields.PAPER:
        print(yields.sentence(source, finished))
        least = getattr(params.load(yields.YieldParams, "least_yield"), source)
        yields.check(source, finished, least, f"{params.scale()}.least_yield.{source}")


def _versions(root: Path) -> dict[str, list[int]]:
    """Size and time of every file: a checksum of a terabyte takes an hour."""
    facts = {path.relative_to(root).as_posix(): path.stat() for path in sorted(root.rglob("*")) if path.is_file()}
    return {name: [fact.st_size, fact.st_mtime_ns] for name, fact in facts.items()}


if __name__ == "__main__":
    entry(main)
