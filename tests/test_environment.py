"""What the environment must be."""

from importlib.metadata import PackageNotFoundError, packages_distributions, version

import PIL
import pytest


def test_pillow_simd_alone_owns_pil() -> None:
    assert set(packages_distributions()["PIL"]) == {"pillow-simd"}
    assert version("pillow-simd") == PIL.__version__
    with pytest.raises(PackageNotFoundError):
        version("pillow")
