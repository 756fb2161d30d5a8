"""Token ids of the prompt of each row."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from mpg_cli.errors import ModelError, RangeError, UsageError
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.models.text.template import Message, Refused, arrange
from mpg_cli.models.text.vocabulary import check_ids


def render(
    tokenizer: Any, prompting: Prompting, persona_prompt: str | None = None, size: int | None = None
) -> list[int]:
    """Token ids of one row: system text (of the request, then of the persona), turns, opening of the reply,
    prefill.

    `size` is the number of tokens with embeddings (None: all). Raises UsageError if messages need a chat
    template and there is none, the template rejects them, or a token has no embedding.
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
            raise RangeError(
                "--messages",
                "needs a chat template, and this model's tokenizer has none",
                hint="give a plain prompt instead, or choose an instruction-tuned model",
            )
        if prompting.template_args:
            raise RangeError(
                "--template-arg",
                "needs a chat template, and this model's tokenizer has none",
                hint="leave it out, or choose an instruction-tuned model",
            )
        text = "\n\n".join(filter(None, [system, turns[0]["content"]])) + prompting.prefill
        ids = tokenizer(text)["input_ids"]
    else:
        text = _through_template(tokenizer, system, turns, prompting)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise UsageError(
            "the prompt has no tokens for this model", hint="write text that its tokenizer keeps"
        )
    if size is not None:
        check_ids(tokenizer, ids, size)
    return list(ids)


def _through_template(tokenizer: Any, system: str, turns: Sequence[Message], prompting: Prompting) -> str:
    """The rendered template. Raises ModelError where it fails, UsageError where it rejects messages."""
    arguments = prompting.template_args
    own = {"messages", *inspect.signature(tokenizer.apply_chat_template).parameters}
    taken = sorted(arguments.keys() & own)
    if taken:
        raise RangeError(
            "--template-arg",
            f"{taken[0]} is not a variable of a chat template",
            hint="give a variable such as enable_thinking=false",
        )
    try:
        arranged = arrange(tokenizer, system, turns, arguments)
        text = arranged.opened(tokenizer, prompting.prefill, arguments) if arranged else None
    except Refused as error:
        if prompting.messages is None and not arguments:
            raise ModelError(
                f"this model's chat template fails: {error}", hint="use --raw, which skips it"
            ) from error
        raise UsageError(
            f"this model's chat template rejects the messages: {error}",
            hint="alternate user and assistant turns, a user turn first",
        ) from error
    if text is None:
        raise ModelError(
            "this model's chat template drops or changes user text",
            hint="use --raw, which skips it" if prompting.messages is None else None,
        )
    return text
