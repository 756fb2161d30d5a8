"""What is sampled, from the flag to the sampler: `Sampling`, `Scheme` and `Threshold`. Torch-free.

They are groups of options (options/option.py) and the values that every layer uses. Each checks its own
ranges and raises UsageError; messages call a value by its flag, and RangeError can call it otherwise.
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

TargetName = Literal["product", "mixture"]
RuleName = Literal["exact", "threshold", "block"]

MAX_CHUNK = 64
MAX_CANDIDATES = 64
MAX_BIAS = 100
DRAFTERS = ("auto", "merged", "folded", "reference", "lookup", "none")  # those without an argument


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn from the blend, and when the reply ends."""

    max_tokens: int | None = option(
        None, metavar="N", low=1, help="Longest reply.", shown="256 or what the context leaves"
    )
    temperature: float = option(
        1.0,
        metavar="T",
        low=0,
        help="0 always takes the likeliest token, above 1 is wilder.",
        remedy="0 always takes the likeliest token",
    )
    top_k: int = option(
        0, metavar="K", low=0, help="Sample from the K likeliest tokens; 0 is off.", remedy="0 turns it off"
    )
    top_p: float = option(
        1.0,
        metavar="P",
        low=0,
        above=True,
        high=1,
        help="Sample from the likeliest tokens that hold P together; 1 is off.",
        remedy="1 turns it off",
    )
    min_p: float = option(
        0.0,
        metavar="P",
        low=0,
        high=1,
        help="Drop tokens below P times the likeliest; 0 is off.",
        remedy="0 turns it off",
    )
    repetition_penalty: float = option(
        1.0,
        metavar="X",
        low=0,
        above=True,
        help="Above 1: tokens of the prompt and the reply become less likely, as in transformers; 1 is off.",
        remedy="1 turns it off",
    )
    presence_penalty: float = option(
        0.0,
        metavar="X",
        low=-2,
        high=2,
        help="Above 0: tokens that the reply has become less likely; 0 is off.",
        remedy="0 turns it off",
    )
    frequency_penalty: float = option(
        0.0,
        metavar="X",
        low=-2,
        high=2,
        help="The same, each time that the reply has the token; 0 is off.",
        remedy="0 turns it off",
    )
    # Token ids, each once, and what is added to their logits; a mapping is taken too.
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
        check_fields(self)
        if isinstance(self.logit_bias, Mapping):
            object.__setattr__(self, "logit_bias", tuple(self.logit_bias.items()))
        if not all(map(_is_bias, self.logit_bias)):
            raise RangeError("--logit-bias", "must be a mapping of token ids to numbers")
        biased = [token for token, _ in self.logit_bias]
        for flag, tokens in (("--stop-token-id", self.stop_token_ids), ("--logit-bias", biased)):
            wrong = next((token for token in tokens if not _is_id(token)), None)
            if wrong is not None:
                raise RangeError(flag, f"{wrong} is no token id", hint="ids are whole numbers from 0")
        for token, bias in self.logit_bias:
            if not -MAX_BIAS <= bias <= MAX_BIAS:
                must = f"for token {token} must be between -{MAX_BIAS} and {MAX_BIAS}"
                raise RangeError("--logit-bias", f"{bias:g} {must}")
        if len(set(biased)) < len(biased):
            raise RangeError("--logit-bias", "names a token twice", hint="give each token one bias")
        if "" in self.stop:
            raise RangeError("--stop", "is empty", hint="every reply contains the empty string")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    @property
    def truncates(self) -> bool:
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0

    @property
    def looks_back(self) -> bool:
        """Whether penalties depend on the tokens so far."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0

    @property
    def penalises(self) -> bool:
        """Whether penalties or a bias change the target."""
        return self.looks_back or bool(self.logit_bias)

    def untruncated(self) -> Sampling:
        """The same with every token possible."""
        return replace(self, top_k=0, top_p=1.0, min_p=0.0)

    def as_json(self) -> dict[str, Any]:
        """Every field by name, with lists where there are tuples: what is read back is equal."""
        fields: dict[str, Any] = json.loads(json.dumps(vars(self)))
        return fields


@dataclass(frozen=True)
class Threshold:
    """What the threshold rule drafts, and where its thresholds come from.

    `level` is `max`, a quantile Q over the last `window` scored chunks (max: the largest), or `fixed:X` in
    nats. `candidates` are drafted side by side, each of `ahead` chunks.
    """

    level: str = option(
        "max",
        "--threshold",
        metavar="max|Q|fixed:X",
        numeric=True,
        help="With --rule threshold: largest recent log-ratio, its quantile Q, or always X.",
        complete=("max",),
    )
    window: int = option(
        64,
        "--threshold-window",
        metavar="N",
        low=1,
        high=100_000,
        help="With --rule threshold: over how many recent chunks.",
    )
    candidates: int = option(
        1,
        metavar="N",
        low=1,
        high=MAX_CANDIDATES,
        help="With --rule threshold: drafts side by side; the longest accepted one stays.",
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
            raise RangeError("--threshold", f"{quoted(self.level)} is no threshold", hint=hint)

    @property
    def fixed(self) -> float | None:
        """The threshold in nats that always holds; None where it is estimated."""
        kind, _, number = self.level.rpartition(":")
        return float(number) if kind == "fixed" else None

    @property
    def quantile(self) -> float:
        """The quantile of recent log-ratios that is the threshold; 1 is their maximum."""
        return 1.0 if self.level == "max" or self.fixed is not None else float(self.level)


@dataclass(frozen=True)
class Scheme:
    """What is sampled and by which rule: the law (target) and the way there (rule, drafter, chunk)."""

    target: TargetName = option(
        "product",
        help="Blend every token, or draw each token from one persona.",
    )
    rule: RuleName = option(
        "exact",
        help="How drafts are verified: losslessly with the same text for any drafter, as in the paper, or "
        "losslessly with longer accepted prefixes.",
    )
    # One of DRAFTERS, model:PATH, persona:NAME of the blend. auto is merged where the text depends on it.
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
        if self.rule != "threshold":  # what the config file says of it waits for its rule
            object.__setattr__(self, "threshold", Threshold())
        if self.rule == "threshold" and self.drafter == "lookup":
            raise UsageError(
                "--drafter lookup does not go with --rule threshold: it cannot propose every token",
                hint="use --rule exact or block, or a drafter that is a model",
            )

    def check_given(self, given: Callable[[str], bool]) -> None:
        """Raise UsageError where an option that was `given`, by its key, has no effect beside the others."""
        for one in options_of(Threshold):
            if self.rule != "threshold" and given(one.key):
                hint = f"add --rule threshold or leave out {one.flag}"
                raise UsageError(f"{one.flag} belongs to --rule threshold", hint=hint)
        if self.drafter == "none" and self.chunk_size and given("chunk_size"):
            message = "--drafter none drafts nothing, --chunk-size does not go with it"
            raise UsageError(message, hint="leave one out")

    def on(self, personas: Sequence[str]) -> Scheme:
        """The scheme for a blend of these personas: the one that drafts is spelled as there.

        Raises UsageError for one that is not in the blend.
        """
        kind, _, name = self.drafter.partition(":")
        if kind != "persona":
            return self
        known = next((one for one in personas if one.lower() == name.lower()), None)
        if known is None:
            raise UsageError(
                f"--drafter {quoted(self.drafter)} is not in the blend{did_you_mean(name, personas)}",
                hint=f"the blend has {', '.join(map(visible, personas))}",
            )
        return replace(self, drafter=f"persona:{known}")


def _drafter(text: str) -> str:
    """One of DRAFTERS, persona:NAME, or model:PATH with the home folder written out."""
    if text in DRAFTERS:
        return text
    kind, _, name = text.partition(":")
    if name.strip() and kind == "persona":
        return f"persona:{name.strip()}"
    if name.strip() and kind == "model":
        return f"model:{os.path.expanduser(check_text('--drafter', name.strip()))}"
    raise unknown("--drafter", text, (*DRAFTERS, "persona:NAME", "model:PATH"))


def _is_bias(pair: object) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and type(pair[1]) in (int, float)


def _is_id(token: object) -> bool:
    return isinstance(token, int) and not isinstance(token, bool) and token >= 0
