"""What is sampled, from the flag to the sampler: `Sampling`, `Scheme` and `Threshold`. Torch-free.

Each class checks its own ranges and raises UsageError; messages call a value by its flag, and RangeError can
call it otherwise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mpg_cli.errors import RangeError, UsageError, require

TargetName = Literal["product", "mixture"]
RuleName = Literal["exact", "threshold", "block"]

MAX_CHUNK = 64
MAX_WINDOW = 100_000
MAX_CANDIDATES = 64
MAX_AHEAD = 16
MAX_SEED = 2**64 - 1
MAX_PENALTY = 2  # of presence and frequency, as in OpenAI's interface
MAX_BIAS = 100
DRAFTERS = ("auto", "merged", "folded", "reference", "lookup", "none")  # those without an argument


@dataclass(frozen=True)
class Threshold:
    """What the threshold rule drafts, and where its thresholds come from.

    Thresholds are `fixed`, or a quantile (1: the maximum) over the last `window` scored chunks. `candidates`
    are drafted side by side, each of `ahead` chunks.
    """

    quantile: float = 1.0
    fixed: float | None = None
    window: int = 64
    candidates: int = 1
    ahead: int = 1


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn from the blend, and when the reply ends."""

    max_tokens: int | None = None  # None: 256, or what the context leaves
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    # Token ids, each once, and what is added to their logits; a mapping is taken too.
    logit_bias: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens is not None:
            require(self.max_tokens >= 1, "--max-tokens", self.max_tokens, "must be at least 1")
        fine = math.isfinite(self.temperature) and self.temperature >= 0
        require(
            fine, "--temperature", self.temperature, "must be 0 or more", "0 always takes the likeliest token"
        )
        require(self.top_k >= 0, "--top-k", self.top_k, "must be 0 or more", "0 turns it off")
        require(0 < self.top_p <= 1, "--top-p", self.top_p, "must be above 0 and at most 1", "1 turns it off")
        require(0 <= self.min_p <= 1, "--min-p", self.min_p, "must be between 0 and 1", "0 turns it off")
        fine = math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0
        require(fine, "--repetition-penalty", self.repetition_penalty, "must be above 0", "1 turns it off")
        for flag, value in (
            ("--presence-penalty", self.presence_penalty),
            ("--frequency-penalty", self.frequency_penalty),
        ):
            fine = -MAX_PENALTY <= value <= MAX_PENALTY
            require(fine, flag, value, f"must be between -{MAX_PENALTY} and {MAX_PENALTY}", "0 turns it off")
        if isinstance(self.logit_bias, Mapping):
            object.__setattr__(self, "logit_bias", tuple(self.logit_bias.items()))
        for token in self.stop_token_ids:
            require(_is_id(token), "--stop-token-id", token, "is no token id", "ids are whole numbers from 0")
        for token, bias in self.logit_bias:
            require(_is_id(token), "--logit-bias", token, "is no token id", "ids are whole numbers from 0")
            must = f"for token {token} must be between -{MAX_BIAS} and {MAX_BIAS}"
            require(-MAX_BIAS <= bias <= MAX_BIAS, "--logit-bias", bias, must)
        if len({token for token, _ in self.logit_bias}) < len(self.logit_bias):
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
class Scheme:
    """What is sampled and by which rule: the law (target) and the way there (rule, drafter, chunk)."""

    target: TargetName = "product"
    rule: RuleName = "exact"
    # One of DRAFTERS, model:PATH, persona:NAME of the blend. auto is merged where the text depends on it.
    drafter: str = "auto"
    chunk_size: int | None = None  # None: automatic
    threshold: Threshold = field(default_factory=Threshold)

    def __post_init__(self) -> None:
        if self.chunk_size is not None:
            fine = 0 <= self.chunk_size <= MAX_CHUNK
            hint = "auto chooses; 0 drafts nothing"
            require(fine, "--chunk-size", self.chunk_size, f"must be between 0 and {MAX_CHUNK}", hint)
        for flag, value, most in (
            ("--threshold-window", self.threshold.window, MAX_WINDOW),
            ("--candidates", self.threshold.candidates, MAX_CANDIDATES),
            ("--ahead", self.threshold.ahead, MAX_AHEAD),
        ):
            require(1 <= value <= most, flag, value, f"must be between 1 and {most}")
        if self.rule != "exact" and self.drafter == "auto":
            object.__setattr__(self, "drafter", "merged")
        if self.rule == "threshold" and self.drafter == "lookup":
            raise UsageError(
                "--drafter lookup does not go with --rule threshold: it cannot propose every token",
                hint="use --rule exact or block, or a drafter that is a model",
            )


def _is_id(token: object) -> bool:
    return isinstance(token, int) and not isinstance(token, bool) and token >= 0
