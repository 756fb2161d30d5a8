"""Load the model to train on: one device, and a dtype whose gradients neither vanish nor overflow."""

from __future__ import annotations

import os

from mpg_cli.errors import UsageError, caused_by
from mpg_cli.models.load.device import choose_device
from mpg_cli.models.load.loader import LoadedModel, load_model
from mpg_cli.options.model import ModelOptions


@caused_by("--model")
def load_base(choice: ModelOptions) -> LoadedModel:
    """Load the model as `mpg generate` does. Raises UsageError for float16 without CUDA, ModelError."""
    show_one_gpu(choice.device)
    device = "cuda" if choice.device.startswith("cuda:") else choice.device
    dtype = trainable_dtype(choice.dtype, choose_device(device).value.type)
    return load_model(choice.name, choice.revision, device, dtype)


def trainable_dtype(dtype: str, kind: str) -> str:
    """The dtype to load on a kind of device (cpu, cuda, mps). Raises UsageError for float16 without CUDA."""
    if dtype == "float16" and kind != "cuda":
        raise UsageError(
            "--dtype float16 can be trained on CUDA only: its gradients need a scaler",
            hint="use --dtype float32 or bfloat16",
        )
    return "float32" if dtype == "auto" and kind == "mps" else dtype


def show_one_gpu(device: str) -> None:
    """Hide all GPUs but one, since the trainer would use all of them; the one left becomes cuda:0.

    Has no effect once torch has initialised CUDA.
    """
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if device in ("cpu", "mps") or before == "":
        return
    visible = [part.strip() for part in (before or "").split(",") if part.strip()]
    number = device.partition(":")[2]
    index = int(number) if number.isdecimal() else 0
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[index] if index < len(visible) else str(index)
