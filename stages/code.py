"""What code each stage depends on, as digests that DVC compares: `python -m stages.code`."""

from pathlib import Path

from pipeline.config import params
from pipeline.orchestration.code_digests import Code
from pipeline.utils import files
from pipeline.utils.entry_point import entry


def main() -> None:
    """Write `data/<scale>/code.json`."""
    files.write_json(Path("data", params.scale(), "code.json"), Code().digests())


if __name__ == "__main__":
    entry(main)
