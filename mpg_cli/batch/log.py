"""The output file of a batch: the records of its lines, resumed by id. Torch-free.

A record carries the digest of the line that it answers, so a later run knows which lines are done and which
have changed since.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mpg_cli.errors import MpgError, UsageError
from mpg_cli.io.log import ResumableLog
from mpg_cli.io.text import visible


class BatchLog:
    """The records of earlier runs by line, and the writer of this run's."""

    def __init__(self, log: ResumableLog, *, retry_errors: bool) -> None:
        """Read the records of an open log. `retry_errors` removes error records."""
        self._log = log
        self._done: dict[int, int] = {}  # key of the id -> digest of the line, 8 bytes each
        self._failed: set[int] = set()  # keys of error records
        self._present: set[int] = set()  # those of them whose lines are still in the input
        self._outdated: set[tuple[int, int]] = set()  # keys and digests of error records to remove
        for entry in log.records(_entry):
            if entry.key in self._failed:  # a killed run had answered or tried it again
                self._forget(entry.key)
            self._done[entry.key] = entry.digest
            if entry.failed:
                self._failed.add(entry.key)
        if retry_errors:
            for key in list(self._failed):
                self._forget(key)
        self.drop_outdated()

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of the log."""
        return self._log.config

    def settle(self, config: Mapping[str, Any]) -> None:
        """Add what is known of the configuration only now. Raises UsageError for a log with other values."""
        self._log.settle(config)

    @property
    def answered(self) -> int:
        """Replies of earlier runs."""
        return len(self._done) - len(self._failed)

    @property
    def failed(self) -> int:
        """Error records of earlier runs that are still valid."""
        return len(self._failed)

    def done(self, id_: str, digest: str) -> bool:
        """Whether the log has a record of the line. Raises UsageError if the line of the record was another.

        The error record of a line that has changed is removed, and the line is not done.
        """
        key, now = _key(id_), int(digest, 16)
        before = self._done.get(key)
        if before is None or before == now:
            if key in self._failed:
                self._present.add(key)
            return before is not None
        if key not in self._failed:
            raise UsageError(
                f"line {visible(id_, 60)} has changed since {self._log.name} answered it",
                hint="give it a new id, choose another output, or start over with --force-restart",
            )
        self._forget(key)
        return False

    def forget_absent(self) -> None:
        """After the last line of the input: remove the error records of lines that it no longer has."""
        for key in self._failed - self._present:
            self._forget(key)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record. Raises MpgError where it cannot be written."""
        self._log.append(record)

    def drop_outdated(self) -> None:
        """Rewrite the log without the removed error records. Raises MpgError."""
        if self._outdated:
            self._log.keep(lambda record: _holds(_entry(record), self._outdated))
            self._outdated.clear()

    def _forget(self, key: int) -> None:
        """Mark an error record for removal."""
        self._failed.remove(key)
        self._outdated.add((key, self._done.pop(key)))


@contextlib.contextmanager
def open_log(
    output: Path,
    config: Mapping[str, Any],
    *,
    drawn: Collection[str] = (),
    restart: bool = False,
    retry_errors: bool = False,
) -> Iterator[BatchLog]:
    """The log of a batch with this configuration; a resumed run takes the values named in `drawn` from it.

    Raises UsageError for a log that cannot be resumed, MpgError where it cannot be written.
    """
    log = ResumableLog(
        output,
        config,
        of="a batch",
        restart_by="--force-restart",
        set_by={"persona": "--persona and --scale", "adapters": "--adapter and --scale"},
        sidecar=True,
        drawn=drawn,
        restart=restart,
    )
    with log:
        found = BatchLog(log, retry_errors=retry_errors)
        try:
            yield found
        finally:
            with contextlib.suppress(MpgError):  # the next run removes them
                found.drop_outdated()


class _Entry(NamedTuple):
    """The line that a record answers."""

    key: int  # of its id
    digest: int
    failed: bool


def _entry(record: Any) -> _Entry:
    """Raises ValueError, LookupError, TypeError, AttributeError for a value that is not a record."""
    if "custom_id" in record:
        id_, digest = record["custom_id"], record["id"].removeprefix("mpg-")
    else:
        id_, digest = record["id"], record["input"]
    return _Entry(_key(str(id_)), int(digest, 16), record.get("error") is not None)


def _holds(entry: _Entry, outdated: Collection[tuple[int, int]]) -> bool:
    return not entry.failed or (entry.key, entry.digest) not in outdated


def _key(id_: str) -> int:
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest(), "little")
