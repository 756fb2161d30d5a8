"""Choice of device and dtype, each with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from mpg_cli.errors import ModelError, caused_by

T = TypeVar("T")
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
SMALL = 200_000_000  # parameters up to which float32 on a CPU is cheap in time and memory


@dataclass(frozen=True)
class Choice(Generic[T]):
    """A value and the reason for it, for messages."""

    value: T
    reason: str


@caused_by("--device")
def choose_device(spec: str = "auto") -> Choice[torch.device]:
    """The device for auto, cuda, cuda:N, mps or cpu.

    Raises ModelError for an unknown or missing device.
    """
    if spec == "auto":
        if torch.cuda.is_available():
            return Choice(torch.device("cuda", 0), "the first CUDA GPU")
        if torch.backends.mps.is_available():
            return Choice(torch.device("mps"), "Apple GPU")
        return Choice(torch.device("cpu"), "no GPU found")
    if spec == "cpu":
        return Choice(torch.device("cpu"), "as requested")
    if spec == "mps":
        if not torch.backends.mps.is_available():
            raise ModelError("device mps is not available here", hint="use --device cpu")
        return Choice(torch.device("mps"), "as requested")
    numbered = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", spec)
    if numbered is None:
        raise ModelError(f"unknown device {spec!r}", hint="--device takes auto, cpu, mps, cuda or cuda:N")
    if not torch.cuda.is_available():
        built = torch.version.cuda or getattr(torch.version, "hip", None)
        why = "no usable GPU or driver was found" if built else "this PyTorch was built without CUDA"
        raise ModelError(f"device {spec} is not available: {why}", hint="use --device cpu")
    index, count = int(numbered.group(1) or 0), torch.cuda.device_count()
    if index >= count:
        devices = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise ModelError(f"device {spec} does not exist", hint=f"choose {devices}")
    return Choice(torch.device("cuda", index), "as requested")


@caused_by("--dtype")
def choose_dtype(
    spec: str,
    device: torch.device,
    config_dtype: torch.dtype | None = None,
    parameters: int | None = None,
) -> Choice[torch.dtype]:
    """The dtype for auto, bfloat16, float16 or float32 on the device.

    `config_dtype` is the published dtype, `parameters` their number (None: unknown).
    Raises ModelError for an unknown dtype.
    """
    if spec != "auto":
        if spec not in DTYPES:
            raise ModelError(f"unknown dtype {spec!r}", hint=f"--dtype takes auto, {', '.join(DTYPES)}")
        return Choice(DTYPES[spec], "as requested")
    if device.type == "cuda":
        if _cuda_has_bfloat16(device):
            return Choice(torch.bfloat16, "the GPU has bfloat16")
        caution = "; published in bfloat16, may overflow" if config_dtype is torch.bfloat16 else ""
        return Choice(torch.float16, f"the GPU has no bfloat16{caution}")
    if device.type == "mps":
        return Choice(torch.float16, "usual for Apple GPUs")
    if parameters is not None and parameters <= SMALL:
        return Choice(torch.float32, "a small model on the CPU")
    if _cpu_has_bfloat16():
        return Choice(torch.bfloat16, "half the memory, and this CPU has bfloat16 instructions")
    return Choice(torch.float32, "this CPU has no fast bfloat16")


def _cuda_has_bfloat16(device: torch.device) -> bool:
    """Whether this GPU has bfloat16 (compute capability 8 and later)."""
    if getattr(torch.version, "hip", None):
        return bool(torch.cuda.is_bf16_supported())
    return torch.cuda.get_device_capability(device)[0] >= 8


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16 products; False where PyTorch does not report it."""
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_tile", "bf16"))
