"""What is said to the model, and how it is put to it. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpg_cli.options import readers
from mpg_cli.options.option import option


@dataclass(frozen=True)
class PromptOptions:
    """Where the prompt comes from, and what stands around it."""

    prompt: str | None = option(
        None,
        argument=True,
        metavar="PROMPT",
        help="What to say; - or nothing reads it from stdin.",
        in_config=False,
    )
    prompt_file: Path | None = option(
        None, metavar="FILE", help="Read the prompt from a file.", in_config=False
    )
    messages: str | None = option(
        None,
        metavar="FILE.json",
        help="A conversation instead of a prompt: [{role, content}, …], - for stdin.",
        in_config=False,
    )
    system: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--system"),
        help="System text before that of the personas, for every expert.",
    )
    prefill: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--prefill"),
        help="The reply begins with this text and goes on from there.",
    )
    raw: bool = option(False, help="Skip the chat template: the model continues the prompt.")
    template_args: Mapping[str, Any] = option(
        dict,
        "--template-arg",
        many=True,
        metavar="KEY=VALUE",
        read=readers.template_args,
        help="A switch of the chat template, as enable_thinking=false.",
        complete=("enable_thinking=false", "enable_thinking=true"),
    )
