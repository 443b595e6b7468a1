"""python -m stages.scale SCALE: make a preset of `params/` the parameters that run.

No DVC stage. It refuses where params.yaml has changes that are neither committed nor those of a
preset.
"""

import subprocess
from pathlib import Path

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.utils import files
from pipeline.utils.entry_point import entry


def main(scale: str) -> None:
    """Copy `params/SCALE.yaml` to params.yaml."""
    if scale not in params.presets():
        raise UserError(f"scale: no {scale!r}; one of {', '.join(params.presets())}")
    if params.FILE.exists() and not _kept(params.FILE.read_bytes()):
        raise UserError(
            f"{params.FILE} has changes that are in no commit and no preset: commit them, or move "
            "the file away, then run this again"
        )
    with files.replacing(params.FILE) as temporary:
        temporary.write_bytes((params.PRESETS / f"{scale}.yaml").read_bytes())
    print(f"{params.FILE}: {scale}")


def _kept(content: bytes) -> bool:
    """Whether the content stands in git or in a preset, too."""
    presets = [path.read_bytes() for path in sorted(params.PRESETS.glob("*.yaml"))]
    return content in (*presets, _committed(params.FILE))


def _committed(path: Path) -> bytes | None:
    """A file as git's last commit has it; None where there is none."""
    done = subprocess.run(["git", "show", f"HEAD:./{path}"], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


if __name__ == "__main__":
    entry(main, params.presets)
