"""Token ids: which may be sampled, which have embeddings, and whether two tokenizers agree.

A tokenizer may have tokens without an embedding, such as a pad token added for training; they matter if a
prompt contains them. Embeddings, in turn, are padded beyond the tokenizer, to sizes that differ between
models, and a padded id has a probability like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mpg_cli.errors import ModelError, UsageError
from mpg_cli.models.text.template import Refused, applied
from mpg_cli.sampling.scorer import to_device

IMPOSSIBLE = -1e30  # a logit; finite, so that sums over experts stay finite
SAMPLES = ("Hello, world!", " 1234 + 5", "Ünïcödé 你好 🙂\n\tdef f(x):", "<|im_start|>user</s>")
TURNS = [  # conversations that reveal the tokens that a template adds
    [{"role": "user", "content": "a"}],
    [{"role": "system", "content": "a"}, {"role": "user", "content": "a"}],
    [{"role": role, "content": "a"} for role in ("user", "assistant", "user")],
]


@dataclass(frozen=True)
class Vocabulary:
    """Ids from 0 to `size` - 1, except the `holes`."""

    size: int
    holes: tuple[int, ...] = ()

    @classmethod
    def of(cls, ids: Iterable[int]) -> Vocabulary:
        """Exactly these ids, without negative ones, which mean no token; at least one must remain."""
        known = {id_ for id_ in ids if id_ >= 0}
        size = max(known) + 1
        return cls(size, tuple(sorted(set(range(size)) - known)) if len(known) < size else ())

    def below(self, size: int) -> Vocabulary:
        """The ids below `size`."""
        if size >= self.size:
            return self
        return Vocabulary.of(id_ for id_ in range(size) if id_ in self)

    @cached_property
    def first(self) -> int:
        """The lowest id."""
        return next(id_ for id_ in range(self.size) if id_ in self)

    @cached_property
    def _holes(self) -> frozenset[int]:
        return frozenset(self.holes)

    def __contains__(self, id_: int) -> bool:
        return 0 <= id_ < self.size and id_ not in self._holes

    def fit(self, logits: Tensor) -> Tensor:
        """Logits (..., V) over these ids, (..., size), float32: cut at `size`, -inf where the model has none,
        IMPOSSIBLE in the holes. Float32 logits are overwritten there.
        """
        logits = logits[..., : self.size].float()
        if missing := self.size - logits.shape[-1]:
            logits = torch.nn.functional.pad(logits, (0, missing), value=-torch.inf)
        if self.holes:
            with torch.inference_mode():
                logits.index_fill_(-1, self._holes_on(logits.device), IMPOSSIBLE)
        return logits

    def _holes_on(self, device: torch.device) -> Tensor:
        """The holes on a device, copied there once."""
        if device not in self._copies:
            self._copies[device] = to_device(torch.tensor(self.holes), device)
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, Tensor]:
        return {}


def logits_width(model: Any) -> int:
    """V, the number of logits."""
    return int(model.get_output_embeddings().weight.shape[0])


def embedded(model: Any) -> int:
    """Token ids below this have an embedding."""
    text, rows = model.config.get_text_config(), int(model.get_input_embeddings().weight.shape[0])
    each_layer = getattr(text, "vocab_size_per_layer_input", None)  # Gemma's second table
    return min(rows, each_layer) if each_layer and text.hidden_size_per_layer_input else rows


def served_tokens(*models: Any) -> int:
    """Token ids below this have an embedding and a logit in all of these models."""
    return min(min(embedded(model), logits_width(model)) for model in models)


def check_tokenizer(model: Any, tokenizer: Any, name: str) -> None:
    """Check that the model has embeddings for text and for the tokens that a template adds.

    Raises ModelError. Other tokens may lack one unless a prompt has them, see `check_ids`; a pad token
    without one is unset, so that training pads with the end token.
    """
    size, vocabulary = embedded(model), tokenizer.get_vocab()
    beyond = {token: id_ for token, id_ in vocabulary.items() if id_ >= size}
    if not beyond:
        return
    top = max(beyond.values())
    if not beyond.keys() <= tokenizer.get_added_vocab().keys():
        raise ModelError(
            f"model {name}: its tokenizer has token {top}, its embedding ends at {size - 1}",
            hint="use the tokenizer that belongs to the weights",
        )
    if in_use := sorted(_surroundings(tokenizer) & set(beyond.values())):
        token = tokenizer.convert_ids_to_tokens(in_use[0])
        raise ModelError(
            f"model {name}: every prompt has the token {token!r} ({in_use[0]}), "
            f"its embedding ends at {size - 1}",
            hint="the weights are older than the tokenizer: give the fine-tuned model that this token was "
            "trained in, or the tokenizer of the base",
        )
    if tokenizer.pad_token in beyond:
        tokenizer.pad_token = None


def check_same(base: Any, other: Any, size: int) -> str | None:
    """The difference that keeps another model from decoding with the base; None if their tokenizers agree.

    `size` is the number of tokens with embeddings in the other model. Added tokens that no conversation
    contains, such as a pad token, may differ.
    """
    ids, other_ids = base.get_vocab(), other.get_vocab()
    differing = {token for token, _ in ids.items() ^ other_ids.items()}
    spare = _spare(base, differing & ids.keys()) | (differing - ids.keys())
    spare &= _spare(other, differing & other_ids.keys()) | (differing - other_ids.keys())
    if wrong := differing - spare:
        token = min(wrong, key=lambda token: (ids.get(token, other_ids.get(token)), token))
        return f"token {token!r} is {other_ids.get(token)} there and {ids.get(token)} in the base"
    samples = [text for text in SAMPLES if not any(token in text for token in differing)]
    if any(base.encode(text) != other.encode(text) for text in samples):
        return "it splits text differently"
    if lacking := sorted(id_ for id_ in _surroundings(base) | _end(base) if id_ >= size):
        token = base.convert_ids_to_tokens(lacking[0])
        return f"the base's conversations have the token {token!r}, and its embedding ends at {size - 1}"
    return None


def check_ids(tokenizer: Any, ids: list[int], size: int) -> None:
    """Raise UsageError for a prompt with a token that has no embedding."""
    beyond = next((id_ for id_ in ids if id_ >= size), None)
    if beyond is not None:
        token = tokenizer.convert_ids_to_tokens(beyond)
        raise UsageError(
            f"the prompt has the token {token!r} ({beyond}), which has no embedding",
            hint=f"leave it out; the weights have tokens up to {size - 1}",
        )


def _spare(tokenizer: Any, tokens: set[str]) -> set[str]:
    """Those of the tokens that were added to the tokenizer and that no conversation contains."""
    added = tokenizer.get_added_vocab()
    in_use = _surroundings(tokenizer) | _end(tokenizer)
    return {token for token in tokens if token in added and added[token] not in in_use}


def _surroundings(tokenizer: Any) -> set[int]:
    """Ids that the template, or the tokenizer itself, adds around text."""
    if not getattr(tokenizer, "chat_template", None):
        return set(tokenizer("a")["input_ids"]) - {tokenizer.unk_token_id}
    found: set[int] = set()
    for turns in TURNS:
        try:
            text = applied(tokenizer, turns, {}, add_generation_prompt=True)
        except Refused:  # rendering a prompt reports it
            continue
        found |= set(tokenizer(text, add_special_tokens=False)["input_ids"])
    return found - {tokenizer.unk_token_id}


def _end(tokenizer: Any) -> set[int]:
    return {tokenizer.eos_token_id} - {None}
