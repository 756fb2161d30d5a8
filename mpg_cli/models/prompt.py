"""From what is said to the model to token ids, one prompt a row (formats page, Prompts)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from mpg_cli.errors import ModelError, UsageError
from mpg_cli.models.tokenizer import check_ids
from mpg_cli.request import Prompting

Message = Mapping[str, str]
PARTED = [  # roles whose content a template may want as parts
    frozenset(roles)
    for roles in ((), ("system", "user", "assistant"), ("user", "assistant"), ("user",), ("system", "user"))
]


def render(
    tokenizer: Any, prompting: Prompting, persona_prompt: str | None = None, size: int | None = None
) -> list[int]:
    """Token ids of one row: system text (request's, then the persona's), the turns, the reply's opening and
    the prefill.

    `size` is how many tokens the models have embeddings for (None: all). Raises UsageError if messages meet a
    tokenizer without a chat template, the template refuses them, or a token has no embedding.
    """
    if prompting.messages is not None:
        turns: list[Message] = list(prompting.messages)
    else:
        assert prompting.prompt is not None
        turns = [{"role": "user", "content": prompting.prompt}]
    own_system = [turns.pop(0)["content"]] if turns[0]["role"] == "system" and len(turns) > 1 else []
    system = "\n\n".join(filter(None, [*own_system, prompting.system, persona_prompt]))
    if prompting.raw or not getattr(tokenizer, "chat_template", None):
        if prompting.messages is not None:
            raise UsageError(
                "--messages needs a chat template, and this model's tokenizer has none",
                hint="give a plain prompt instead, or choose an instruction-tuned model",
            )
        text = "\n\n".join(filter(None, [system, turns[0]["content"]])) + (prompting.prefill or "")
        ids = tokenizer(text)["input_ids"]
    else:
        text = _through_template(tokenizer, system, turns, prompting)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise UsageError("the prompt is empty for this model", hint="its tokenizer drops all of it")
    if size is not None:
        check_ids(tokenizer, ids, size)
    return list(ids)


def _through_template(tokenizer: Any, system: str, turns: Sequence[Message], prompting: Prompting) -> str:
    """The template's text; where it refuses or swallows a system turn, the first user turn carries it."""
    from jinja2.exceptions import TemplateError

    arguments = prompting.template_args
    taken = sorted(arguments.keys() & inspect.signature(tokenizer.apply_chat_template).parameters.keys())
    if taken:
        raise UsageError(
            f"--template-arg {taken[0]} is no switch of a template",
            hint="it passes switches that the model's chat template knows, such as enable_thinking=false",
        )

    prefill = prompting.prefill or ""

    def apply(messages: Sequence[Message]) -> str | None:
        return _complete(tokenizer, messages, prefill, arguments)

    if system:
        with suppress(TemplateError, TypeError, ValueError):
            text = apply([{"role": "system", "content": system}, *turns])
            if text is not None:
                return text
        at = next(i for i, turn in enumerate(turns) if turn["role"] == "user")
        first = {"role": "user", "content": f"{system}\n\n{turns[at]['content']}"}
        turns = [*turns[:at], first, *turns[at + 1 :]]
    try:
        text = apply(turns)
    except (TemplateError, TypeError, ValueError) as error:
        if prompting.messages is None and not arguments:
            raise ModelError(
                f"this model's chat template fails: {error}", hint="--raw goes without it"
            ) from error
        raise UsageError(
            f"this model's chat template refuses the messages: {error}",
            hint="most templates want user and assistant turns in alternation, a user turn first",
        ) from error
    if text is None:
        raise ModelError(
            "this model's chat template leaves out or changes what the user says",
            hint="--raw goes without it" if prompting.messages is None else None,
        )
    return text


def _complete(
    tokenizer: Any, messages: Sequence[Message], prefill: str, arguments: Mapping[str, Any]
) -> str | None:
    """The template's text with all that system and user say; None where it leaves something out.

    Templates of multimodal models may read content as a list of parts, from some roles or from all, and make
    nothing of a string. Raises what the template raises for strings.
    """
    from jinja2.exceptions import TemplateError

    # A mark before each text: a short one may stand in the template by itself.
    marked = [{**m, "content": f"[{i}:]{m['content']}"} for i, m in enumerate(messages)]
    refusal: Exception | None = None
    for roles in PARTED:
        try:
            text = _opened(tokenizer, [_parted(m, roles) for m in marked], "", arguments)
        except (TemplateError, TypeError, ValueError) as error:
            refusal = refusal or (None if roles else error)
            continue
        said = [m["content"] for m in marked if roles or m["role"] != "assistant"]  # thoughts are left out
        printed = roles and any(str(_parts(content)) in text for content in said)
        if not printed and all(_bare(content) in _bare(text) for content in said):
            return _opened(tokenizer, [_parted(m, roles) for m in messages], prefill, arguments)
    if refusal is not None:
        raise refusal
    return None


def _parted(message: Message, roles: frozenset[str]) -> Mapping[str, Any]:
    """The message with its content as parts, if it is one of these roles."""
    if message["role"] not in roles:
        return message
    return {**message, "content": _parts(message["content"])}


def _parts(content: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": content}]


def _bare(text: str) -> str:
    """Without white space, which templates trim and fold."""
    return "".join(text.split())


def _opened(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], prefill: str, arguments: Mapping[str, Any]
) -> str:
    """The template's text up to the reply that is to go on, with its prefill."""
    if prefill and (text := _begun(tokenizer, [*messages, _assistant(prefill)], arguments)):
        return text
    whole: str = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True, **arguments
    )
    return whole + prefill


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _begun(tokenizer: Any, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> str | None:
    """The template's text where it leaves the last turn open; None where it does not hold that turn as it is.

    A template may open a reply otherwise than one that is begun, with a thought for instance.
    """
    from jinja2.exceptions import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), tokenize=False, continue_final_message=True, **arguments
        )
    except (TemplateError, TypeError, ValueError):
        return None
    return text if text.endswith(messages[-1]["content"]) else None
