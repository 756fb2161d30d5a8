"""Training settings: the user's choices, and defaults by the size of the model.

Models of a few million parameters need rates and ranks that would destroy one of billions. Their text has
little entropy, so the contrast of a pair is concentrated on single tokens, where the margin of the usual DPO
loss grows without bound; small models therefore use a bounded margin (IPO) with a strong likelihood term.

Larger models never say what a margin of some nats makes a little likelier: they imitate the chosen replies,
in many small steps. Before that another adapter imitates the rejected ones, and is set aside: contrast.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from mpg_cli.errors import UsageError
from mpg_cli.io.text import did_you_mean, visible
from mpg_cli.options.option import check_fields, option
from mpg_cli.training.rows import Method

T = TypeVar("T")

# The loss names of TRL's DPO trainer. "sft" alone is the likelihood of the chosen reply.
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
IPO_WEIGHT = 0.1  # of the squared distance to the margin (nats), relative to the likelihood term
LEAST_CONTRAST_RANK = 8

_BY_SIZE = "by the size of the model"


def _targets(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@dataclass(frozen=True)
class Choices:
    """The user's choices; None: by the size of the model."""

    sft: bool = option(False, help="Imitate single replies: the data is {prompt, response} or {messages}.")
    loss: str | None = option(
        None,
        metavar="NAME",
        help="ipo (bounded margin), sigmoid (DPO) or another of TRL's preference losses.",
        complete=("ipo", "sigmoid"),
        shown=_BY_SIZE,
    )
    beta: float | None = option(
        None,
        metavar="B",
        low=0,
        above=True,
        help="How tightly the adapter is held to the base; with ipo the margin is 1/(2B) nats per reply.",
        shown="0.1",
    )
    likelihood: float | None = option(
        None,
        metavar="W",
        low=0,
        help="Weight of the likelihood of the chosen reply beside the loss.",
        shown=_BY_SIZE,
    )
    contrast: float | None = option(
        None,
        metavar="N",
        low=0,
        help="Passes over the rejected replies, imitated first by an adapter that is set aside, so that the "
        "persona's learns only what the chosen ones have beyond them; 0: none.",
        shown=_BY_SIZE,
    )
    imitation: float | None = option(
        None,
        metavar="N",
        low=0,
        help="Passes over the chosen replies, which are imitated before the loss is used; 0: none.",
        shown=_BY_SIZE,
    )
    imitation_rate: float | None = option(
        None, metavar="X", low=0, above=True, help="Learning rate of both imitations.", shown=_BY_SIZE
    )
    rank: int | None = option(None, metavar="R", low=1, help="Rank of the adapter.", shown=_BY_SIZE)
    alpha: float | None = option(
        None,
        metavar="A",
        low=0,
        above=True,
        help="The adapter is scaled by alpha / rank.",
        shown="twice the rank",
    )
    strength: float = option(
        1.0,
        metavar="X",
        low=0,
        above=True,
        help="The alpha of the finished adapter is multiplied by this: more of the persona above 1.",
    )
    targets: tuple[str, ...] = option(
        (),
        metavar="NAME,…",
        many=False,
        read=_targets,
        text="",
        help="Layers to adapt, as q_proj,v_proj.",
        shown="every linear layer",
    )
    learning_rate: float | None = option(
        None,
        metavar="X",
        low=0,
        above=True,
        help="Peak with the loss, or with --sft, after a warm-up; then it decays.",
        shown=_BY_SIZE,
    )
    epochs: float | None = option(
        None,
        metavar="N",
        low=0,
        help="Passes over the data with the loss; 0: imitation alone. An option of the loss makes it 1.",
        shown=_BY_SIZE,
    )
    batch_size: int | None = option(None, metavar="N", low=1, help="Rows per step.", shown=_BY_SIZE)
    micro_batch: int | None = option(
        None, metavar="N", low=1, help="Largest number of rows in memory at a time.", shown=_BY_SIZE
    )
    max_length: int | None = option(
        None,
        metavar="N",
        low=8,
        help="Tokens of prompt and reply; longer replies are cut.",
        shown=_BY_SIZE,
    )
    eval_split: float = option(
        0.1,
        metavar="X",
        low=0,
        high=0.5,
        help="Share of the data, by prompts, held out for an evaluation at the end.",
    )
    seed: int = option(0, metavar="N", low=0, help="Random seed of split, order and initial adapter.")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.loss is not None and self.loss not in LOSSES:
            loss = visible(self.loss, 60)
            raise UsageError(
                f"unknown loss '{loss}' (choose from {', '.join(LOSSES)}){did_you_mean(self.loss, LOSSES)}"
            )
        self._check_method()

    @property
    def method(self) -> Method:
        """ "dpo" for preference pairs, "sft" for imitation of single replies."""
        return "sft" if self.sft else "dpo"

    def _check_method(self) -> None:
        """Options of preference pairs do not go with --sft, nor with --loss sft."""
        for flag, value in (
            ("--loss", self.loss),
            ("--beta", self.beta),
            ("--likelihood", self.likelihood),
            ("--contrast", self.contrast),
            ("--imitation", self.imitation),
            ("--imitation-rate", self.imitation_rate),
        ):
            if self.method == "sft" and value is not None:
                raise UsageError(
                    f"{flag} applies to preference data only and conflicts with --sft",
                    hint=f"leave out {flag} or --sft",
                )
            if self.loss == "sft" and flag != "--loss" and value is not None:
                raise UsageError(f"{flag} conflicts with --loss sft, which is the likelihood alone")


