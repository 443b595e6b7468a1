"""A run's headline numbers beside the documented ranges, and the command that documents them."""

from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from pipeline.reporting import headline, seed_statistics
from pipeline.reporting.headline import Ranges
from pipeline.utils import files
from stages import readme
from tests.helpers import tiny

README = "before\n<!-- small: headline -->\nold\n<!-- /small -->\nafter\n"


def results(share: float) -> dict[str, Any]:
    """Those of a run in which all numbers are the same."""
    made: dict[str, Any] = {}
    for number in headline.HEADLINE:
        for source in filter(None, (number.ours, number.control, number.chance)):
            *way, last = source.replace("/", ".").split(".")
            reduce(lambda tree, key: tree.setdefault(key, {}), way, made)[last] = share
    return made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with a share of 0.5 everywhere, and one with three seeds; of README its headline."""
    tiny.write(tmp_path, tiny.settings())
    monkeypatch.chdir(tmp_path)
    for name, result in results(0.5).items():
        path = Path(f"results/small/evaluate/{name}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, result)
    of_seeds = [results(share) for share in (0.5, 0.4872, 0.5314)]
    summary = {"seeds": [1, 2, 3]}
    for end in ("lowest", "highest"):
        summary[end] = getattr(seed_statistics, end)(of_seeds)
    Path("results/small/seeds").mkdir()
    files.write_json(Path("results/small/seeds/summary.json"), summary)
    for name in ("_tables", "_validation", "_seeds"):
        monkeypatch.setattr(readme, name, lambda *_: "")
    monkeypatch.setattr(readme, "_source", lambda: "Commit 1234567.")
    monkeypatch.setattr(readme, "DOCUMENTS", (Path("README.md"),))
    monkeypatch.setattr(headline, "RANGES", Path("ranges.yaml"))
    Path("README.md").write_text(README)
    return tmp_path


def test_readme_has_the_ranges_over_seeds(project: Path) -> None:
    readme.main()
    lines = Path("README.md").read_text().splitlines()
    assert lines[2] == (
        "| | VL-BEiT | seeds 1, 2, 3 | control | chance, or the most frequent answer |"
    )
    assert lines[4] == "| VQAv2 test-dev | 50.0 | 48.7 to 53.1 | 50.0 | 50.0 |"
    assert lines[6] == "| Flickr30k text retrieval R@1 | 50.0 | 48.7 to 53.1 | – | 50.0 |"
    assert "expect 50%" in lines[10] and max(map(len, lines)) <= 100
    assert lines[13] == "Commit 1234567."
    assert (lines[0], lines[-1]) == ("before", "after")


def test_without_seeds_readme_has_none_and_what_was_documented_stays(project: Path) -> None:
    Path("results/small/seeds/summary.json").unlink()
    readme.main()
    lines = Path("README.md").read_text().splitlines()
    assert lines[4] == "| VQAv2 test-dev | 50.0 | 50.0 | 50.0 |"
    assert not Path("ranges.yaml").exists()


def test_a_run_is_compared_with_what_was_documented(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme.main()
    for name, share in (("nlvr2", 0.48749), ("imagenet1k", 0.4861), ("ade20k", 0.6)):
        files.write_json(Path(f"results/small/evaluate/{name}.json"), results(share)[name])
    headline.main()
    first, *lines = capsys.readouterr().out.splitlines()
    assert "range over seeds 1, 2, 3" in first and "50%" in first
    assert lines == [
        "VQAv2 test-dev                50.0  within 48.7 to 53.1",
        "NLVR2 test-P                  48.7  within 48.7 to 53.1",
        "Flickr30k text retrieval R@1  50.0  within 48.7 to 53.1",
        "ImageNet-1k top-1             48.6  0.1 below 48.7 to 53.1",
        "ADE20K mIoU                   60.0  6.9 above 48.7 to 53.1",
    ]


def test_what_is_not_there_is_not_compared(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headline.main()
    assert capsys.readouterr().out == "", "nothing is documented"
    assert headline.compared({}, Ranges([1, 2], {"ADE20K mIoU": (1.0, 2.0)})) == []


def test_other_scales_are_not_compared(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    readme.main()
    monkeypatch.setattr(headline.params, "scale", lambda: "medium")
    headline.main()
    assert capsys.readouterr().out == ""


def test_the_documented_ranges_can_be_read() -> None:
    """Those of the repository, where they have been written."""
    if headline.RANGES.exists():
        titles = {number.title for number in headline.HEADLINE}
        assert set(headline.read(headline.RANGES).by_title) <= titles
