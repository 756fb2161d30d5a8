"""`--compile`: the forward pass of a model through torch.compile, on CUDA as recorded graphs.

Shapes are left open where they change from pass to pass (the width of the cache, the tokens of a chunk), so a
few variants serve a whole run: prefill, a step, a score pass, with and without a stack of adapters.

On CUDA starting the kernels is what takes time, and a recording does away with that: see graphs.py. What is
compiled there are the normalisations, which else are half of all kernels.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from mpg_cli.errors import ModelError
from mpg_cli.models.fast.graphs import capture

VARIANTS = 64  # compiled forms of one forward pass, beyond which torch would go back to the plain one


def compile_model(model: Any) -> None:
    """Compile the forward pass from now on. Raises ModelError where torch cannot, at once and not later."""
    _allow_variants()
    if model.device.type == "cuda" and _record(model):
        return
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


def notice(model: Any) -> str:
    """What to expect of the first passes of a compiled model."""
    long = "some seconds" if records(model) else "a minute or two"
    return f"--compile: the first passes compile, which takes {long}; later ones are faster"


def _allow_variants() -> None:
    with contextlib.suppress(AttributeError):  # the name of the setting is younger than torch 2.6
        torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
    torch._dynamo.config.cache_size_limit = max(VARIANTS, torch._dynamo.config.cache_size_limit)


def _record(model: Any) -> bool:
    """Let passes be recorded, with compiled normalisations; False where the model cannot be recorded."""
    ids = torch.zeros(1, 2, dtype=torch.long, device=model.device)

    def run() -> Tensor:
        found: Tensor = model(input_ids=ids, position_ids=ids, use_cache=False).logits
        return found

    norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    for norm in norms:
        norm.compile(dynamic=True)
    with torch.inference_mode():
        try:
            run()
        except Exception:  # without a compiler torch raises what it likes; recordings are worth it alone
            for norm in norms:
                norm._compiled_call_impl = None
            run()
        try:
            graph, found = capture(run, model.device)
            ids.fill_(1)
            with torch.cuda.device(model.device):
                graph.replay()
            model._mpg_records = torch.allclose(found, run(), rtol=0.02, atol=0.02)
        except Exception:  # whatever forbids it, the model goes through torch.compile, which tells its own
            model._mpg_records = False
    if not records(model):
        for norm in norms:
            norm._compiled_call_impl = None
    return records(model)
