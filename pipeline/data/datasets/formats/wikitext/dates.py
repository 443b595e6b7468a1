"""Templates of dates."""

from __future__ import annotations

from calendar import month_name
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.data.records import HOLE

if TYPE_CHECKING:
    from pipeline.data.datasets.formats.wikitext.templates import Call

_MONTHS = tuple(month_name)[1:]


def day(call: Call) -> str:
    """`April 3, 1885`, for `{{birth date|1885|4|3}}`; with `df=y` `3 April 1885`. Ages that the
    template counts are left out."""
    parts = [text for text in call.positional if text]
    if len(parts) == 1 and not parts[0].isdecimal():
        return parts[0]  # a date as a text
    return _date(parts[:3], day_first=call.get("df").lower() in ("y", "yes", "1"))


def written_out(call: Call) -> str:
    """The first argument, which is a date as a text."""
    return call.get("1") or HOLE


def year(call: Call) -> str:
    """The first argument, if it is a year."""
    return call.get("1") if call.get("1").isdecimal() else HOLE


def as_of(call: Call) -> str:
    """`As of April 2012`, for `{{As of|2012|4}}`."""
    if text := call.get("alt"):
        return text
    words = "Since" if call.get("since") else "As of"
    words = words.lower() if call.get("lc") else words
    date = _date(call.positional[:3], day_first=call.get("df").lower() != "us")
    return HOLE if date == HOLE else f"{words} {date}"


def about(call: Call) -> str:
    """`c. 1900`, for `{{circa|1900}}`; `c. 1900 – c. 1910` for two years."""
    if not call.positional:
        return "c."
    return " – ".join(f"c. {text}" for text in call.positional[:2] if text) or "c."


def span(word: str) -> Callable[[Call], str]:
    """Renders `fl. 1900–1910`, for `{{floruit|1900|1910}}` and the word `fl.`."""
    return lambda call: f"{word} {'–'.join(filter(None, call.positional[:2]))}".strip()


def _date(parts: list[str], day_first: bool) -> str:
    """parts: year, month and day, of which the last ones may be missing."""
    year, month, day_of_month = (text.strip() for text in [*parts, "", "", ""][:3])
    if not year.isdecimal():
        return HOLE
    if not month:
        return year
    if not (name := _month(month)):
        return HOLE
    if not day_of_month:
        return f"{name} {year}"
    if not (day_of_month.isdecimal() and len(day_of_month) <= 2):
        return HOLE
    day_of_month = day_of_month.lstrip("0")
    return f"{day_of_month} {name} {year}" if day_first else f"{name} {day_of_month}, {year}"


def _month(text: str) -> str:
    """The name of a month that is a number or the start of a name; empty if it is neither."""
    if text.isdecimal():
        number = int(text) if len(text) <= 2 else 0
        return _MONTHS[number - 1] if 1 <= number <= 12 else ""
    matches = (name for name in _MONTHS if name[:3].lower() == text[:3].lower())
    return next(matches, "")
