"""Answers the shells' scripts in completions/, which are Typer's; bash breaks words where `mpg` does not."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

_BREAKS = re.compile("[:=]+")
_LAST_OPTION = re.compile(r"\s--[a-z-]+=(?=[\"']?[^\s\"']*$)")
_ZSH_VALUE = re.compile(r"^(?:_arguments '\*: :\(\()?\"")  # where a suggestion starts
# zsh runs a function file of $fpath on the first TAB: define, and answer at once. Typer's only defines.
_ZSH_END = '\n[[ $zsh_eval_context[-1] == loadautofunc ]] && %(complete_func)s "$@"\n'


def mend_scripts() -> None:
    """Let `--show-completion` and `--install-completion` write a zsh script that answers the first TAB."""
    from typer import _completion_shared

    scripts = getattr(_completion_shared, "_completion_scripts", {})
    if "zsh" in scripts:
        scripts["zsh"] = scripts["zsh"].rstrip() + _ZSH_END


def answer(command: Any, argv: list[str]) -> None:
    """Tell the shell that asks what may follow; exits."""
    # Typer renders help as rich's markup where there is rich: slow to load, and ours is no markup.
    sys.modules["rich"] = None  # type: ignore[assignment]
    said = _bash_words() if os.environ.get("_MPG_COMPLETE") == "complete_bash" else _value_alone()
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            command.main(args=argv, prog_name="mpg")
    finally:
        if sys.stdout is not None:  # closed
            sys.stdout.write("".join(said(line) + "\n" for line in out.getvalue().splitlines() if line))


def _bash_words() -> Callable[[str], str]:
    """Tell Typer the words as they were typed; what turns its suggestions into what bash expects."""
    words = os.environ.get("COMP_WORDS", "").split("\n")
    current = os.environ.get("COMP_CWORD", "")
    if not current.isdigit():
        return str
    words += [""] * (int(current) + 1 - len(words))
    words, done = joined(words[: int(current) + 1])
    os.environ["COMP_WORDS"] = "\n".join(words)
    os.environ["COMP_CWORD"] = str(len(words) - 1)
    return lambda line: line.removeprefix(done)


def _value_alone() -> Callable[[str], str]:
    """For zsh and fish, whose suggestions replace the whole of `--option=value`: put the option back."""
    typed = _LAST_OPTION.search(os.environ.get("_TYPER_COMPLETE_ARGS", ""))
    if typed is None:
        return str
    option = typed.group().strip()
    if os.environ.get("_MPG_COMPLETE") == "complete_zsh":
        return lambda line: _ZSH_VALUE.sub(rf"\g<0>{option}", line)
    return lambda line: option + line


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
