"""A log of JSON records, one a line, that a run appends to and a later run goes on with. Torch-free.

The log says how it was made: its configuration stands beside it (in FILE.mpg.json) or in its first line. Only
a run of the same configuration goes on with it, and only one at a time. A run may be killed at any point: it
leaves whole records and at most one torn line at the end, which the next run cuts.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from mpg_cli.errors import MpgError, UsageError, unwritable
from mpg_cli.io.files import lock, replace_file, sync_folder
from mpg_cli.io.lines import LONGEST
from mpg_cli.io.text import visible

SCHEMA = 1  # of the first line
SYNC_SECONDS = 2.0
SIDECAR = ".mpg.json"
_HEAD = f'{{"type": "run", "schema": {SCHEMA}, '.encode()  # how a log with its configuration in it begins

T = TypeVar("T")


class ResumableLog:
    """The `--output` file of a run. Use as a context; `config` is then the configuration of the log.

    `of` says in messages what the log is of ("a batch"), `restart_by` how to start over ("remove it"). With
    `sidecar` the configuration stands beside the log. Those of its values that are `drawn`, not given, are
    taken over from the log. With `restart` what was there goes.

    Raises UsageError for what is no regular file; on entering UsageError for a log of another configuration,
    of something else, in use, or that cannot be written.
    """

    def __init__(
        self,
        file: Path,
        config: Mapping[str, Any],
        *,
        of: str,
        restart_by: str,
        sidecar: bool = False,
        drawn: Collection[str] = (),
        restart: bool = False,
    ) -> None:
        self.file = Path(os.path.realpath(os.path.expanduser(file)))
        self.config: dict[str, Any] = json.loads(json.dumps(config))  # as it comes back from the file
        self.name = visible(self.file.name)
        self._label = f"--output {visible(str(file))}"
        if self.file.exists() and not self.file.is_file():  # nothing to go on with, nor to start over
            raise UsageError(f"{self._label} is not a regular file", hint="name one, or leave out --output")
        self._sidecar = self.file.with_name(self.file.name + SIDECAR) if sidecar else None
        self._of, self._restart_by = of, restart_by
        self._drawn, self._restart = drawn, restart
        self._stream: io.FileIO | None = None  # unbuffered: what failed to be written is not tried again
        self._lock: BinaryIO | None = None
        self._synced = 0.0

    def __enter__(self) -> ResumableLog:
        in_use = UsageError(
            f"another run is writing {self.name}", hint="wait for it, or choose another output"
        )
        try:
            self._lock = lock(self._sidecar or self.file, in_use)
            self._stream = self._open()
            if self._restart:
                self._stream.truncate(0)
            self._agree(self._stream)
            sync_folder(self.file.parent)
        except OSError as error:
            self._close()
            raise unwritable(self._label, error) from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk has been told already
            if self._stream is not None:
                os.fsync(self._stream.fileno())
        self._close()

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record as a whole line and hand it to the system, which is made to write it at intervals.

        Raises MpgError where it cannot be written; the log then ends with the record before.
        """
        with self._as_mpg_error():
            self._append(record)

    def records(self, read: Callable[[Any], T]) -> Iterator[T]:
        """What `read` makes of each record.

        Where it raises ValueError, LookupError, TypeError or AttributeError that is no record: UsageError.
        """
        return (found for _, found in self._read(read))

    def keep(self, wanted: Callable[[Any], bool]) -> None:
        """Write the log anew with the records that are wanted, whole or not at all. Raises MpgError."""
        assert self._sidecar is not None, "the lock would be that of the old file"
        part = self.file.with_name(self.file.name + ".part")
        with self._as_mpg_error():
            try:
                with part.open("wb") as kept:
                    kept.writelines(raw for raw, found in self._read(wanted) if found)
                replace_file(part, self.file)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            if self._stream is not None:
                self._stream.close()
            self._stream = self._open()

    @contextlib.contextmanager
    def _as_mpg_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MpgError(
                f"{self._label} cannot be written: {error.strerror}",
                hint="make room and give the same command again: it goes on where it stopped",
            ) from error

    # -- reading and writing -----------------------------------------------------------------------

    def _open(self) -> io.FileIO:
        return self.file.open("a+b", buffering=0)

    def _close(self) -> None:
        for stream in (self._stream, self._lock):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _append(self, record: Mapping[str, Any]) -> None:
        assert self._stream is not None
        line = memoryview(json.dumps(record, allow_nan=False).encode() + b"\n")
        end = self._stream.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[self._stream.write(line) :]
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk may have taken half of it
                self._stream.truncate(end)
            raise
        if monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._stream.fileno())
            self._synced = monotonic()

    def _read(self, read: Callable[[Any], T]) -> Iterator[tuple[bytes, T]]:
        """Each record as it stands in the log, and what `read` makes of it."""
        with self.file.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                if number == 1 and self._sidecar is None:
                    continue
                try:
                    found = read(json.loads(raw))
                except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                    raise UsageError(
                        f"{self.name}:{number} is no record of {self._of}", hint=self._hint
                    ) from None
                yield raw, found

    # -- the configuration -------------------------------------------------------------------------

    def _agree(self, stream: io.FileIO) -> None:
        """Take over what the log says of its configuration, or say it in a new one; cut a torn line."""
        size, whole = stream.seek(0, os.SEEK_END), _whole_lines(stream)
        if size == 0 or self._is_torn_head(stream, whole):
            stream.truncate(0)
            self._write_config()
            return
        self._compare(self._config_before(whole))
        if whole < size:
            stream.truncate(whole)

    def _is_torn_head(self, stream: io.FileIO, whole: int) -> bool:
        """Whether a run was killed while it wrote the first line, and there is no more than that."""
        if self._sidecar is not None or whole:
            return False
        stream.seek(0)
        return _HEAD.startswith(stream.read(len(_HEAD)))

    def _config_before(self, whole: int) -> dict[str, Any]:
        """Raises UsageError where there is none."""
        if self._lock is not None and self._sidecar is not None:
            where, text = visible(self._sidecar.name), self._lock.read()
        else:
            with self.file.open("rb") as lines:
                where, text = "its first line", lines.readline(LONGEST) if whole else b""
        with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
            data = json.loads(text)
            if isinstance(data["config"], dict) and (self._sidecar is not None or data["type"] == "run"):
                return dict(data["config"])
        raise UsageError(f"{self.name} exists, and {where} does not say how it was made", hint=self._hint)

    def _compare(self, before: dict[str, Any]) -> None:
        self.config |= {key: before[key] for key in self._drawn if key in before}
        changed = [key for key in {**before, **self.config} if before.get(key) != self.config.get(key)]
        if changed:
            key = changed[0]
            was, now = (visible(json.dumps(config.get(key)), 80) for config in (before, self.config))
            more = f" (and {', '.join(changed[1:])})" if len(changed) > 1 else ""
            raise UsageError(
                f"{self.name} was made with another {key}: {was}, now {now}{more}",
                hint=f"give the same command to go on, choose another output, or {self._restart_by}",
            )

    def _write_config(self) -> None:
        if self._sidecar is None:
            self._append({"type": "run", "schema": SCHEMA, "config": self.config})
            return
        assert self._lock is not None
        data = {"config": self.config, "hash": _hash(self.config)}
        self._lock.seek(0)
        self._lock.truncate()
        self._lock.write(json.dumps(data, indent=1).encode() + b"\n")
        self._lock.flush()
        os.fsync(self._lock.fileno())

    @property
    def _hint(self) -> str:
        return f"choose another output, or {self._restart_by}"


def _whole_lines(stream: io.FileIO) -> int:
    """Bytes up to and including the last line end."""
    end = stream.seek(0, os.SEEK_END)
    while end > 0:
        begin = max(0, end - 65536)
        stream.seek(begin)
        place = stream.read(end - begin).rfind(b"\n")
        if place >= 0:
            return begin + place + 1
        end = begin
    return 0


def _hash(config: Mapping[str, Any]) -> str:
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
