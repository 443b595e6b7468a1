"""Import of BEiTv2's released tokenizers, such as
`vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth`."""

from pathlib import Path

import torch
from torch import Tensor

from model.tokenizer.vqkd import VQKD, VisualTokenizer, VQKDConfig
from pipeline.errors import UserError
from pipeline.utils import finite, safe_checkpoint

SIZE = "params.yaml: visual_tokenizer.dimensions"
IGNORED_PREFIXES = ("teacher", "scaling", "loss")  # tensors that BEiTv2's own loader skips
# a buffer of ours alone; released codebooks started at the first batch, so it is zero
WAITED = "quantize.embedding.waited"

# Of the length of codebook vectors. Rounding to 16 bits moves it by less, and no id whose vector is
# nearer than the next by as much.
UNIT_TOLERANCE = 1e-3

Shape = tuple[int, ...]


def read_official(file: str | None, config: VQKDConfig) -> VisualTokenizer:
    """The tokenizer in a released file, whose tensors must be exactly those of BEiTv2's module. Its
    decoder is left out.

    Raises:
        UserError: no such file, not such a file, another size, numbers that are not finite, or a
            codebook that was never started or whose vectors are not of length one.
    """
    if file is None or not Path(file).is_file():
        raise UserError(f"params.yaml: visual_tokenizer.official_file: {file}: no such file")
    state = _read_state(Path(file))
    _check(Path(file), state, released_shapes(config))
    state[WAITED] = torch.zeros(1)
    tokenizer = VisualTokenizer(config)
    tokenizer.load_state_dict({name: state[name] for name in tokenizer.state_dict()})
    finite.check_weights(Path(file), tokenizer)
    return tokenizer.eval()


def released_shapes(config: VQKDConfig) -> dict[str, Shape]:
    """Names and shapes of the tensors in a released file of this size."""
    with torch.device("meta"):
        state = VQKD(config).state_dict()
    shapes: dict[str, Shape] = {name: tuple(tensor.shape) for name, tensor in state.items()}
    del shapes[WAITED]
    return shapes | {
        "quantize.cluster_size": (config.codebook_size,),
        "quantize.embedding.cluster_size": (config.codebook_size,),
        "quantize.embedding.embed_avg": (config.codebook_size, config.codebook_dim),
    }


def _check(path: Path, state: dict[str, Tensor], expected: dict[str, Shape]) -> None:
    hint = f"is it one of BEiTv2's vqkd files, and are the depths in {SIZE} right?"
    if missing := [name for name in expected if name not in state]:
        raise UserError(
            f"{path}: {len(missing)} of {len(expected)} tensors are missing, such as {missing[0]}; "
            f"{hint}"
        )
    if extra := [name for name in state if name not in expected]:
        raise UserError(f"{path}: {len(extra)} tensors too many, such as {extra[0]}; {hint}")
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise UserError(
                f"{path}: {name} has shape {tuple(state[name].shape)}, {SIZE} and the teacher ask "
                f"for {shape}"
            )
    if not state["quantize.embedding.initted"]:
        raise UserError(f"{path}: its codebook was never started (quantize.embedding.initted is 0)")
    # else the largest product would not be BEiTv2's smallest distance
    lengths = state["quantize.embedding.weight"].double().norm(dim=1)
    if not (lengths - 1).abs().max() <= UNIT_TOLERANCE:  # NaN is neither
        raise UserError(
            f"{path}: quantize.embedding.weight: BEiTv2's codebook vectors are of length one, these "
            f"are of {lengths.min():.4g} to {lengths.max():.4g}"
        )


def _read_state(path: Path) -> dict[str, Tensor]:
    tensors = safe_checkpoint.read_tensors(path)
    return {name: tensors[name] for name in tensors if not name.startswith(IGNORED_PREFIXES)}
