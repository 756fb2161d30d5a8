"""The result of one check, and the runner of a section."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mpg_cli.errors import MpgError

Status = Literal["ok", "note", "warning", "problem"]
Found = Iterator["Check"]


@dataclass(frozen=True)
class Check:
    """One result. `problem`: something does not work; `warning`: it may not; `note`: neutral."""

    section: str
    name: str
    status: Status
    message: str
    hint: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For a bug report, without home folder and user name."""
        hint = anonymous(self.hint) if self.hint else None
        return {**asdict(self), "message": anonymous(self.message), "hint": hint}


def run(section: str, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """The checks of a section; an exception becomes a final check with status `problem`."""
    try:
        yield from look()
    except MpgError as error:
        yield Check(section, section, "problem", error.message, error.hint)
    except Exception as error:  # a broken installation fails in many ways
        yield Check(section, section, "problem", f"{type(error).__name__}: {error}")


def anonymous(text: str) -> str:
    """The text with ~ for the home folder and USER for the user name in other paths."""
    home = os.path.expanduser("~")
    for place in {home, os.path.realpath(home)}:
        if place not in ("/", "~"):
            text = re.sub(rf"{re.escape(place)}(?![\w.-])", "~", text)
    user = os.environ.get("USER") or os.environ.get("USERNAME") or os.path.basename(home)
    return re.sub(rf"(?<=[/\\]){re.escape(user)}(?![\w.-])", "USER", text) if user else text
