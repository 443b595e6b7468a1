"""BEiTv2's released tokenizer files, such as `vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth`."""

import argparse
import pickle
from pathlib import Path

import torch
from torch import Tensor

from model.vqkd import VisualTokenizer, VQKDConfig
from pipeline.errors import UserError

# The codebook's own state that a released file does not have: these tokenizers started at the first batch.
ABSENT = {"quantize.embedding.waited": torch.zeros(1)}


def read_official(file: str | None, config: VQKDConfig) -> VisualTokenizer:
    """The tokenizer in a released file; its teacher and its decoder are left out.

    Raises:
        UserError: no such file, not such a file, another size, or a codebook that was never started.
    """
    if file is None or not Path(file).is_file():
        raise UserError(f"params.yaml: visual_tokenizer.official_file: {file}: no such file")
    path = Path(file)
    state = _state(path) | ABSENT
    tokenizer = VisualTokenizer(config)
    expected = tokenizer.state_dict()
    if missing := [name for name in expected if name not in state]:
        raise UserError(f"{path}: {len(missing)} of {len(expected)} tensors are missing, such as {missing[0]}; "
                        "is it one of BEiTv2's vqkd files, and visual_tokenizer.size.depth right?")
    if wrong := [name for name in expected if expected[name].shape != state[name].shape]:
        raise UserError(f"{path}: {wrong[0]} has shape {tuple(state[wrong[0]].shape)}, visual_tokenizer.size asks for "
                        f"{tuple(expected[wrong[0]].shape)}")
    if not state["quantize.embedding.initted"]:
        raise UserError(f"{path}: its codebook was never started (quantize.embedding.initted is 0)")
    tokenizer.load_state_dict({name: state[name] for name in expected})
    return tokenizer.eval()


def _state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file. Beside them the saving code has left an argparse namespace."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{path}: not a checkpoint: {' '.join(str(error).split())[:150]}") from None
    return saved.get("model", saved.get("state_dict", saved))
