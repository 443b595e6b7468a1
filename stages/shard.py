"""Turn the official files of a data set into Parquet shards: `python -m stages.shard SOURCE`."""

from dataclasses import asdict
from pathlib import Path

from pipeline.config import params
from pipeline.data import datasets
from pipeline.data.datasets import facts
from pipeline.data.datasets.formats import names
from pipeline.data.download.params import DownloadParams, load_params, readable
from pipeline.data.sharding import build, count_checks, coverage, rejections
from pipeline.data.sharding.build import ShardParams
from pipeline.orchestration import parallel_map
from pipeline.tracking import client as tracking
from pipeline.utils import files, workdir
from pipeline.utils.entry_point import entry


def main(source: str) -> None:
    """Write `data/<scale>/shards/<source>`."""
    settings = params.load(build.params_class(source), "shard.common", f"shard.{source}")
    data = Path("data", params.scale())
    origin = load_params(params.read(), source)
    root, folder = readable(data / "raw" / source, origin), data / "shards" / source
    workdir.clean()
    with tracking.run(f"shard {source}", stage="shard", params=asdict(settings)) as run:
        if origin.origin == "none":
            run.metrics(build.write_none(source, folder))
        else:
            excluded = data / "decontamination.json"
            run.metrics(_shard(source, root, folder, settings, excluded, _is_counted(origin)))
        run.metrics(coverage.metrics(source, folder))
        run.dataset(folder, source, "shards")


def _shard(
    source: str, root: Path, folder: Path, settings: ShardParams, excluded: Path, counted: bool
) -> dict[str, int]:
    """Work in the work folder, where an interrupted run goes on, and link the whole into `folder`.

    excluded: the file of the names of images that may not be trained on; counted: whether the
    records are to be as many as is published.
    """
    filtered = getattr(settings, "decontaminate", False)
    names = frozenset(files.read_json(excluded) if filtered else ())
    workers = params.load(parallel_map.PoolParams, "pool").workers
    content = asdict(settings)
    content.pop("min_coverage", None)  # finished work is kept when it is lowered
    work_dir = workdir.folder(
        f"shard/{source}", {"shard": content, "files": _versions(root)}, [excluded] * filtered
    )
    with workdir.locked(work_dir):
        counts = build.shard(
            source,
            root,
            work_dir / "finished",
            settings,
            workers=workers,
            excluded=names,
            expected=_expected(source) if counted else None,
        )
        print(rejections.summary(source, work_dir / "finished"))
        (work_dir / "finished/counts.json").unlink(missing_ok=True)  # of an earlier try
        if counted:
            counts |= _count(source, root, work_dir / "finished")
        if isinstance(settings, build.PretrainingShardParams):
            _check_coverage(source, work_dir / "finished", settings.min_coverage)
        workdir.publish_folder(work_dir, folder)
    return counts


def _check_coverage(source: str, finished: Path, minimum: float) -> None:
    """Print how much of the paper's data is there. Too little stops the stage, whose work is
    kept."""
    print(coverage.sentence(source, finished))
    coverage.check(source, finished, minimum, f"shard.{source}.min_coverage")


def _is_counted(origin: DownloadParams) -> bool:
    """Whether the files are to be the official ones, with as many records in them as is
    published."""
    return origin.origin != "synthetic" and origin.official


def _expected(source: str) -> int | None:
    """Records that are published; of texts kilobytes are."""
    return None if datasets.load(source).KIND == "text" else facts.read(source).plan.records


def _count(source: str, root: Path, finished: Path) -> dict[str, int]:
    """Leave `counts.json` beside the shards. A wrong one that must be exact stops the stage, whose
    work stays."""
    checks = count_checks.check(source, root, finished)
    files.write_json(finished / "counts.json", [asdict(check) for check in checks])
    print(count_checks.table(source, checks))
    count_checks.require(source, checks, f"download.{source}")
    return count_checks.metrics(checks)


def _versions(root: Path) -> dict[str, list[int]]:
    """Size and time of every file of the data set: a checksum of a terabyte takes an hour."""
    versions = {}
    for name in names.files_below(root):
        status = (root / name).stat()
        versions[name] = [status.st_size, status.st_mtime_ns]
    return versions


if __name__ == "__main__":
    entry(main, datasets.names)
