"""A request for replies, as one frozen value that is valid by construction. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpg_cli.errors import UsageError
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.run import RunOptions
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.sampling.params import Sampling, Scheme

if TYPE_CHECKING:
    from mpg_cli.personas.registry import Blend


@dataclass(frozen=True)
class Request:
    """Everything that determines a generation. `--scale` is multiplied into the weights."""

    model: ModelOptions
    prompting: Prompting
    sampling: Sampling
    scheme: Scheme
    blend: Blend | None = None
    adapters: tuple[tuple[AdapterPlace, float], ...] = ()  # of --adapter
    seed: int | None = None  # None: the session draws one
    samples: int = 1
    sequence_id: int | str | None = None  # None: numbers from 0
    # Who gave a value of `sampling` that the model may set itself: "option" if not said here.
    given_by: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        RunOptions(self.seed, self.samples, self.sequence_id)  # checks them
        if self.scheme != self.scheme.effective:
            raise UsageError(
                f"threshold, candidates and ahead belong to rule threshold, not to {self.scheme.rule}",
                hint='use Scheme(rule="threshold"), or leave out threshold',
            )
