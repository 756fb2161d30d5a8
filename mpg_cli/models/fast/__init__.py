"""Everything that only makes passes faster, behind one call: `accelerate`.

Weights in the layout of the CPU's kernels, torch.compile, CUDA graphs, and plans that let work share a pass.
None of it changes a result by more than rounding: with MPG_FAST=0 in the environment `accelerate` does
nothing, the tests pass all the same, and texts are the same up to near-ties (tests/models/fast/test_off.py).
Nothing outside this package imports another name of it.
"""

from __future__ import annotations

import os
from typing import Any

from mpg_cli.models.fast.compiling import compile_model
from mpg_cli.models.fast.plan import FastPlan
from mpg_cli.models.fast.prepacked import prepack

SWITCH = "MPG_FAST"  # "0" in the environment: passes as plain as they can be, to look for errors in the rest


def accelerate(model: Any, *, compiled: bool = False, repacked: bool = True) -> bool:
    """Make the passes of a model on its device faster, in place; returns whether it is compiled now.

    `compiled` asks for torch.compile, on CUDA with recorded graphs. Else its weights on a CPU are repacked,
    unless `repacked` forbids it: for a model that reads the weight of a layer itself.
    Raises ModelError where torch.compile does not work.
    """
    if os.environ.get(SWITCH) == "0":
        return False
    recorded = compile_model(model) if compiled else False
    if repacked and not compiled:
        prepack(model)
    model._mpg_plan = FastPlan(recorded=recorded)
    return compiled
