"""What a run needs of its data, checked before it starts."""

from pathlib import Path

from pipeline.data.loading.sampler import OrderParams, check_order, check_sharing
from pipeline.data.shards import parquet
from pipeline.errors import UserError


def require_split(folder: Path, split: str, key: str) -> int:
    """The number of row groups of a split that has samples.

    Args:
        folder: shards or tokens of a source, whose name it has.
        key: what names the source, such as `params.yaml: pretrain.common.validation.pairs`.

    Raises:
        UserError: there are no samples; the message says what to change.
    """
    try:
        groups = parquet.row_groups(folder, split)
    except UserError as error:
        advice = f"leave {folder.name} out"
        if split == "val":
            advice = f"set shard.{folder.name}.val_fraction above 0, or {advice}"
        raise UserError(f"{key}: {error}; {advice}") from None
    return len(groups)


def require_order(groups: int, order: OrderParams, micro_batches: int, key: str) -> None:
    """Raises UserError where the batches of `order` cannot be had from so many row groups, or not
    be cut into so many micro-batches."""
    check_order(order, groups, key)
    check_sharing(order, micro_batches, key)
