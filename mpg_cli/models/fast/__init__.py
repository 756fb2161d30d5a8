"""Optimisations of forward passes, behind one call: `accelerate`.

Weights in the layout of CPU kernels, torch.compile, CUDA graphs, and plans that combine work into passes.
None changes a result beyond rounding: with MPG_FAST=0 in the environment `accelerate` does nothing, the tests
pass, and texts are the same up to near-ties (tests/models/fast/test_off.py). Code outside this package
imports only this module.
"""

from __future__ import annotations

import os
from typing import Any

from mpg_cli.models.fast.compiling import compile_model
from mpg_cli.models.fast.plan import FastPlan, block_of
from mpg_cli.models.fast.prepacked import prepack

SWITCH = "MPG_FAST"  # "0" in the environment turns all of it off, for debugging


def accelerate(model: Any, *, compiled: bool = False, repacked: bool = True) -> bool:
    """Accelerate the passes of a model on its device, in place; returns whether it is compiled.

    `compiled` selects torch.compile, on CUDA with recorded graphs. Otherwise `repacked` repacks weights on a
    CPU; it must be False for a model that reads the weight of a layer itself.
    Raises ModelError where torch.compile does not work.
    """
    if os.environ.get(SWITCH) == "0":
        return False
    recorded = compile_model(model) if compiled else False
    if repacked and not compiled:
        prepack(model)
    weights = sum(p.numel() for p in model.parameters())
    model._mpg_plan = FastPlan(recorded=recorded, block=block_of(weights))
    return compiled
