"""From what is said to the model to token ids, one prompt a row (formats page, Prompts)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mpg_cli.errors import ModelError, UsageError
from mpg_cli.request import Prompting

Message = Mapping[str, str]


def render(tokenizer: Any, prompting: Prompting, persona_prompt: str | None = None) -> list[int]:
    """Token ids of one row: system text (request's, then the persona's), the turns, the reply's opening and
    the prefill.

    Raises UsageError if messages meet a tokenizer without a chat template, or the template refuses them.
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

    def apply(messages: Sequence[Message]) -> str:
        if prefill and (text := _begun(tokenizer, [*messages, _assistant(prefill)], arguments)):
            return text
        whole: str = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, **arguments
        )
        return whole + prefill

    if system:
        try:
            text = apply([{"role": "system", "content": system}, *turns])
            if system.strip() in text:
                return text
        except TemplateError:
            pass
        at = next(i for i, turn in enumerate(turns) if turn["role"] == "user")
        first = {"role": "user", "content": f"{system}\n\n{turns[at]['content']}"}
        turns = [*turns[:at], first, *turns[at + 1 :]]
    try:
        return apply(turns)
    except (TemplateError, TypeError, ValueError) as error:
        if prompting.messages is None and not arguments:
            raise ModelError(
                f"this model's chat template fails: {error}", hint="--raw goes without it"
            ) from error
        raise UsageError(
            f"this model's chat template refuses the messages: {error}",
            hint="most templates want user and assistant turns in alternation, a user turn first",
        ) from error


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _begun(tokenizer: Any, messages: Sequence[Message], arguments: Mapping[str, Any]) -> str | None:
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
