"""What `loop.precision` means on this machine."""

import platform

import torch

from pipeline.config.limits import Precision, TrainingPrecision

# Instructions that multiply bf16, as `torch.cpu.get_capabilities` calls them. Without them oneDNN
# emulates: with AVX2 alone a step takes eight times as long as in fp32 (docs/performance.md).
_X86_BF16 = ("avx512_bf16", "amx_bf16")


def chosen(precision: TrainingPrecision, device: torch.device) -> Precision:
    """`auto` becomes bf16 where the device has instructions for it, which fp32 takes longer than,
    and fp32 elsewhere."""
    if precision != "auto":
        return precision
    return "bf16" if _multiplies_bf16(device) else "fp32"


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if platform.machine() not in {"x86_64", "AMD64"}:
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in _X86_BF16)
