"""Lines of progress: what they say, how often they come, and that short stages have none."""

import sys
from collections.abc import Callable

import pytest

from pipeline.data.url_fetch.progress import UrlProgress
from pipeline.utils import progress
from pipeline.utils.progress import ByteProgress, Progress

Clock = Callable[[float], None]


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Lets seconds pass."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    return pass_time


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_line_a_minute_in_a_log(pass_time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("coco", 82_783, "images") as line:
        for _ in range(4):
            pass_time(30)
            line.advance(6_300)
        line.advance(100)
    assert printed(capsys) == [
        "coco: 12,600 of 82,783 images, 210/s, 5:34 left",
        "coco: 25,200 of 82,783 images, 210/s, 4:34 left",
        "coco: 25,300 of 82,783 images, 211/s, 4:33 left",
    ]


def test_short_work_says_nothing(pass_time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("coco", 20, "images") as line:
        pass_time(59)
        line.advance(20)
    assert printed(capsys) == []


def test_a_terminal_shows_one_line_that_is_replaced(
    pass_time: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("coco", 20, "images") as line:
        for _ in range(2):
            pass_time(1)
            line.advance(5)
    written = capsys.readouterr().err
    assert written.count("\r") == 2 and written.count("\n") == 1 and written.endswith("\n")
    assert "\rcoco: 5 of 20 images, 5.0/s, 0:03 left " in written


def test_work_of_an_earlier_run_makes_no_rate(pass_time: Clock) -> None:
    line = Progress("coco", None, "images")
    line.skip(1_000)
    pass_time(60)
    line.advance(60)
    assert line.line() == "coco: 1,060 images, 1.0/s"


def test_a_download_counts_bytes(pass_time: Clock) -> None:
    line = ByteProgress("coco", {"a.zip": 15_400_000_000, "b.zip": 0}, 350_000_000)
    line.set_size("b.zip", 5_000_000_000)
    pass_time(60)
    line.advance(5_100_000_000)
    assert line.line() == "coco: 5.5 GB of 20.4 GB, 85.0 MB/s, 2:56 left"


def test_fetched_urls_say_how_many_gave_an_image(pass_time: Clock) -> None:
    line = UrlProgress("cc3m", 240)
    line.add(True, earlier=True)
    for number in range(119):
        pass_time(1)
        line.add(number % 2 == 0)
    assert line.line() == "cc3m: 120 of 240 URLs, 50.8 % ok, 1.0/s, 2:00 left"


def test_times_that_are_left() -> None:
    assert [progress.clock(seconds) for seconds in (0.2, 83, 7510, 353_110)] == [
        "0:00",
        "1:23",
        "2:05:10",
        "4 d 2:05:10",
    ]
    assert [progress.duration(seconds) for seconds in (0.2, 59, 3600, 90_000)] == [
        "0 s",
        "59 s",
        "1 h",
        "1 d 1 h",
    ]
