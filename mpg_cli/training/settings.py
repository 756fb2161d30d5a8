"""How an adapter is trained: what the user asks for, and what the size of the model decides otherwise.

A model of a few million parameters learns from rates and ranks that would wreck one of billions; and on its
text of little entropy the contrast of a pair sits on single tokens, where the usual DPO loss pushes without
end. So small models get a bounded margin (IPO) beside a strong likelihood of the chosen text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from mpg_cli.errors import UsageError
from mpg_cli.io.text import did_you_mean, visible
from mpg_cli.training.rows import Method

T = TypeVar("T")

# The names that TRL's DPO trainer knows. "sft" alone is the likelihood of the chosen reply.
LOSSES = (
    "sigmoid",
    "ipo",
    "hinge",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sigmoid_norm",
    "sft",
)
LABEL_SMOOTHING = {"exo_pair": 1e-3, "robust": 0.1}  # what their papers recommend
IPO_PULL = 0.1  # of the squared distance to the margin (nats), against 1 for the likelihood of the reply


@dataclass(frozen=True)
class Choices:
    """What the user chose; None leaves it to the size of the model."""

    method: Method = "dpo"
    loss: str | None = None
    beta: float | None = None
    likelihood: float | None = None
    rank: int | None = None
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    learning_rate: float | None = None
    epochs: float | None = None
    batch_size: int | None = None
    micro_batch: int | None = None
    max_length: int | None = None
    eval_split: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss is not None and self.loss not in LOSSES:
            raise UsageError(
                f"--loss '{visible(self.loss, 60)}' is none{did_you_mean(self.loss, LOSSES)}",
                hint=f"choose {', '.join(LOSSES)}",
            )
        for flag, low, value in (
            ("--rank", 1, self.rank),
            ("--batch-size", 1, self.batch_size),
            ("--micro-batch", 1, self.micro_batch),
            ("--max-length", 8, self.max_length),
            ("--likelihood", 0, self.likelihood),
            ("--seed", 0, self.seed),
        ):
            if value is not None and not low <= value < math.inf:
                raise UsageError(f"{flag} must be at least {low}, not {value:g}")
        for flag, number in (
            ("--beta", self.beta),
            ("--alpha", self.alpha),
            ("--learning-rate", self.learning_rate),
            ("--epochs", self.epochs),
        ):
            if number is not None and not 0 < number < math.inf:
                raise UsageError(f"{flag} must be a number above 0, not {number:g}")
        if not 0 <= self.eval_split <= 0.5:
            raise UsageError(f"--eval-split must be between 0 and 0.5, not {self.eval_split:g}")
        self._check_method()

    def _check_method(self) -> None:
        """What is about pairs does not go with --sft, nor with the likelihood alone."""
        for flag, value in (("--loss", self.loss), ("--beta", self.beta), ("--likelihood", self.likelihood)):
            if self.method == "sft" and value is not None:
                raise UsageError(
                    f"{flag} belongs to preference data and does not go with --sft", hint="leave one out"
                )
            if self.loss == "sft" and flag != "--loss" and value is not None:
                raise UsageError(f"{flag} does not go with --loss sft, which is the likelihood alone")


@dataclass(frozen=True)
class _Size:
    """Defaults of models with up to `parameters`."""

    parameters: float
    loss: str
    likelihood: float
    rank: int
    learning_rate: float
    epochs: int
    micro_batch: int
    max_length: int
    checkpointing: bool


_SIZES = (
    _Size(5e7, "ipo", 1.0, 8, 2e-3, 5, 16, 1024, False),
    _Size(1.5e9, "sigmoid", 0.2, 16, 2e-4, 3, 4, 1024, False),
    _Size(math.inf, "sigmoid", 0.2, 64, 5e-5, 2, 1, 2048, True),
)
_BATCH = 16


@dataclass(frozen=True)
class Settings:
    """Everything that decides what comes out, for one model and one set of data.

    `beta` counts per reply and nat for every loss: IPO's margin is 1/(2β) nats. `micro_batch` divides
    `batch_size`; `targets` are suffixes of module names. `checkpointing` recomputes activations.
    """

    method: Method
    loss: str
    beta: float
    likelihood: float
    rank: int
    alpha: float
    targets: tuple[str, ...]
    learning_rate: float
    epochs: float
    batch_size: int
    micro_batch: int
    max_length: int
    eval_split: float
    seed: int
    checkpointing: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as it would come back from JSON."""
        return asdict(self) | {"targets": list(self.targets)}


def resolve(
    choices: Choices, parameters: int, context: int | None, targets: tuple[str, ...] = ()
) -> Settings:
    """Settings for a model of that size; `context` are the positions it knows, `targets` what is adapted.

    Raises UsageError for a length beyond the context.
    """
    size = next(size for size in _SIZES if parameters <= size.parameters)
    if context is not None and choices.max_length is not None and choices.max_length > context:
        raise UsageError(
            f"--max-length {choices.max_length} is beyond the {context} positions of this model",
            hint=f"at most --max-length {context}",
        )
    rank = _or(choices.rank, size.rank)
    batch = _or(choices.batch_size, _BATCH)
    loss = "sft" if choices.method == "sft" else _or(choices.loss, size.loss)
    return Settings(
        method=choices.method,
        loss=loss,
        beta=_or(choices.beta, 0.1),
        likelihood=0.0 if loss == "sft" else _or(choices.likelihood, size.likelihood),
        rank=rank,
        alpha=_or(choices.alpha, 2.0 * rank),
        targets=targets,
        learning_rate=_or(choices.learning_rate, size.learning_rate),
        epochs=_or(choices.epochs, float(size.epochs)),
        batch_size=batch,
        micro_batch=divisor(batch, _or(choices.micro_batch, size.micro_batch)),
        max_length=min(_or(choices.max_length, size.max_length), context or size.max_length),
        eval_split=choices.eval_split,
        seed=choices.seed,
        checkpointing=size.checkpointing,
    )


def divisor(count: int, most: int) -> int:
    """The largest divisor of `count` up to `most`: batches of that size leave no rest."""
    return next(size for size in range(min(count, most), 0, -1) if count % size == 0)


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first fields that differ between two runs, in words; None if they are the same."""
    changes = [
        f"{key.replace('_', '-')} was {_shown(before.get(key))} and is {_shown(now.get(key))}"
        for key in dict.fromkeys((*now, *before))
        if before.get(key) != now.get(key)
    ]
    return ", ".join(changes[:3]) or None


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "not set" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
