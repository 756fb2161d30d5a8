"""The --output file of an evaluation: replies and judgements as they come, one JSON object a line.

A second run of the same configuration goes on where the first one stopped. Torch-free.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from mpg_cli.errors import MpgError, UsageError, unwritable
from mpg_cli.evaluation.judging import Judgement
from mpg_cli.evaluation.prompts import Reply
from mpg_cli.io.text import visible

SCHEMA = 1
HEAD = f'{{"type": "run", "schema": {SCHEMA}, '.encode()  # how every such file begins


class Notebook:
    """Replies and judgements by the method that they belong to; without a file they are only passed on.

    Use as a context. Raises UsageError for a file of another run, MpgError where it cannot be written.
    """

    def __init__(self, file: Path | None, config: Mapping[str, Any]) -> None:
        self.file = None if file is None else Path(os.path.expanduser(file))
        self._config = json.loads(json.dumps(config))  # as it comes back from the file
        self._replies: dict[str, dict[str, Reply]] = {}
        self._judgements: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
        self._stream: TextIO | None = None

    def __enter__(self) -> Notebook:
        if self.file is None:
            return self
        try:
            raw = self.file.read_bytes() if self.file.exists() else b""
            whole, begun, torn = raw.rpartition(b"\n")
            if begun:
                self._read(whole.decode().split("\n"))
            elif not (torn.startswith(HEAD) or HEAD.startswith(torn)):
                raise self._foreign()
            self._stream = self.file.open("a", encoding="utf-8")
            if torn:  # the last line of a run that was killed
                self._stream.truncate(len(raw) - len(torn))
        except UnicodeDecodeError:
            raise self._foreign() from None
        except OSError as error:
            raise unwritable(f"--output {self._name}", error) from None
        if not begun:
            self._write({"type": "run", "schema": SCHEMA, "config": self._config})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    @property
    def resumed(self) -> int:
        """How many replies an earlier run has left."""
        return sum(map(len, self._replies.values()))

    def replies(self, method: str) -> Mapping[str, Reply]:
        """Those of an earlier run, by the prompt's id."""
        return self._replies.get(method, {})

    def judgements(self, method: str, judge: Mapping[str, Any]) -> Mapping[tuple[str, str], float]:
        """Those that this judge gave in an earlier run, by reply and persona."""
        return self._judgements.get((method, _key(judge)), {})

    def reply(self, method: str, reply: Reply, prompt: str) -> None:
        self._write({"type": "reply", "method": method, "prompt": prompt, **reply.as_json()})

    def judgement(self, method: str, judge: Mapping[str, Any], own: Judgement) -> None:
        self._write({"type": "judgement", "method": method, "judge": dict(judge), **own.as_json()})

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._stream.flush()
        except OSError as error:
            raise MpgError(f"--output {self._name} cannot be written: {error.strerror}") from None

    def _read(self, lines: list[str]) -> None:
        for number, line in enumerate(lines, 1):
            try:
                self._record(number, json.loads(line))
            except (ValueError, LookupError, TypeError, AttributeError):
                hint = "choose another file, or remove it"
                raise UsageError(
                    f"--output {self._name}:{number}: no line of an evaluation", hint=hint
                ) from None

    def _record(self, number: int, record: Any) -> None:
        if number == 1:
            if record["type"] != "run":
                raise ValueError
            different = [key for key in self._config if record["config"].get(key) != self._config[key]]
            if different or record["config"].keys() != self._config.keys():
                what = ", ".join(different) or "command"
                raise UsageError(
                    f"--output {self._name} belongs to a run with another {what}",
                    hint="repeat that command to go on with it, or choose another file",
                )
        elif record["type"] == "reply":
            reply = Reply.of_json(record)
            self._replies.setdefault(record["method"], {})[reply.id] = reply
        else:
            own = self._judgements.setdefault((record["method"], _key(record["judge"])), {})
            own[record["id"], record["persona"]] = float(record["score"])

    def _foreign(self) -> UsageError:
        hint = "choose another file, or remove it"
        return UsageError(f"--output {self._name} is there and no evaluation", hint=hint)

    @property
    def _name(self) -> str:
        return visible(str(self.file))


def check_output(output: Path) -> None:
    """Raise UsageError where an output cannot be written, before a model is loaded for it."""
    place = os.path.realpath(os.path.expanduser(output))
    folder = os.path.dirname(place)
    try:
        if os.path.exists(place):
            open(place, "a").close()
        elif not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        elif not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unwritable(f"--output {visible(str(output))}", error) from None


def _key(judge: Mapping[str, Any]) -> str:
    return json.dumps(judge, sort_keys=True)
