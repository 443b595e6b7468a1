"""Slices of the real data sets, which the repository does not hold: subfolders of the folder that
the environment variable `VLBEIT_TEST_DATA` names. CONTRIBUTING.md lists their files."""

import os
from pathlib import Path

import pytest

VARIABLE = "VLBEIT_TEST_DATA"


def folder(name: str) -> Path:
    """The slice of one data set. It need not exist: `needs` skips the tests that read it."""
    return Path(os.environ.get(VARIABLE, "")).absolute() / name


def needs(*names: str) -> pytest.MarkDecorator:
    """Skips a test or a class unless all these slices are at hand, and says what to set."""
    missing = [name for name in names if not folder(name).is_dir()]
    if not os.environ.get(VARIABLE):
        return pytest.mark.skip(reason=f"{VARIABLE} is not set (see CONTRIBUTING.md)")
    return pytest.mark.skipif(
        bool(missing), reason=f"no {', '.join(missing)} in the folder that {VARIABLE} names"
    )
