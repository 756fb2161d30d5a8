"""A worker process of the study, with its own bench and one thread."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from studies.scr.grid import Setting
from studies.scr.measure import Bench, Measured

_bench: Bench
_seeds: int


def initialise(prompts: Sequence[str], seeds: int, longest: int) -> None:
    """Load the model and the prompts."""
    global _bench, _seeds
    torch.set_num_threads(1)
    _bench, _seeds = Bench(prompts, longest), seeds


def measure(setting: Setting) -> list[Measured]:
    """The replies of a setting; `redraft` may need very many passes, so it gets one seed."""
    return _bench.measure(setting, range(1 if setting.rule == "redraft" else _seeds))