@dataclass(frozen=True)
class _Size:
    """Defaults of models with up to `parameters`.

    `rate` and `epochs` are those of the preference loss, `imitation_rate` and `imitation` (epochs, 0: none)
    those of the imitation before it; --sft has the latter. `contrast` are the epochs before both.
    """

    parameters: float
    loss: str
    likelihood: float
    rank: int
    rate: float
    epochs: int
    imitation_rate: float
    imitation: int
    contrast: int
    batch: int
    micro_batch: int
    max_length: int
    checkpointing: bool
    stored: str


_SIZES = (
    _Size(5e7, "ipo", 1.0, 8, 2e-3, 5, 2e-3, 0, 0, 16, 16, 1024, False, "float32"),
    _Size(1.5e9, "sigmoid", 1.0, 4, 2e-4, 0, 2e-3, 3, 3, 4, 4, 1024, False, "bfloat16"),
    _Size(math.inf, "sigmoid", 1.0, 64, 5e-5, 0, 2e-4, 3, 3, 4, 1, 2048, True, "bfloat16"),
)


@dataclass(frozen=True)
class Settings:
    """All settings that determine the result for given model and data.

    `beta` counts per reply and nat for every loss: IPO's margin is 1/(2β) nats. `contrast` are the epochs of
    imitation of the rejected replies, `imitation` those of the chosen ones after it, with a peak of
    `imitation_rate`, and `epochs` those of the loss; 0: none. `strength` scales the finished adapter.
    `micro_batch` divides `batch_size`; `targets` are suffixes of module names. `checkpointing` recomputes
    activations. `stored` is the widest precision of the adapter's file.
    """

    method: Method
    loss: str
    beta: float
    likelihood: float
    contrast: float
    imitation: float
    imitation_rate: float
    rank: int
    alpha: float
    strength: float
    targets: tuple[str, ...]
    learning_rate: float
    epochs: float
    batch_size: int
    micro_batch: int
    max_length: int
    eval_split: float
    seed: int
    checkpointing: bool
    stored: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data, equal to its JSON round trip."""
        return asdict(self) | {"targets": list(self.targets)}

    @property
    def of_imitation(self) -> Settings | None:
        """The settings of the imitation before the loss; None: there is none."""
        if not self.imitation:
            return None
        return replace(
            self,
            method="sft",
            loss="sft",
            likelihood=0.0,
            epochs=self.imitation,
            learning_rate=self.imitation_rate,
            strength=1.0,
            imitation=0.0,
            contrast=0.0,
        )

    @property
    def of_contrast(self) -> Settings | None:
        """The settings of the imitation of rejected replies; None: there is none.

        Its rank is not below LEAST_CONTRAST_RANK: what it cannot hold would end up in the persona's.
        """
        imitation = self.of_imitation
        if imitation is None or not self.contrast:
            return None
        rank = max(LEAST_CONTRAST_RANK, self.rank)
        return replace(imitation, epochs=self.contrast, rank=rank, alpha=rank * self.alpha / self.rank)


def resolve(
    choices: Choices, parameters: int, context: int | None, targets: tuple[str, ...] = ()
) -> Settings:
    """Settings for a model of this size with `context` positions; `targets` are the adapted layers.

    Raises UsageError for a length beyond the context.
    """
    size = next(size for size in _SIZES if parameters <= size.parameters)
    if context is not None and choices.max_length is not None and choices.max_length > context:
        raise UsageError(
            f"--max-length {choices.max_length} is beyond the {context} positions of this model",
            hint=f"use --max-length {context} or less",
        )
    rank = _or(choices.rank, size.rank)
    batch = _or(choices.batch_size, size.batch)
    loss = "sft" if choices.method == "sft" else _or(choices.loss, size.loss)
    imitates = loss == "sft"  # and nothing else
    rate = size.imitation_rate if imitates else size.rate
    epochs = size.imitation if imitates and size.imitation else size.epochs
    imitation = 0.0 if imitates else _or(choices.imitation, float(size.imitation))
    of_loss = (choices.loss, choices.beta, choices.likelihood, choices.learning_rate)
    if not imitation or any(value is not None for value in of_loss):
        epochs = max(epochs, 1)
    _check_phases(choices, imitation, _or(choices.epochs, float(epochs)))
    return Settings(
        method=choices.method,
        loss=loss,
        beta=_or(choices.beta, 0.1),
        likelihood=0.0 if imitates else _or(choices.likelihood, size.likelihood),
        contrast=_or(choices.contrast, float(size.contrast)) if imitation else 0.0,
        imitation=imitation,
        imitation_rate=0.0 if imitates else _or(choices.imitation_rate, size.imitation_rate),
        rank=rank,
        alpha=_or(choices.alpha, 2.0 * rank),
        strength=choices.strength,
        targets=targets,
        learning_rate=_or(choices.learning_rate, rate),
        epochs=_or(choices.epochs, float(epochs)),
        batch_size=batch,
        micro_batch=divisor(batch, _or(choices.micro_batch, size.micro_batch)),
        max_length=min(_or(choices.max_length, size.max_length), context or size.max_length),
        eval_split=choices.eval_split,
        seed=choices.seed,
        checkpointing=size.checkpointing,
        stored=size.stored,
    )


def _check_phases(choices: Choices, imitation: float, epochs: float) -> None:
    """Raise UsageError for options of a phase that there is not, and if there is none at all."""
    if not imitation and not epochs:
        raise UsageError("--epochs 0 leaves nothing to train", hint="use it with --imitation 3")
    for flag, value, needs, phase in (
        ("--contrast", choices.contrast or None, "--imitation", imitation),
        ("--imitation-rate", choices.imitation_rate, "--imitation", imitation),
        ("--loss", choices.loss, "--epochs", epochs),
        ("--beta", choices.beta, "--epochs", epochs),
        ("--likelihood", choices.likelihood, "--epochs", epochs),
        ("--learning-rate", choices.learning_rate, "--epochs", epochs),
    ):
        if value is not None and not phase:
            raise UsageError(f"{flag} needs {needs} above 0", hint=f"add {needs} N, or leave out {flag}")


def divisor(count: int, most: int) -> int:
    """The largest divisor of `count` up to `most`, so that batches of this size leave no remainder."""
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
