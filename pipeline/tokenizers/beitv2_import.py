"""BEiTv2's released tokenizer files, such as
`vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth`."""

from pathlib import Path

import torch
from torch import Tensor

from model.tokenizer.vqkd import VQKD, VisualTokenizer, VQKDConfig
from pipeline.errors import UserError
from pipeline.utils import safe_checkpoint

SIZE = "params.yaml: visual_tokenizer.size"
DROPPED = ("teacher", "scaling", "loss")  # beginnings of names that BEiTv2's own loader passes over
# ours alone: the codebook of these tokenizers started at the first batch
WAITED = "quantize.embedding.waited"


def read_official(file: str | None, config: VQKDConfig) -> VisualTokenizer:
    """The tokenizer in a released file, whose tensors must be those of BEiTv2's module, no more and
    no less. Its decoder is left out.

    Raises:
        UserError: no such file, not such a file, another size, or a codebook that was never
        started.
    """
    if file is None or not Path(file).is_file():
        raise UserError(f"params.yaml: visual_tokenizer.official_file: {file}: no such file")
    state = _state(Path(file))
    _check(Path(file), state, layout(config))
    tokenizer = VisualTokenizer(config)
    tokenizer.load_state_dict(
        {
            name: tensor
            for name, tensor in (state | {WAITED: torch.zeros(1)}).items()
            if name in tokenizer.state_dict()
        }
    )
    return tokenizer.eval()


def layout(config: VQKDConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a released file of this size has."""
    with torch.device("meta"):
        own = VQKD(config).state_dict()
    unused = {
        "quantize.cluster_size": (config.codebook_size,),
        "quantize.embedding.cluster_size": (config.codebook_size,),
        "quantize.embedding.embed_avg": (config.codebook_size, config.codebook_dim),
    }
    return {name: tuple(tensor.shape) for name, tensor in own.items() if name != WAITED} | unused


def _check(path: Path, state: dict[str, Tensor], expected: dict[str, tuple[int, ...]]) -> None:
    if missing := [name for name in expected if name not in state]:
        raise UserError(
            f"{path}: {len(missing)} of {len(expected)} tensors are missing, such as {missing[0]}; "
            f"is it one of BEiTv2's vqkd files, and are the depths in {SIZE} right?"
        )
    if extra := [name for name in state if name not in expected]:
        raise UserError(
            f"{path}: {len(extra)} tensors too many, such as {extra[0]}; is it one of BEiTv2's vqkd files, "
            f"and are the depths in {SIZE} right?"
        )
    if wrong := [name for name in expected if expected[name] != tuple(state[name].shape)]:
        raise UserError(
            f"{path}: {wrong[0]} has shape {tuple(state[wrong[0]].shape)}, {SIZE} and the teacher ask for "
            f"{expected[wrong[0]]}"
        )
    if not state["quantize.embedding.initted"]:
        raise UserError(f"{path}: its codebook was never started (quantize.embedding.initted is 0)")


def _state(path: Path) -> dict[str, Tensor]:
    saved = safe_checkpoint.read(path)
    state = saved.get("model", saved.get("state_dict")) if isinstance(saved, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(tensor, Tensor) for tensor in state.values()
    ):
        raise UserError(f"{path}: no tensors under the key `model` or `state_dict`")
    return {name: tensor for name, tensor in state.items() if not name.startswith(DROPPED)}
