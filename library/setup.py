"""What pyproject.toml cannot say: the wheel's files, and what it has of the project around it."""

import shutil
import sys
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from library import build_tree


class BuildTree(build_py):
    """Files from the checkout in place of those of a package folder."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)  # of an earlier build
        build_tree.write(Path(self.build_lib))


project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
setup(
    version=project["version"],
    long_description=(ROOT / "docs" / "use.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    cmdclass={"build_py": BuildTree},
)
