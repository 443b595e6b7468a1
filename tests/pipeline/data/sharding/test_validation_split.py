"""However few records there are: one is for validation where there are two, and never all."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.sharding import build, external_shuffle, validation_split
from pipeline.data.sharding.build import ShardParams
from pipeline.data.shards import parquet


def write_books(root: Path, count: int) -> None:
    root.mkdir()
    for number in range(count):
        lines = [f"Sentence {line} of the book number {number}.\n" for line in range(20)]
        (root / f"book {number}.txt").write_text("".join(lines))


def keys_by_split(folder: Path) -> dict[str, list[str]]:
    return {
        split: [row["key"] for row in parquet.read_rows(folder, split)]
        for split in ("train", "val")
        if (folder / f"{split}-00000.parquet").exists()
    }


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_one_of_few_books_is_for_validation(tmp_path, count):
    write_books(tmp_path / "raw", count)
    build.shard("bookcorpus", tmp_path / "raw", tmp_path / "a", ShardParams(4, 2, 1e-9))
    split = keys_by_split(tmp_path / "a")
    assert len(split["train"]) == max(count - 1, 1) and len(split.get("val", [])) == (count > 1)
    build.shard("bookcorpus", tmp_path / "raw", tmp_path / "b", ShardParams(4, 2, 0.0))
    assert set(keys_by_split(tmp_path / "b")) == {"train"}  # none is asked for


@settings(max_examples=25)
@given(
    keys=st.lists(st.text(max_size=4), unique=True, max_size=12),
    pieces=st.integers(1, 4),
    twice=st.booleans(),
)
def test_rows_stay_the_same_but_for_the_split_of_one(tmp_path_factory, keys, pieces, twice):
    folder = tmp_path_factory.mktemp("runs")
    rows = [("train", {"key": key, "value": number}) for number, key in enumerate(keys)]
    runs = [folder / str(number) for number in range(pieces)]
    for number, run in enumerate(runs):
        external_shuffle.write_run(run, rows[number::pieces] + (rows[:1] if twice else []))
        mark(run).write_bytes(b"whole")
    validation_split.ensure(runs, mark)
    after = {
        key: split for run in runs for split in splits_of(run) for key in splits_of(run)[split]
    }
    assert set(after) == set(keys)
    in_val = [key for key, split in after.items() if split == "val"]
    smallest = min(keys, key=lambda key: external_shuffle.share(key, "holdout"), default=None)
    assert in_val == ([smallest] if len(keys) > 1 else [])
    before = [run.read_bytes() for run in runs]
    validation_split.ensure(runs, mark)
    assert [run.read_bytes() for run in runs] == before
    assert all(mark(run).read_bytes() == b"whole" for run in runs)


def mark(run: Path) -> Path:
    return run.with_name(f"{run.name}.mark")


def splits_of(run: Path) -> dict[str, list[str]]:
    return {split: list(external_shuffle.keys(run, split)) for split in ("train", "val", "test")}


def test_what_is_killed_meanwhile_ends_the_same(tmp_path, monkeypatch):
    """Between any two writes; the run that lost its mark is made anew."""
    write_books(tmp_path / "raw", 3)
    params = ShardParams(4, 2, 1e-9)
    build.shard("bookcorpus", tmp_path / "raw", tmp_path / "whole", params)
    real = external_shuffle.move
    for after in (False, True):

        def killed(*arguments, after=after):
            if after:
                real(*arguments)
            raise KeyboardInterrupt

        folder = tmp_path / f"killed {after}"
        monkeypatch.setattr(external_shuffle, "move", killed)
        with pytest.raises(KeyboardInterrupt):
            build.shard("bookcorpus", tmp_path / "raw", folder, params)
        monkeypatch.setattr(external_shuffle, "move", real)
        build.shard("bookcorpus", tmp_path / "raw", folder, params)
        for path in (tmp_path / "whole").iterdir():
            assert path.read_bytes() == (folder / path.name).read_bytes()
