"""The README's file tree is whole."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("folder", ["model", "pipeline", "benchmarks", "docs"])
def test_every_file_has_its_line(folder: str) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files = {
        path.name
        for suffix in ("py", "md", "yaml", "j2")
        for path in (ROOT / folder).glob(f"*.{suffix}")
    }
    assert {name for name in files - {"__init__.py"} if name not in text} == set()
