"""What `mpg generate` was asked for, as one frozen value that is right by construction. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpg_cli.errors import UsageError, require
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.sampling.params import MAX_SEED, Sampling, Scheme

if TYPE_CHECKING:
    from mpg_cli.personas.registry import Blend


@dataclass(frozen=True)
class Request:
    """All of one `mpg generate`. Weights have `--strength` in them."""

    model: ModelOptions
    prompting: Prompting
    sampling: Sampling
    scheme: Scheme
    blend: Blend | None = None
    adapters: tuple[tuple[AdapterPlace, float], ...] = ()  # of --adapter
    seed: int | None = None  # None: drawn by the session
    samples: int = 1
    sequence_id: int | str | None = None  # None: samples are numbered from 0

    def __post_init__(self) -> None:
        require(self.samples >= 1, "-n", self.samples, "must be at least 1")
        if self.seed is not None:
            require(0 <= self.seed <= MAX_SEED, "--seed", self.seed, "must be between 0 and 2^64 - 1")
        if self.sequence_id is not None and self.samples > 1:
            raise UsageError(
                "--sequence-id names one sample, -n asks for several",
                hint="leave out -n, or --sequence-id: samples are numbered from 0",
            )
