"""One process of the study: a bench of its own, one thread."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from studies.scr.grid import Setting
from studies.scr.measure import Bench, Measured

_bench: Bench
_seeds: int


def begin(prompts: Sequence[str], seeds: int, longest: int) -> None:
    """Load what all settings need."""
    global _bench, _seeds
    torch.set_num_threads(1)
    _bench, _seeds = Bench(prompts, longest), seeds


def measure(setting: Setting) -> list[Measured]:
    """The replies of a setting. The plain reading may take for ever: it gets one seed."""
    return _bench.measure(setting, range(1 if setting.rule == "redraft" else _seeds))
