"""What a pretraining needs, checked before it starts."""

from pathlib import Path

from pipeline.data.loading.requirements import require_order, require_split
from pipeline.errors import UserError
from pipeline.pretraining.data import STREAMS, DataFolders
from pipeline.pretraining.variants import STREAM_OF, Dimensions, PretrainParams
from pipeline.utils import files

_COMMON = "params.yaml: pretrain.common"


def check(folders: DataFolders, params: PretrainParams) -> None:
    """Raises UserError, in one line that names the key, where data are missing that training or
    validation will ask for, or sizes do not fit each other."""
    _check_sizes(params)
    if params.objectives and not params.steps:
        raise UserError("params.yaml: pretrain.budgets: steps: at least 1 with objectives")
    for objective in params.objectives:
        _check_stream(folders, STREAM_OF[objective], params)
    for stream in STREAMS:
        for source in getattr(params.validation, stream):
            key = f"{_COMMON}.validation.{stream}"
            require_split(_samples(folders, stream, source), "val", key)
    _check_texts(folders, params)


def _check_stream(folders: DataFolders, stream: str, params: PretrainParams) -> None:
    """The training data of a stream."""
    groups, data = 0, getattr(params.data, stream)
    for source, passes in data.sources.items():
        if passes:
            key = f"{_COMMON}.data.{stream}.sources"
            groups += passes * require_split(_samples(folders, stream, source), "train", key)
    if not groups:
        raise UserError(f"{_COMMON}.data.{stream}.sources: none, but the variant learns from it")
    key = f"{_COMMON}.data.{stream}.order"
    require_order(groups, data.order, params.loop.gradient_accumulation, key)


def _check_sizes(params: PretrainParams) -> None:
    size = params.dimensions
    for whole, part in (("image_size", "patch_size"), ("embed_dim", "num_heads")):
        if getattr(size, whole) % getattr(size, part):
            raise UserError(
                f"{_COMMON}.dimensions: {whole} {getattr(size, whole)} is not a multiple of {part} "
                f"{getattr(size, part)}"
            )
    if params.masks.num_masked_patches > (patches := _patches(size)):
        raise UserError(
            f"{_COMMON}.masks.num_masked_patches: {params.masks.num_masked_patches}, but an image "
            f"has {patches} patches"
        )
    if size.caption_length > size.text_length:
        raise UserError(
            f"{_COMMON}.dimensions.caption_length: more than text_length {size.text_length}"
        )
    start = params.architecture.vl_ffn_start_layer
    if start is not None and start >= size.depth:
        raise UserError(
            f"{_COMMON}.architecture.vl_ffn_start_layer: {start}, but depth is {size.depth}"
        )


def _check_texts(folders: DataFolders, params: PretrainParams) -> None:
    """Texts are no longer than the model's position table."""
    for source in (*params.data.texts.sources, *params.validation.texts):
        longest = files.read_json(folders.text_tokens / source / "index.json")["max_length"]
        if longest > params.dimensions.text_length:
            raise UserError(
                f"{_COMMON}.dimensions.text_length: {params.dimensions.text_length}, but text_tokens.max_length "
                f"is {longest}"
            )


def _patches(size: Dimensions) -> int:
    return (size.image_size // size.patch_size) ** 2


def _samples(folders: DataFolders, stream: str, source: str) -> Path:
    """The folder whose index counts the samples of a source."""
    return (folders.text_tokens if stream == "texts" else folders.shards) / source
