"""Conversations in a form that a chat template renders completely.

Some templates reject or drop a system turn; some expect content as a list of parts, for some or all roles,
and drop strings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, str]
PARTED = [  # roles whose content a template may expect as parts
    frozenset(roles)
    for roles in (
        (),
        ("system", "user", "assistant"),
        ("user", "assistant"),
        ("user",),
        ("system", "user"),
        ("assistant",),
    )
]

_OPENING = re.compile(r"(?P<tag></?[a-z_|]+>)\s*$")
_TAG = "CONTINUE_FINAL_MESSAGE_TAG"  # marks the end of a turn in transformers; a template may render it twice
_MARK = "[reply]"
_THOUGHT = "</think>"  # templates drop the text before it


class Refused(Exception):
    """The template cannot render the messages, for the reason in the text."""


@dataclass(frozen=True)
class Arranged:
    """Messages in a form that a template renders; the content of `roles` is passed as parts."""

    messages: tuple[Message, ...]
    roles: frozenset[str] = frozenset()

    def opened(self, tokenizer: Any, prefill: str, arguments: Mapping[str, Any]) -> str:
        """The rendered text up to the reply, with its prefill."""
        messages = [_parted(message, self.roles) for message in self.messages]
        if prefill and (text := _begun(tokenizer, messages, prefill, arguments)):
            return text
        whole = applied(tokenizer, messages, arguments, add_generation_prompt=True)
        opening = _OPENING.search(whole)  # such as <think>, which a prefill may contain as well
        if opening and prefill.lstrip().startswith(opening["tag"]):
            whole = whole[: opening.start()]
        return whole + prefill

    def answered(self, tokenizer: Any, reply: str, arguments: Mapping[str, Any]) -> tuple[str, str]:
        """The text of `opened`, and its continuation by `reply` with the end of the turn.

        Some templates open every reply with a thought, remove thoughts from it, or render earlier turns
        differently once there is a reply. Raises Refused for a reply that cannot follow its opening.
        """
        opened, closed = self.opened(tokenizer, "", arguments), self._closed(tokenizer, reply, arguments)
        header = opened.rstrip()
        space, continues = opened[len(header) :], closed.startswith(header)
        opening = _OPENING.search(opened)
        tag = opening["tag"] if opening else ""
        begun = bool(tag) and reply.startswith(tag)  # the reply repeats the opening of the thought
        before, found, _ = _bare(closed).rpartition(_bare(reply))
        if continues and not begun and len(before + found) > len(_bare(header)):
            body = closed[len(header) :]
            return opened, body[len(space) :] if body.startswith(space) else body.lstrip()
        before, mark, end = self._closed(tokenizer, _MARK, arguments).rpartition(_MARK)
        if not mark:
            raise Refused("it drops assistant text")
        if begun:
            return opened, reply[len(tag) :].removeprefix(space) + end
        if continues:  # the template removed part of the reply
            return opened, reply + end
        if opening and closed.startswith(opened[: opening.start()].rstrip()):
            if not _closes(reply, tag):
                raise Refused(f"it opens every reply with {tag!r}, and this one does not begin with it")
            return opened, reply + end
        if not before.rstrip().endswith(header[-1:]):
            raise Refused("it renders replies in another place than their opening")
        lead = before[len(before.rstrip()) :].removeprefix(space)  # between the opening and a reply
        return opened, lead + reply + end

    def _closed(self, tokenizer: Any, reply: str, arguments: Mapping[str, Any]) -> str:
        messages = (*self.messages, {"role": "assistant", "content": reply})
        return applied(tokenizer, [_parted(message, self.roles) for message in messages], arguments)


def _closes(reply: str, tag: str) -> bool:
    """Whether the reply closes a thought that the template has opened."""
    thought, closing, _ = reply.partition(f"</{tag[1:]}")
    return bool(closing) and tag not in thought


def arrange(
    tokenizer: Any, system: str, turns: Sequence[Message], arguments: Mapping[str, Any]
) -> Arranged | None:
    """The conversation in a form that renders all system and user text; None if no form does.

    Without support for a system turn its text is prepended to the first user turn. Raises Refused.
    """
    if system:
        try:
            found = _whole(tokenizer, [{"role": "system", "content": system}, *turns], arguments)
        except Refused:
            found = None
        if found is not None:
            return found
        at = next(i for i, turn in enumerate(turns) if turn["role"] == "user")
        first = {**turns[at], "content": f"{system}\n\n{turns[at]['content']}"}
        turns = [*turns[:at], first, *turns[at + 1 :]]
    return _whole(tokenizer, turns, arguments)


def _whole(tokenizer: Any, messages: Sequence[Message], arguments: Mapping[str, Any]) -> Arranged | None:
    """The messages as strings or parts, whichever the template renders completely.

    Raises Refused, with the error for strings, where it renders neither.
    """
    # Mark each text: a short one may occur in the template itself.
    marked = [{**m, "content": f"[{i}:]{m['content']}"} for i, m in enumerate(messages)]
    refusal: Refused | None = None
    without_replies: Arranged | None = None
    for roles in PARTED:
        arranged = Arranged(tuple(marked), roles)
        try:
            text = arranged.opened(tokenizer, "", arguments)
        except Refused as error:
            refusal = refusal or (None if roles else error)
            continue
        bare, printed = _bare(text), roles and any(str(_parts(m["content"])) in text for m in marked)
        if printed or any(_bare(m["content"]) not in bare for m in marked if m["role"] != "assistant"):
            continue
        found = Arranged(tuple(messages), roles)
        replies = [m["content"].rpartition(_THOUGHT)[2] for m in marked if m["role"] == "assistant"]
        if all(_bare(reply) in bare for reply in replies):
            return found
        without_replies = without_replies or found
    if without_replies is None and refusal is not None:
        raise refusal
    return without_replies


def _parted(message: Message, roles: frozenset[str]) -> Mapping[str, Any]:
    """The message, with its content as parts if it has one of `roles`."""
    if message["role"] not in roles:
        return message
    return {**message, "content": _parts(message["content"])}


def _parts(content: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": content}]


def _bare(text: str) -> str:
    """The text without white space, which templates trim and fold."""
    return "".join(text.split())


def _begun(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], prefill: str, arguments: Mapping[str, Any]
) -> str | None:
    """The rendered text with an open last turn; None where it does not end with the exact prefill.

    A template may open a new reply differently, for instance with a thought.
    """

    def begun(text: str) -> str:
        reply = {"role": "assistant", "content": text}
        return applied(tokenizer, [*messages, reply], arguments, continue_final_message=True)

    try:
        text = begun(prefill)
        trimmed = prefill[0].isspace() and begun(prefill.lstrip()) == text
    except Refused:
        return None
    return text if text.endswith(prefill) and not trimmed and _TAG not in text else None


def applied(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any], **options: bool
) -> str:
    """The rendered text. Raises Refused for whatever the template raises: it is a program of the model's."""
    try:
        text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, **options, **arguments)
    except Exception as error:
        raise Refused((str(error).splitlines() or [type(error).__name__])[0]) from error
    return text
