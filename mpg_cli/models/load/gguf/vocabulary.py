"""The vocabulary in the metadata of a GGUF file: tokens, their types, and what the special ones are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpg_cli.errors import ModelError
from mpg_cli.io.text import visible

PREFIX = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5  # values of token_type; 6 is a byte
ANOTHER = "choose another file of the model, or its folder with safetensors weights and tokenizer.json"

# Tokens that llama.cpp finds in text and that end a reply, even if their type in the file is an ordinary one.
_ENDS = frozenset(
    (
        *(
            "<|im_end|>",
            "<|eot_id|>",
            "<|eom_id|>",
            "<|end|>",
            "<end_of_turn>",
            "<turn|>",
            "<end_of_utterance>",
        ),
        *("<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>", "<eos>", "[EOS]", "[e~["),
        *("<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "<|tool_response>", "<EOT>", "_<EOT>", "[EOT]"),
    )
)
_ROLES = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
    "unk": "unknown_token_id",
    "pad": "padding_token_id",
}
_SENTENCEPIECE = {"unk": 0, "bos": 1, "eos": 2}  # where a `llama` vocabulary names none


def refused(name: str, what: str, hint: str = ANOTHER) -> ModelError:
    """The error for a tokenizer that cannot be rebuilt."""
    return ModelError(f"model {name}: its tokenizer {what}", hint=hint)


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their types by id, without ids that only pad the embedding."""

    tokens: Mapping[int, str]
    types: Mapping[int, int]
    ids: Mapping[str, int]
    roles: Mapping[str, int]  # ids of "bos", "eos", "eot" (end of turn), "eom" (of message), "unk" and "pad"

    @classmethod
    def read(cls, metadata: Mapping[str, Any], name: str) -> Vocabulary:
        """Raises ModelError for a vocabulary that is missing or damaged."""
        texts = read_list(metadata, "tokens", str, name)
        if not texts:
            raise refused(name, "has no tokens")
        types = read_list(metadata, "token_type", int, name, len(texts)) or [NORMAL] * len(texts)
        tokens = {
            id_: text
            for id_, (text, kind) in enumerate(zip(texts, types, strict=False))
            if text and not (kind == UNUSED and text == f"[PAD{id_}]")
        }
        ids = {text: id_ for id_, text in tokens.items()}
        if len(ids) < len(tokens):
            twice = next(text for id_, text in tokens.items() if ids[text] != id_)
            raise refused(name, f"has the token {visible(twice, 40)!r} twice")
        roles = {} if metadata.get(f"{PREFIX}model") == "gpt2" else _SENTENCEPIECE
        roles = {role: id_ for role, id_ in roles.items() if types[id_ : id_ + 1] in ([UNKNOWN], [CONTROL])}
        for role, key in _ROLES.items():
            id_ = metadata.get(PREFIX + key)
            if id_ is None:
                continue
            if type(id_) is not int or id_ not in tokens:
                raise refused(name, f"has {key} {visible(str(id_), 40)}, which is no token of it")
            roles[role] = id_
        return cls(tokens, {id_: types[id_] for id_ in tokens}, ids, roles)

    def special(self, id_: int) -> bool:
        """Whether a token is left out of the text of a reply."""
        kind = self.types[id_]
        return kind in (UNKNOWN, CONTROL) or (kind != USER_DEFINED and self.tokens[id_] in _ENDS)

    def matched(self, id_: int) -> bool:
        """Whether a token is found in text before the rest is tokenised."""
        return self.types[id_] == USER_DEFINED or self.special(id_)

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids of the tokens that end a reply: those that the file names, then other control tokens."""
        named = [self.roles[role] for role in ("eos", "eot", "eom") if role in self.roles]
        known = [self.ids[text] for text in _ENDS if text in self.ids]
        # The end of a message, which another follows, in a format that has a token of its own for the end.
        inner = {self.ids.get("<|end|>")} if {"<|return|>", "<|flush|>"} & self.ids.keys() else set()
        control = sorted(id_ for id_ in known if self.types[id_] == CONTROL and id_ not in inner)
        return tuple(dict.fromkeys([*named, *control]))

    def named(self) -> dict[str, str]:
        """The special tokens, as arguments of transformers, which finds each of them in text."""
        roles = {"bos": "bos_token", "eos": "eos_token", "unk": "unk_token", "pad": "pad_token"}
        return {
            argument: self.tokens[id_]
            for role, argument in roles.items()
            if (id_ := self.roles.get(role)) is not None and self.matched(id_)
        }


def read_list(
    metadata: Mapping[str, Any], key: str, kind: type, name: str, size: int | None = None
) -> list[Any]:
    """An array of the metadata with items of one kind, [] where there is none. Raises ModelError."""
    items = metadata.get(PREFIX + key)
    if items is None:
        return []
    kinds = {kind, int} if kind is float else {kind}
    if not isinstance(items, list) or not set(map(type, items)) <= kinds:
        raise refused(name, f"has {key} that are no list of {kind.__name__}")
    if size is not None and len(items) < size:
        raise refused(name, f"has {size} tokens and {len(items)} {key}")
    return items[:size]


def read_flag(metadata: Mapping[str, Any], key: str, default: bool, name: str) -> bool:
    """A switch of the metadata. Raises ModelError."""
    value = metadata.get(PREFIX + key, default)
    if not isinstance(value, bool):
        raise refused(name, f"has {key} {visible(str(value), 40)}, which is neither true nor false")
    return value
