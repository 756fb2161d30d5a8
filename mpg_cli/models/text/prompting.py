"""The prompt or the messages of a request, validated on construction. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mpg_cli.errors import UsageError


@dataclass(frozen=True)
class Prompting:
    """Either a prompt or messages, and how they become the prompt of a row.

    A last assistant turn of the messages becomes the `prefill`.
    """

    prompt: str | None = None
    messages: tuple[dict[str, str], ...] | None = None  # {"role", "content"}, the last a user turn
    system: str | None = None
    raw: bool = False
    template_args: Mapping[str, Any] = field(default_factory=dict)  # values read as JSON
    prefill: str = ""  # the beginning of the reply, which the model continues

    def __post_init__(self) -> None:
        if self.messages and self.messages[-1]["role"] == "assistant":
            begun = self.messages[-1]["content"]
            if begun and self.prefill:
                raise UsageError(
                    "the reply has two beginnings: a last assistant turn of the messages, and a prefill",
                    hint="leave one out",
                )
            object.__setattr__(self, "messages", self.messages[:-1])
            object.__setattr__(self, "prefill", begun or self.prefill)
        if self.messages == ():
            raise UsageError("the messages have no user turn", hint="add one, which the model answers")
        if (self.prompt is None) == (self.messages is None):
            raise UsageError(
                "give either a prompt or --messages", hint='as in mpg generate -p pirate "Hello"'
            )
        if self.prompt is not None and not self.prompt.strip():
            raise UsageError("the prompt is empty", hint="write what to answer")
        if self.raw and self.messages is not None:
            raise UsageError("--raw skips the chat template, which messages need", hint="leave one out")
        if self.raw and self.template_args:
            raise UsageError("--raw skips the chat template that --template-arg is for", hint="leave one out")

    @property
    def question(self) -> str:
        """The prompt, or the last turn of the messages."""
        return self.messages[-1]["content"] if self.messages else self.prompt or ""
