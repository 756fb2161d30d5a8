"""Options of the model: id, device, precision. Torch-free."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mpg_cli.errors import UsageError
from mpg_cli.options.option import check_fields, option, unknown

DEFAULT_MODEL = "mpg-tiny"
DTYPES = ("auto", "bfloat16", "float16", "float32")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class ModelOptions:
    """The model, its device and precision."""

    name: str = option(
        DEFAULT_MODEL,
        "--model",
        metavar="ID|DIR",
        help="Hub id of the model, or a folder with config.json and safetensors.",
        complete="model",
        home=True,
    )
    revision: str | None = option(None, metavar="REV", help="Branch, tag or commit of a hub model.")
    device: str = option(
        "auto",
        metavar="auto|cuda|cuda:N|mps|cpu",
        help="Device of the model.",
        complete=("auto", "cpu", "cuda", "mps"),
    )
    dtype: str = option("auto", choices=DTYPES, help="Precision of the model.")
    compile: bool = option(
        False,
        help="Compile the forward pass; takes one or two minutes at the start (seconds on CUDA).",
        in_config=False,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.name.strip():
            raise UsageError("--model is empty", hint="give a hub id or a folder")
        if not _DEVICE.fullmatch(self.device):
            raise unknown("--device", self.device, ("auto", "cuda", "cuda:N", "mps", "cpu"))
