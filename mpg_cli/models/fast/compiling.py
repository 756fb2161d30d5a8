"""`--compile`: the forward pass of a model through torch.compile, on CUDA as recorded graphs.

Shapes are left open where they change from pass to pass (the width of the cache, the tokens of a chunk), so a
few variants serve a whole run: prefill, a step, a score pass, with and without a stack of adapters.

On CUDA most of the time goes into starting kernels, which a recording avoids: see graphs.py. Only the
normalisations are compiled there, which are half of all kernels otherwise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mpg_cli.errors import ModelError
from mpg_cli.models.fast.graphs import capture

VARIANTS = 64  # compiled forms of one forward pass; beyond so many torch runs the plain one


def compile_model(model: Any) -> bool:
    """Compile the forward pass from now on; True if its passes are to be recorded as CUDA graphs.

    Raises ModelError where torch cannot, at once and not at a later pass.
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
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"torch.compile does not work here: {said[0][:200]}",
            hint="leave out --compile; on a CPU it needs a C++ compiler such as g++",
        ) from None
    return False


def compile_copy(copy: Any, model: Any) -> None:
    """Compile of a copy of a model what is compiled of the model."""
    for name, module in model.named_modules():
        if getattr(module, "_compiled_call_impl", None) is not None:
            copy.get_submodule(name).compile(dynamic=True)


def _allow_variants() -> None:
    torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)


def _compile_for_recording(model: Any) -> bool:
    """Compile the normalisations, if a recording of the rest gives what a pass gives; else nothing."""
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
            same = torch.allclose(found, run(), rtol=0.02, atol=0.02)
        except Exception:  # whatever forbids it: the model goes through torch.compile, which reports its own
            same = False
    if not same:
        for norm in norms:
            norm._compiled_call_impl = None
    return same
