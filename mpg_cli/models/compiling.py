"""`--compile`: the forward pass of a model through torch.compile, on CUDA as recorded graphs.

Shapes are left open where they change from pass to pass (the width of the cache, the tokens of a chunk), so a
few variants serve a whole run: prefill, a step, a score pass, with and without a stack of adapters. On CUDA
starting the kernels is what takes time, and a recording does away with that (see `mpg_cli.models.graphs`).
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from mpg_cli.errors import ModelError

VARIANTS = 64  # compiled forms of one forward pass, beyond which torch would go back to the plain one
NOTICE = "--compile: the first passes compile, which takes a minute or two; later ones are faster"


def compile_model(model: Any) -> None:
    """Compile the forward pass from now on. Raises ModelError where torch cannot, at once and not later."""
    if model.device.type == "cuda":
        _try_recording(model)
        model._mpg_records = True
        return
    with contextlib.suppress(AttributeError):  # the name of the setting is younger than torch 2.6
        torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
    torch._dynamo.config.cache_size_limit = max(VARIANTS, torch._dynamo.config.cache_size_limit)
    model.compile(dynamic=True)
    try:
        with torch.inference_mode():
            model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=model.device), use_cache=False)
    except Exception as error:
        model._compiled_call_impl = None
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"torch.compile does not work here: {said[0][:200]}",
            hint="leave out --compile; on a CPU it needs a C++ compiler such as g++",
        ) from None


def compile_copy(copy: Any, model: Any) -> None:
    """Compile a copy of a model if the model is compiled."""
    if getattr(model, "_compiled_call_impl", None) is not None:
        copy.compile(dynamic=True)
    elif records(model):
        copy._mpg_records = True


def is_compiled(model: Any) -> bool:
    """Whether `compile_model` was called on it."""
    return records(model) or getattr(model, "_compiled_call_impl", None) is not None


def records(model: Any) -> bool:
    """Whether its passes are to be recorded as CUDA graphs."""
    return bool(getattr(model, "_mpg_records", False))


def _try_recording(model: Any) -> None:
    """Record a short pass. Raises ModelError where the model does what a recording forbids."""
    ids = torch.zeros(1, 2, dtype=torch.long, device=model.device)
    inputs = {"input_ids": ids, "position_ids": ids, "use_cache": False}
    try:
        with torch.inference_mode():
            model(**inputs)
            torch.cuda.synchronize()
            with torch.cuda.graph(torch.cuda.CUDAGraph()):
                model(**inputs)
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"the passes of this model cannot be recorded as CUDA graphs: {said[0][:200]}",
            hint="leave out --compile",
        ) from None
