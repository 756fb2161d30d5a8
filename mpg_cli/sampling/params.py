"""Parameters of sampling: `Sampling`, `SamplingLaw`, `Scheme` and `Threshold`. Torch-free.

They are option groups (options/option.py) and the values that every layer uses. Each checks its ranges and
raises UsageError; messages name a value by its flag, which MpgError.rename can replace by another name.

`Sampling` is what a user asks for, and may leave values to the model. `Sampling.over` makes it a
`SamplingLaw`, which has a number for each of them; sampler and targets take nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mpg_cli.errors import RangeError, UsageError
from mpg_cli.io.text import check_text, did_you_mean, visible
from mpg_cli.options import readers
from mpg_cli.options.option import check_fields, group, option, options_of, unknown
from mpg_cli.options.readers import finite, quoted

TargetName = Literal["product", "mixture", "merged"]
RuleName = Literal["exact", "threshold", "block"]

MAX_CHUNK = 64
MAX_CANDIDATES = 64
MAX_BIAS = 100
DRAFTERS = ("auto", "merged", "folded", "reference", "lookup", "none")  # those that take no argument


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled from the blend, and where the reply ends.

    Values that a model may set itself (OWN) are None where they are not given.
    """

    max_tokens: int | None = option(
        None, metavar="N", low=1, help="Longest reply.", shown="256 or what the context leaves"
    )
    temperature: float | None = option(
        None,
        metavar="T",
        low=0,
        shown="the model's own, else 1",
        help="0 always takes the likeliest token; above 1 is more random.",
        remedy="0 always takes the likeliest token",
    )
    top_k: int | None = option(
        None,
        metavar="K",
        low=0,
        shown="the model's own, else 0",
        help="Sample from the K likeliest tokens; 0 is off.",
        remedy="0 turns it off",
    )
    top_p: float | None = option(
        None,
        metavar="P",
        shown="the model's own, else 1",
        low=0,
        above=True,
        high=1,
        help="Sample from the likeliest tokens whose probabilities sum to P; 1 is off.",
        remedy="1 turns it off",
    )
    min_p: float | None = option(
        None,
        metavar="P",
        shown="the model's own, else 0",
        low=0,
        high=1,
        help="Drop tokens less likely than P times the likeliest; 0 is off.",
        remedy="0 turns it off",
    )
    expert_min_p: float | None = option(
        None,
        metavar="P",
        shown="the model's own, else 0",
        low=0,
        high=1,
        help="In a product whose weights add up to more than 1, or one is negative: drop tokens less "
        "likely than P times the likeliest for the plain model and for each persona of positive weight; "
        "0 is off.",
        remedy="0 turns it off",
    )
    repetition_penalty: float | None = option(
        None,
        metavar="X",
        shown="the model's own, else 1",
        low=0,
        above=True,
        help="Above 1: tokens of prompt and reply become less likely, as in transformers; 1 is off.",
        remedy="1 turns it off",
    )
    presence_penalty: float = option(
        0.0,
        metavar="X",
        low=-2,
        high=2,
        help="Above 0: tokens that the reply contains become less likely; 0 is off.",
        remedy="0 turns it off",
    )
    frequency_penalty: float = option(
        0.0,
        metavar="X",
        low=-2,
        high=2,
        help="Above 0: tokens become less likely with every occurrence in the reply; 0 is off.",
        remedy="0 turns it off",
    )
    # Pairs of a token id, given once, and the bias added to its logit; a mapping is accepted too.
    logit_bias: tuple[tuple[int, float], ...] = option(
        (),
        metavar="ID:BIAS",
        read=readers.logit_bias,
        separator=",",
        help="Added to the logit of a token, -100 to 100.",
    )
    stop: tuple[str, ...] = option(
        (),
        metavar="TEXT",
        read=readers.texts("--stop"),
        help="End before this text, which may be a special token such as <|im_end|>.",
    )
    stop_token_ids: tuple[int, ...] = option(
        (), "--stop-token-id", metavar="ID", help="End before this token."
    )

    def __post_init__(self) -> None:
        check_fields(self, Sampling)
        if isinstance(self.logit_bias, Mapping):
            object.__setattr__(self, "logit_bias", tuple(self.logit_bias.items()))
        if not all(map(_is_bias, self.logit_bias)):
            raise RangeError("--logit-bias", "must be a mapping of token ids to numbers")
        biased = [token for token, _ in self.logit_bias]
        for flag, tokens in (("--stop-token-id", self.stop_token_ids), ("--logit-bias", biased)):
            wrong = next((token for token in tokens if not _is_id(token)), None)
            if wrong is not None:
                raise RangeError(flag, f"{wrong} is not a token id", hint="give whole numbers from 0")
        for token, bias in self.logit_bias:
            if not -MAX_BIAS <= bias <= MAX_BIAS:
                must = f"for token {token} must be between -{MAX_BIAS} and {MAX_BIAS}"
                raise RangeError("--logit-bias", f"{bias:g} {must}")
        if len(set(biased)) < len(biased):
            raise RangeError("--logit-bias", "names a token twice", hint="give each token one bias")
        if "" in self.stop:
            raise RangeError("--stop", "is empty", hint="every reply contains the empty string")

    def over(self, own: Sampling) -> SamplingLaw:
        """The law: values that are not given are those of `own`, the model's, else neutral."""
        given = vars(self) | {name: getattr(own, name) for name in OWN if getattr(self, name) is None}
        return SamplingLaw(**{name: value for name, value in given.items() if value is not None})

    def as_json(self) -> dict[str, Any]:
        """Every field by name, tuples as lists, so that the value equals what JSON reads back."""
        fields: dict[str, Any] = json.loads(json.dumps(vars(self)))
        return fields


