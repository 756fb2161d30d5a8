"""The --output file of an evaluation: a resumable log of replies and judgements.

Torch-free.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpg_cli.errors import unwritable
from mpg_cli.evaluation.judging import Judgement
from mpg_cli.evaluation.prompts import Reply
from mpg_cli.io.files import check_writable
from mpg_cli.io.log import ResumableLog
from mpg_cli.io.text import visible


class EvaluationLog:
    """The replies and judgements of earlier runs by method, and the writer of this run's.

    Without a log nothing is written. `resumed` is the number of replies of earlier runs.
    """

    def __init__(self, log: ResumableLog | None = None) -> None:
        self._log = log
        self._replies: dict[str, dict[str, Reply]] = {}
        self._judgements: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
        for _ in log.records(self._take) if log else ():
            pass
        self.resumed = sum(map(len, self._replies.values()))

    def replies(self, method: str) -> Mapping[str, Reply]:
        """Replies of earlier runs, by prompt id."""
        return self._replies.get(method, {})

    def judgements(self, method: str, judge: Mapping[str, Any]) -> Mapping[tuple[str, str], float]:
        """Scores of this judge in earlier runs, by reply and persona."""
        return self._judgements.get((method, _key(judge)), {})

    def reply(self, method: str, reply: Reply, prompt: str) -> None:
        """Write a reply. Raises MpgError where it cannot be written."""
        self._append({"type": "reply", "method": method, "prompt": prompt, **reply.as_json()})

    def judgement(self, method: str, judge: Mapping[str, Any], own: Judgement) -> None:
        """Write a judgement. Raises MpgError where it cannot be written."""
        self._append({"type": "judgement", "method": method, "judge": dict(judge), **own.as_json()})

    def _append(self, record: Mapping[str, Any]) -> None:
        if self._log is not None:
            self._log.append(record)

    def _take(self, record: Any) -> None:
        """Raises ValueError, LookupError, TypeError, AttributeError for a value that is not a record."""
        if record["type"] == "reply":
            reply = Reply.of_json(record)
            self._replies.setdefault(record["method"], {})[reply.id] = reply
        else:
            own = self._judgements.setdefault((record["method"], _key(record["judge"])), {})
            own[record["id"], record["persona"]] = float(record["score"])


@contextlib.contextmanager
def open_log(file: Path | None, config: Mapping[str, Any]) -> Iterator[EvaluationLog]:
    """The log of an evaluation with this configuration; without a file nothing is written.

    Raises UsageError for a log that cannot be resumed.
    """
    if file is None:
        yield EvaluationLog()
        return
    data = "--prompts and --count, or --data, --data-weights, --ask and --scale"
    set_by = {"blend": "--persona, --adapter and --scale", "prompts": data}
    with ResumableLog(file, config, of="an evaluation", restart_by="remove it", set_by=set_by) as log:
        yield EvaluationLog(log)


def check_output(output: Path) -> None:
    """Raise UsageError if an output cannot be written, before the model is loaded."""
    place = os.path.realpath(os.path.expanduser(output))
    folder = os.path.dirname(place)
    try:
        if os.path.exists(place):
            check_writable(Path(place))
        elif not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        elif not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unwritable(f"--output {visible(str(output))}", error) from None


def _key(judge: Mapping[str, Any]) -> str:
    return json.dumps(judge, sort_keys=True)
