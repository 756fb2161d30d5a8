"""`--compile`: the forward pass of a model through torch.compile, on CUDA as recorded graphs.

Shapes are left open where they change from pass to pass (the width of the cache, the tokens of a chunk), so a
few variants serve a whole run: prefill, a step, a score pass, with and without a stack of adapters.

On CUDA starting the kernels is what takes time, and a recording does away with that: see graphs.py. What is
compiled there are the normalisations, which else are half of all kernels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from mpg_cli.errors import ModelError

VARIANTS = 64  # compiled forms of one forward pass, beyond which torch would go back to the plain one


def compile_model(model: Any) -> None:
    """Compile the forward pass from now on. Raises ModelError where torch cannot, at once and not later."""
    _allow_variants()
    if model.device.type == "cuda":
        _record(model)
        return
    model.compile(dynamic=True)
    try:
        with torch.inference_mode():
            model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=model.device), use_cache=False)
    except Exception as error:
        model._compiled_call_impl = None
        raise ModelError(
            f"torch.compile does not work here: {_said(error)}",
            hint="leave out --compile; on a CPU it needs a C++ compiler such as g++",
        ) from None


def compile_copy(copy: Any, model: Any) -> None:
    """Compile a copy of a model as the model is."""
    for name, module in model.named_modules():
        if getattr(module, "_compiled_call_impl", None) is not None:
            copy.get_submodule(name).compile(dynamic=True)
    if records(model):
        copy._mpg_records = True


def is_compiled(model: Any) -> bool:
    """Whether `compile_model` was called on it."""
    return records(model) or getattr(model, "_compiled_call_impl", None) is not None


def records(model: Any) -> bool:
    """Whether its passes are to be recorded as CUDA graphs."""
    return bool(getattr(model, "_mpg_records", False))


def notice(device: torch.device) -> str:
    """What to expect of the first passes."""
    long = "some seconds" if device.type == "cuda" else "a minute or two"
    return f"--compile: the first passes compile, which takes {long}; later ones are faster"


def _allow_variants() -> None:
    with contextlib.suppress(AttributeError):  # the name of the setting is younger than torch 2.6
        torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
    torch._dynamo.config.cache_size_limit = max(VARIANTS, torch._dynamo.config.cache_size_limit)


def _record(model: Any) -> None:
    """Let passes be recorded, with compiled normalisations where there is a compiler."""
    ids = torch.zeros(1, 2, dtype=torch.long, device=model.device)

    def run() -> None:
        model(input_ids=ids, position_ids=ids, use_cache=False)

    norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    for norm in norms:
        norm.compile(dynamic=True)
    try:
        _try_recording(run)
    except Exception:
        for norm in norms:
            norm._compiled_call_impl = None
        try:
            _try_recording(run)
        except Exception as error:
            raise ModelError(
                f"the passes of this model cannot be recorded as CUDA graphs: {_said(error)}",
                hint="leave out --compile",
            ) from None
    model._mpg_records = True


def _try_recording(run: Callable[[], None]) -> None:
    with torch.inference_mode():
        run()
        torch.cuda.synchronize()
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            run()


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
