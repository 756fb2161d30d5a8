"""Options of the model: id, device, precision. Torch-free."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mpg_cli.config.named_models import AUTO, BUNDLED, GET_SMOLLM2, SMOLLM2, find_smollm2, smollm2
from mpg_cli.errors import UsageError, caused_by
from mpg_cli.options.option import check_fields, option, unknown

DTYPES = ("auto", "bfloat16", "float16", "float32")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class ModelOptions:
    """The model, its device and precision. `automatic`: the name was `auto`, see `resolved`."""

    name: str = option(
        AUTO,
        "--model",
        metavar="ID|PATH|ollama:NAME",
        help="Hub id of the model, a folder, a GGUF file, or ollama:NAME; "
        "auto: smollm2 if it is here, else mpg-tiny.",
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
    automatic: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.name.strip():
            raise UsageError("--model is empty", hint="give a hub id, a folder, a GGUF file or ollama:NAME")
        if not _DEVICE.fullmatch(self.device):
            raise unknown("--device", self.device, ("auto", "cuda", "cuda:N", "mps", "cpu"))

    def resolved(self) -> ModelOptions:
        """With the model that `auto` means on this disk, and the revision of smollm2 that is here.

        Any other model, and one that is resolved, stays as it is. Reads two folders. Raises UsageError if
        smollm2 is not here.
        """
        if self.name == AUTO:
            if self.revision is not None:
                raise UsageError("--revision needs a model of the hub", hint="name it with --model")
            place = smollm2()
            name, revision = (SMOLLM2, place.revision) if place else (BUNDLED, None)
            return replace(self, name=name, revision=revision, automatic=True)
        if self.name == SMOLLM2:
            with caused_by("--model"):
                return replace(self, revision=find_smollm2(self.revision).revision)
        return self

    @property
    def notice(self) -> str | None:
        """One line about the choice of `auto`."""
        if not self.automatic:
            return None
        if self.name == BUNDLED:
            return f"using {BUNDLED}, a tiny demonstration model; for a real one: {GET_SMOLLM2}"
        return f"using {self.name}; choose another model with --model"
