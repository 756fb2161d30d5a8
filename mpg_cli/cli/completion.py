"""Completion requests from Typer's shell scripts (completions/); undoes bash's word breaks at `:` and `=`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

_WORD_BREAKS = re.compile("[:=]+")
_LAST_OPTION = re.compile(r"\s--[a-z-]+=(?=[\"']?[^\s\"']*$)")
_ZSH_VALUE = re.compile(r"^(?:_arguments '\*: :\(\()?\"")  # where a suggestion starts
# On the first TAB zsh only runs the file in $fpath. Typer's script defines the function; this calls it too.
_ZSH_END = '\n[[ $zsh_eval_context[-1] == loadautofunc ]] && %(complete_func)s "$@"\n'


def patch_zsh_script() -> None:
    """Let `--show-completion` and `--install-completion` write a zsh script that completes at once."""
    from typer import _completion_shared

    scripts = getattr(_completion_shared, "_completion_scripts", {})
    if "zsh" in scripts:
        scripts["zsh"] = scripts["zsh"].rstrip() + _ZSH_END


def complete(command: Any, argv: list[str]) -> None:
    """Print the suggestions for the shell and exit."""
    # With rich installed, Typer renders help as rich markup: slow to import, and our help is plain text.
    sys.modules["rich"] = None  # type: ignore[assignment]
    bash = os.environ.get("_MPG_COMPLETE") == "complete_bash"
    convert = _join_bash_words() if bash else _restore_option()
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            command.main(args=argv, prog_name="mpg")
    finally:
        if sys.stdout is not None:  # closed
            sys.stdout.write("".join(convert(line) + "\n" for line in out.getvalue().splitlines() if line))


def _join_bash_words() -> Callable[[str], str]:
    """Pass Typer the words as typed; returns the conversion of its suggestions for bash."""
    words = os.environ.get("COMP_WORDS", "").split("\n")
    current = os.environ.get("COMP_CWORD", "")
    if not current.isdigit():
        return str
    words += [""] * (int(current) + 1 - len(words))
    words, done = joined(words[: int(current) + 1])
    os.environ["COMP_WORDS"] = "\n".join(words)
    os.environ["COMP_CWORD"] = str(len(words) - 1)
    return lambda line: line.removeprefix(done)


def _restore_option() -> Callable[[str], str]:
    """For zsh and fish, where a suggestion replaces all of `--option=value`: prepend the option."""
    typed = _LAST_OPTION.search(os.environ.get("_TYPER_COMPLETE_ARGS", ""))
    if typed is None:
        return str
    option = typed.group().strip()
    if os.environ.get("_MPG_COMPLETE") == "complete_zsh":
        return lambda line: _ZSH_VALUE.sub(rf"\g<0>{option}", line)
    return lambda line: option + line


def joined(words: Sequence[str]) -> tuple[list[str], str]:
    """The words up to the cursor as typed, and the part of the last one that bash treats as complete.

    Bash breaks words at `:` and `=`: of `--drafter persona:pi` the last word is `pi`, and its completion must
    not repeat `persona:`.
    """
    whole: list[str] = []
    done = ""
    glued = False  # the word before was a break
    for place, word in enumerate(words):
        is_break = _WORD_BREAKS.fullmatch(word) is not None
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
