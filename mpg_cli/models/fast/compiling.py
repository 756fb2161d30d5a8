"""`--compile`: the forward pass of a model through torch.compile, on CUDA as recorded graphs.

Shapes that change between passes (the width of the cache, the tokens of a chunk) are dynamic, so a run needs
few variants: prefill, step and score pass, each with and without a stack of adapters.

On CUDA most of the time goes into kernel launches, which a recording avoids: see graphs.py. Only the
normalisations are compiled there; uncompiled, they are half of all kernels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mpg_cli.errors import ModelError
from mpg_cli.models.fast.graphs import capture

VARIANTS = 64  # compiled variants of a forward pass; beyond that torch runs it uncompiled


def compile_model(model: Any) -> bool:
    """Compile the forward pass of a model; True if its passes are to be recorded as CUDA graphs.

    Raises ModelError at once, not at a later pass, where torch cannot compile.
    """
    _allow_variants()
    if model.device.type == "cuda" and _compile_for_recording(model):
        return True
    model.compile(dynamic=True)
    try:
        with torch.inference_mode():
            model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=model.device), use_cache=False)
    except Exception as error:
        model._compiled_call_impl = None
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"torch.compile does not work here: {reason[0][:200]}",
            hint="leave out --compile; on a CPU it needs a C++ compiler such as g++",
        ) from None
    return False


def compile_copy(copy: Any, model: Any) -> None:
    """Compile the modules of a copy that are compiled in the model."""
    for name, module in model.named_modules():
        if getattr(module, "_compiled_call_impl", None) is not None:
            copy.get_submodule(name).compile(dynamic=True)


def _allow_variants() -> None:
    torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)


def _compile_for_recording(model: Any) -> bool:
    """Compile the normalisations, if a recording of the pass reproduces it; else nothing."""
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
        except Exception:  # no compiler, any exception type; recordings help without it
            for norm in norms:
                norm._compiled_call_impl = None
            run()
        try:
            graph, found = capture(run, model.device)
            ids.fill_(1)
            with torch.cuda.device(model.device):
                graph.replay()
            same = torch.allclose(found, run(), rtol=0.02, atol=0.02)
        except Exception:  # not recordable: torch.compile follows, and reports its own errors
            same = False
    if not same:
        for norm in norms:
            norm._compiled_call_impl = None
    return same
