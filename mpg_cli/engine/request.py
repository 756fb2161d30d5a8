"""What `mpg generate` was asked for, as frozen values that are right by construction. Torch-free.

Each class checks its own ranges and raises UsageError; messages call a value by its flag, and RangeError can
call it otherwise.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mpg_cli.errors import RangeError, UsageError
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.sampling.thresholds import Threshold

if TYPE_CHECKING:
    from mpg_cli.personas.registry import Blend

TargetName = Literal["product", "mixture"]
RuleName = Literal["exact", "threshold", "block"]

DEFAULT_MODEL = "mpg-tiny"
MAX_CHUNK = 64
MAX_WEIGHT = 10
MAX_WINDOW = 100_000
MAX_CANDIDATES = 64
MAX_AHEAD = 16
MAX_SEED = 2**64 - 1
MAX_PENALTY = 2  # of presence and frequency, as in OpenAI's interface
MAX_BIAS = 100
DRAFTERS = ("auto", "merged", "folded", "reference", "lookup", "none")  # those without an argument
DTYPES = ("auto", "bfloat16", "float16", "float32")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class ModelChoice:
    """Which model, and where and in what precision it runs."""

    name: str = DEFAULT_MODEL
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False  # the forward pass through torch.compile

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError("--model is empty", hint="name a model of the hub or a folder")
        if not _DEVICE.fullmatch(self.device):
            hint = "choose auto, cpu, mps, cuda or cuda:N"
            raise UsageError(f"--device {self.device} is no device", hint=hint)
        if self.dtype not in DTYPES:
            raise UsageError(f"--dtype {self.dtype} is none", hint=f"choose {', '.join(DTYPES)}")


@dataclass(frozen=True)
class Prompting:
    """What is said to the model: either a prompt or messages, and how it is put to it.

    Messages may end with an assistant turn: it becomes the `prefill`, and a user turn is the last.
    """

    prompt: str | None = None
    messages: tuple[dict[str, str], ...] | None = None  # {"role", "content"}, the last a user turn
    system: str | None = None
    raw: bool = False
    template_args: Mapping[str, Any] = field(default_factory=dict)  # values read as JSON
    prefill: str = ""  # how the reply begins; it goes on from there

    def __post_init__(self) -> None:
        if self.messages and self.messages[-1]["role"] == "assistant":
            begun = self.messages[-1]["content"]
            if begun and self.prefill:
                raise UsageError(
                    "the reply begins twice: the messages end with an assistant turn, and a prefill is given",
                    hint="leave one out",
                )
            object.__setattr__(self, "messages", self.messages[:-1])
            object.__setattr__(self, "prefill", begun or self.prefill)
        if self.messages == ():
            raise UsageError("the messages have no user turn", hint="the model answers the last one")
        if (self.prompt is None) == (self.messages is None):
            raise UsageError(
                "give either a prompt or --messages", hint='as in mpg generate -p pirate "Hello"'
            )
        if self.prompt is not None and not self.prompt.strip():
            raise UsageError("the prompt is empty", hint="say something, the model answers it")
        if self.raw and self.messages is not None:
            raise UsageError("--raw skips the chat template, which messages need", hint="leave one out")
        if self.raw and self.template_args:
            raise UsageError("--raw skips the chat template that --template-arg is for", hint="leave one out")


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
            _need(self.max_tokens >= 1, "--max-tokens", self.max_tokens, "must be at least 1")
        fine = math.isfinite(self.temperature) and self.temperature >= 0
        _need(
            fine, "--temperature", self.temperature, "must be 0 or more", "0 always takes the likeliest token"
        )
        _need(self.top_k >= 0, "--top-k", self.top_k, "must be 0 or more", "0 turns it off")
        _need(0 < self.top_p <= 1, "--top-p", self.top_p, "must be above 0 and at most 1", "1 turns it off")
        _need(0 <= self.min_p <= 1, "--min-p", self.min_p, "must be between 0 and 1", "0 turns it off")
        fine = math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0
        _need(fine, "--repetition-penalty", self.repetition_penalty, "must be above 0", "1 turns it off")
        for flag, value in (
            ("--presence-penalty", self.presence_penalty),
            ("--frequency-penalty", self.frequency_penalty),
        ):
            fine = -MAX_PENALTY <= value <= MAX_PENALTY
            _need(fine, flag, value, f"must be between -{MAX_PENALTY} and {MAX_PENALTY}", "0 turns it off")
        if isinstance(self.logit_bias, Mapping):
            object.__setattr__(self, "logit_bias", tuple(self.logit_bias.items()))
        for token in self.stop_token_ids:
            _need(_is_id(token), "--stop-token-id", token, "is no token id", "ids are whole numbers from 0")
        for token, bias in self.logit_bias:
            _need(_is_id(token), "--logit-bias", token, "is no token id", "ids are whole numbers from 0")
            must = f"for token {token} must be between -{MAX_BIAS} and {MAX_BIAS}"
            _need(-MAX_BIAS <= bias <= MAX_BIAS, "--logit-bias", bias, must)
        if len({token for token, _ in self.logit_bias}) < len(self.logit_bias):
            raise RangeError("--logit-bias", "names a token twice", hint="give each token one bias")
        if "" in self.stop:
            raise RangeError("--stop", "is empty", hint="every reply contains the empty string")

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
            _need(fine, "--chunk-size", self.chunk_size, f"must be between 0 and {MAX_CHUNK}", hint)
        for flag, value, most in (
            ("--threshold-window", self.threshold.window, MAX_WINDOW),
            ("--candidates", self.threshold.candidates, MAX_CANDIDATES),
            ("--ahead", self.threshold.ahead, MAX_AHEAD),
        ):
            _need(1 <= value <= most, flag, value, f"must be between 1 and {most}")
        if self.rule != "exact" and self.drafter == "auto":
            object.__setattr__(self, "drafter", "merged")
        if self.rule == "threshold" and self.drafter == "lookup":
            raise UsageError(
                "--drafter lookup does not go with --rule threshold: it cannot propose every token",
                hint="use --rule exact or block, or a drafter that is a model",
            )


@dataclass(frozen=True)
class GenerateRequest:
    """All of one `mpg generate`. Weights have `--strength` in them."""

    model: ModelChoice
    prompting: Prompting
    sampling: Sampling
    scheme: Scheme
    blend: Blend | None = None
    adapters: tuple[tuple[AdapterPlace, float], ...] = ()  # of --adapter
    seed: int | None = None  # None: drawn by the session
    samples: int = 1
    sequence_id: int | str | None = None  # None: samples are numbered from 0

    def __post_init__(self) -> None:
        _need(self.samples >= 1, "-n", self.samples, "must be at least 1")
        if self.seed is not None:
            _need(0 <= self.seed <= MAX_SEED, "--seed", self.seed, "must be between 0 and 2^64 - 1")
        if self.sequence_id is not None and self.samples > 1:
            raise UsageError(
                "--sequence-id names one sample, -n asks for several",
                hint="leave out -n, or --sequence-id: samples are numbered from 0",
            )


def _is_id(token: object) -> bool:
    return isinstance(token, int) and not isinstance(token, bool) and token >= 0


def _need(fine: bool, flag: str, value: object, must: str, hint: str | None = None) -> None:
    if not fine:
        shown = f"{value:g}" if isinstance(value, float) else value
        raise RangeError(flag, f"{shown} {must}", hint=hint)
