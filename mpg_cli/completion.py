"""Answers the shells' scripts in completions/, which are Typer's, where a word is not what bash says it is."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

_BREAKS = re.compile("[:=]+")


def answer(command: Any, argv: list[str]) -> None:
    """Tell the shell that asks what may follow; exits."""
    # Typer renders help as rich's markup where there is rich: slow to load, and ours is no markup.
    sys.modules["rich"] = None  # type: ignore[assignment]
    if os.environ.get("_MPG_COMPLETE") != "complete_bash":
        command.main(args=argv, prog_name="mpg")
    words = os.environ.get("COMP_WORDS", "").split("\n")
    current = os.environ.get("COMP_CWORD", "")
    done = ""
    if current.isdigit():
        words += [""] * (int(current) + 1 - len(words))
        words, done = joined(words[: int(current) + 1])
        os.environ["COMP_WORDS"] = "\n".join(words)
        os.environ["COMP_CWORD"] = str(len(words) - 1)
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            command.main(args=argv, prog_name="mpg")
    finally:
        for line in out.getvalue().splitlines():
            sys.stdout.write(line.removeprefix(done) + "\n")


def joined(words: Sequence[str]) -> tuple[list[str], str]:
    """Words up to the cursor as they were typed, and what bash holds for done of the last one's value.

    Bash breaks words at `:` and `=`: `--drafter persona:pi` comes as five words, and what completes the last
    one, `pi`, must not repeat `persona:`.
    """
    whole: list[str] = []
    done = ""
    glued = False  # the word before was a break
    for place, word in enumerate(words):
        is_break = _BREAKS.fullmatch(word) is not None
        if whole and (is_break or glued):
            last = place == len(words) - 1
            done = whole[-1] + (word if is_break else "") if last else done
            whole[-1] += word
        else:
            done = ""
            whole.append(word)
        glued = is_break
    if done.startswith("-"):  # Typer completes the value after --option=
        done = done.partition("=")[2]
    return whole, done
