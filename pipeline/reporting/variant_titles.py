"""Pretraining variants by the names that the paper's tables have for them."""

_TITLES = {
    "main": "VL-BEiT",
    "mvlm": "[1] MVLM",
    "mvlm_mim": "[2] MVLM + MIM",
    "all": "[3] MVLM + MIM + MLM",
    "mvlm_mlm": "MVLM + MLM",
    "mim_mlm": "MIM + MLM, no pairs",
    "standard": "Standard Transformer",
    "none": "no pretraining",
}
ORDER = tuple(_TITLES)


def of(variant: str) -> str:
    """A variant's name in tables and figures; of a variant of one's own, its key."""
    return _TITLES.get(variant, variant)


def position(variant: str) -> tuple[int, str]:
    """What variants are sorted by: as in the tables, others last."""
    return (ORDER.index(variant) if variant in _TITLES else len(ORDER), variant)
