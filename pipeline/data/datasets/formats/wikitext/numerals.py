"""Numerals as English writes them."""

import re

_DECIMAL = re.compile(r"([-−+]?)(\d+)(\.\d+)?")


def grouped(number: str) -> str:
    """`12,345.6`, for `12345.6`; empty if that is no number."""
    match = _DECIMAL.fullmatch(number.replace(",", "").strip())
    if match is None:
        return ""
    sign, whole, decimals = match.groups()
    start = len(whole) % 3 or 3
    groups = [whole[:start], *(whole[at : at + 3] for at in range(start, len(whole), 3))]
    return sign.replace("-", "−") + ",".join(groups) + (decimals or "")


def ordinal(number: str) -> str:
    """`21st`, for `21`; empty if that is no whole number."""
    if not (number.isascii() and number.isdecimal()):
        return ""
    if number[-2:] in ("11", "12", "13"):
        return f"{number}th"
    return number + {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")
