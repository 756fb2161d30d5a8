"""Options of the prompt: its source, system text, prefill and chat template. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpg_cli.options import readers
from mpg_cli.options.option import option


@dataclass(frozen=True)
class PromptOptions:
    """The prompt or messages, and the chat template's input."""

    prompt: str | None = option(
        None,
        argument=True,
        metavar="PROMPT",
        help="The prompt; read from stdin if it is - or missing.",
        in_config=False,
    )
    prompt_file: Path | None = option(
        None, metavar="FILE", help="Read the prompt from a file.", in_config=False
    )
    messages: str | None = option(
        None,
        metavar="FILE.json",
        help="A conversation in place of the prompt: [{role, content}, …]; - for stdin.",
        in_config=False,
    )
    system: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--system"),
        help="System text for every expert, before the persona's own.",
    )
    prefill: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--prefill"),
        help="Text that the reply begins with; the model continues it.",
    )
    raw: bool = option(False, help="Skip the chat template; the model continues the prompt.")
    template_args: Mapping[str, Any] = option(
        dict,
        "--template-arg",
        many=True,
        metavar="KEY=VALUE",
        read=readers.template_args,
        help="Argument of the chat template, such as enable_thinking=false.",
        complete=("enable_thinking=false", "enable_thinking=true"),
    )