@dataclass(frozen=True)
class SamplingLaw(Sampling):
    """`Sampling` with every value known. The defaults are neutral: `SamplingLaw()` is the plain target."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    expert_min_p: float = 0.0
    repetition_penalty: float = 1.0

    @property
    def greedy(self) -> bool:
        """Whether sampling always takes the likeliest token."""
        return self.temperature == 0

    @property
    def truncates(self) -> bool:
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0

    @property
    def looks_back(self) -> bool:
        """Whether penalties depend on the tokens of prompt and reply."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0

    @property
    def penalises(self) -> bool:
        """Whether penalties or a bias change the target."""
        return self.looks_back or bool(self.logit_bias)

    def untruncated(self) -> SamplingLaw:
        """The same without top-k, top-p and the two min-p."""
        return replace(self, top_k=0, top_p=1.0, min_p=0.0, expert_min_p=0.0)


OWN = tuple(SamplingLaw.__annotations__)  # values that a model may set itself


@dataclass(frozen=True)
class Threshold:
    """Parameters of the threshold rule: its thresholds, and the candidates that it verifies.

    `level` is a quantile Q of the log-ratios of the last `window` scored chunks, `max` for their maximum, or
    `fixed:X` in nats. `candidates` are drafted in parallel, each of `ahead` chunks.
    """

    level: str = option(
        "max",
        "--threshold",
        metavar="max|Q|fixed:X",
        numeric=True,
        help="With --rule threshold: maximum of recent log-ratios, their quantile Q, or always X.",
        complete=("max",),
    )
    window: int = option(
        64,
        "--threshold-window",
        metavar="N",
        low=1,
        high=100_000,
        help="With --rule threshold: number of recent chunks.",
    )
    candidates: int = option(
        1,
        metavar="N",
        low=1,
        high=MAX_CANDIDATES,
        help="With --rule threshold: parallel drafts, of which the longest accepted one is committed.",
    )
    ahead: int = option(
        1, metavar="W", low=1, high=16, help="With --rule threshold: chunks drafted ahead for one pass."
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", str(self.level))  # a file may hold a number
        check_fields(self)
        kind, _, number = self.level.rpartition(":")
        value = finite(number)
        quantile = not kind and value is not None and 0 < value <= 1
        fixed = kind == "fixed" and value is not None and value >= 0
        if not (self.level == "max" or quantile or fixed):
            hint = "give max, a quantile such as 0.95, or fixed:X with X of 0 or more, such as fixed:1.5"
            raise RangeError("--threshold", f"{quoted(self.level)} is not a threshold", hint=hint)

    @property
    def fixed(self) -> float | None:
        """The fixed threshold in nats; None where it is estimated."""
        kind, _, number = self.level.rpartition(":")
        return float(number) if kind == "fixed" else None

    @property
    def quantile(self) -> float:
        """The quantile of recent log-ratios that is the threshold; 1 is their maximum."""
        return 1.0 if self.level == "max" or self.fixed is not None else float(self.level)


@dataclass(frozen=True)
class Scheme:
    """The target distribution, and how it is sampled (rule, drafter, chunk size, thresholds)."""

    target: TargetName = option(
        "product",
        help="Combine all personas in every token (product), sample each token from one (mixture), or add up "
        "all adapters and join all prompts in one row, at the cost of one persona (merged).",
    )
    rule: RuleName = option(
        "exact",
        help="How drafts are verified: losslessly with the same text for any drafter, as in the paper, or "
        "losslessly with longer accepted prefixes.",
    )
    # One of DRAFTERS, model:PATH, persona:NAME of the blend. auto means merged where the text depends on it.
    drafter: str = option(
        "auto",
        metavar="auto|merged|folded|reference|persona:NAME|lookup|model:PATH|none",
        help="Draft source: all personas merged, the same folded into a copy of the weights (faster, needs "
        "memory), the plain model, one persona, n-gram lookup, a smaller model with the same tokenizer, or "
        "none (token by token). auto: the fastest that mpg tune found for the blend where the text does not "
        "depend on it, else merged.",
        complete="drafter",
    )
    chunk_size: int | None = option(  # None: automatic
        None,
        metavar="auto|N",
        read=readers.auto_or_number("--chunk-size", 0, MAX_CHUNK),
        numeric=True,
        text="auto",
        low=0,
        high=MAX_CHUNK,
        help=f"Tokens drafted at a time, 0 to {MAX_CHUNK}; auto: what mpg tune found, else it follows the "
        "acceptance of the reply. Under the exact rule it changes the speed only.",
        remedy="auto chooses; 0 drafts nothing",
        complete=("auto",),
    )
    threshold: Threshold = group(Threshold)

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "drafter", _drafter(self.drafter))
        if self.rule != "exact" and self.drafter == "auto":
            object.__setattr__(self, "drafter", "merged")
        if self.rule == "threshold" and self.drafter == "lookup":
            raise UsageError(
                "--drafter lookup cannot be used with --rule threshold: it cannot propose every token",
                hint="use --rule exact or block, or another drafter",
            )

    @property
    def effective(self) -> Scheme:
        """The scheme without thresholds that its rule ignores; the config file may set them for all rules."""
        return self if self.rule == "threshold" else replace(self, threshold=Threshold())

    def check_given(self, given: Callable[[str], bool]) -> None:
        """Raise UsageError for an option with no effect beside the others, if `given(key)` holds for it."""
        for own in options_of(Threshold):
            if self.rule != "threshold" and given(own.key):
                hint = f"add --rule threshold or leave out {own.flag}"
                raise UsageError(f"{own.flag} belongs to --rule threshold", hint=hint)
        if self.drafter == "none" and self.chunk_size and given("chunk_size"):
            message = "--chunk-size conflicts with --drafter none, which drafts nothing"
            raise UsageError(message, hint="leave one out")

    def on(self, personas: Sequence[str]) -> Scheme:
        """The scheme for a blend of these personas, with the name in `persona:NAME` spelled as in the blend.

        Raises UsageError for a name that is not in the blend.
        """
        kind, _, name = self.drafter.partition(":")
        if kind != "persona":
            return self
        known = next((persona for persona in personas if persona.lower() == name.lower()), None)
        if known is None:
            raise UsageError(
                f"--drafter {quoted(self.drafter)} is not in the blend{did_you_mean(name, personas)}",
                hint=f"the blend has {', '.join(map(visible, personas))}",
            )
        return replace(self, drafter=f"persona:{known}")


def _drafter(text: str) -> str:
    """One of DRAFTERS, persona:NAME, or model:PATH with `~` expanded."""
    if text in DRAFTERS:
        return text
    kind, colon, name = text.partition(":")
    name = name.strip()
    example = {"persona": "persona:pirate", "model": "model:FOLDER"}.get(kind)
    if not colon or example is None:
        raise unknown("--drafter", text, (*DRAFTERS, "persona:NAME", "model:PATH"))
    if not name:
        raise RangeError("--drafter", f"{quoted(text)} names no {kind}", hint=f"as in --drafter {example}")
    return f"{kind}:{name if kind == 'persona' else os.path.expanduser(check_text('--drafter', name))}"


def _is_bias(pair: object) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and type(pair[1]) in (int, float)


def _is_id(token: object) -> bool:
    return isinstance(token, int) and not isinstance(token, bool) and token >= 0
