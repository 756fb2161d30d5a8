"""Which model, and where and in what precision it runs. Torch-free."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mpg_cli.errors import UsageError

DEFAULT_MODEL = "mpg-tiny"
DTYPES = ("auto", "bfloat16", "float16", "float32")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and where and in what precision it runs."""

    name: str = DEFAULT_MODEL
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False  # the forward pass through torch.compile

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError("--model is empty", hint="name a model of the hub or a folder")
        if not _DEVICE.fullmatch(self.device):
            hint = "choose auto, cpu, mps, cuda or cuda:N"
            raise UsageError(f"--device {self.device} is no device", hint=hint)
        if self.dtype not in DTYPES:
            raise UsageError(f"--dtype {self.dtype} is none", hint=f"choose {', '.join(DTYPES)}")
