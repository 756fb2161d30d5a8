"""`--compile`: the forward pass of a model through torch.compile.

Shapes are left open where they change from pass to pass (the width of the cache, the tokens of a chunk), so a
few variants serve a whole run: prefill, a step, a score pass, with and without a stack of adapters.
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


def is_compiled(model: Any) -> bool:
    """Whether `compile_model` was called on it."""
    return getattr(model, "_compiled_call_impl", None) is not None
