"""Which model, and where and in what precision it runs. Torch-free."""

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
    """Which model, and where and in what precision it runs."""

    name: str = option(
        DEFAULT_MODEL,
        "--model",
        metavar="ID|DIR",
        help="Model of the hub or a folder with config and safetensors.",
        complete="model",
        home=True,
    )
    revision: str | None = option(None, metavar="REV", help="Branch, tag or commit of a model of the hub.")
    device: str = option(
        "auto",
        metavar="auto|cuda|cuda:N|mps|cpu",
        help="Where the model runs.",
        complete=("auto", "cpu", "cuda", "mps"),
    )
    dtype: str = option("auto", choices=DTYPES, help="Precision of the model.")
    compile: bool = option(
        False,
        help="Compile the forward pass: a minute or two at the start (on CUDA seconds), faster passes after.",
        in_config=False,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.name.strip():
            raise UsageError("--model is empty", hint="name a model of the hub or a folder")
        if not _DEVICE.fullmatch(self.device):
            raise unknown("--device", self.device, ("auto", "cuda", "cuda:N", "mps", "cpu"))
