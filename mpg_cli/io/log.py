"""A resumable log of JSON records, one per line. Torch-free.

The configuration of the run is stored beside the log (FILE.mpg.json) or in its first line. Only a run with
the same configuration can append to it, one process at a time. A killed run leaves complete records and at
most one partial line at the end, which the next run truncates.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from mpg_cli.errors import MpgError, UsageError, unwritable
from mpg_cli.io.files import lock, replace_file, sync_folder
from mpg_cli.io.lines import MAX_LINE
from mpg_cli.io.text import visible

SCHEMA = 1  # of the first line
SYNC_SECONDS = 2.0
SIDECAR = ".mpg.json"
_HEAD = f'{{"type": "run", "schema": {SCHEMA}, '.encode()  # start of a log with an embedded configuration

T = TypeVar("T")


class ResumableLog:
    """The `--output` file of a run, a context manager; inside it `config` is the configuration of the log.

    In messages `of` names the run ("a batch"), `restart_by` the way to start over ("remove it") and `set_by`
    the options behind keys that are not named like one. With `sidecar` the configuration is in a file beside
    the log. The keys `drawn` were not given by the user and are taken from an existing log. `restart`
    discards existing records.

    Raises UsageError if the file is not a regular file; on entering, UsageError if it has another
    configuration, is not such a log, is in use, or cannot be written.
    """

    def __init__(
        self,
        file: Path,
        config: Mapping[str, Any],
        *,
        of: str,
        restart_by: str,
        set_by: Mapping[str, str] | None = None,
        sidecar: bool = False,
        drawn: Collection[str] = (),
        restart: bool = False,
    ) -> None:
        self.file = Path(os.path.realpath(os.path.expanduser(file)))
        self.config: dict[str, Any] = json.loads(json.dumps(config))  # as read back from the file
        self.name = visible(self.file.name)
        self._label = f"--output {visible(str(file))}"
        if self.file.exists() and not self.file.is_file():  # can neither be resumed nor replaced
            raise UsageError(
                f"{self._label} is not a regular file", hint="give a regular file or leave out --output"
            )
        self._sidecar = self.file.with_name(self.file.name + SIDECAR) if sidecar else None
        self._of, self._restart_by, self._set_by = of, restart_by, set_by or {}
        self._drawn, self._restart = drawn, restart
        self._stream: io.FileIO | None = None  # unbuffered: a failed write is not repeated on close
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
        with contextlib.suppress(OSError):  # a full disk was reported by `append`
            if self._stream is not None:
                os.fsync(self._stream.fileno())
        self._close()

    def settle(self, config: Mapping[str, Any]) -> None:
        """Add keys to the configuration of a log with a sidecar, as known only after the log was opened.

        They must be among `drawn`. Raises UsageError if the log was written with other values.
        """
        before = dict(self.config)
        self.config |= json.loads(json.dumps(config))
        self._compare({**self.config, **before}, drawn=())
        if self.config != before:
            with self._as_mpg_error():
                self._write_config()

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one record as a line, with an fsync every SYNC_SECONDS.

        Raises MpgError if it cannot be written; the log then ends with the previous record.
        """
        with self._as_mpg_error():
            self._append(record)

    def records(self, read: Callable[[Any], T]) -> Iterator[T]:
        """The result of `read` for each record.

        Raises UsageError where `read` raises ValueError, LookupError, TypeError or AttributeError.
        """
        return (found for _, found in self._read(read))

    def keep(self, wanted: Callable[[Any], bool]) -> None:
        """Atomically rewrite the log with only the wanted records. Raises MpgError."""
        assert self._sidecar is not None, "the lock would be on the replaced file"
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
                hint="free some space and run the same command again to resume",
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
            with contextlib.suppress(OSError):  # a full disk may have stored part of it
                self._stream.truncate(end)
            raise
        if monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._stream.fileno())
            self._synced = monotonic()

    def _read(self, read: Callable[[Any], T]) -> Iterator[tuple[bytes, T]]:
        """The raw line of each record, and the result of `read`."""
        with self.file.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                if number == 1 and self._sidecar is None:
                    continue
                try:
                    found = read(json.loads(raw))
                except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                    raise UsageError(
                        f"{self.name}:{number} is not a record of {self._of}", hint=self._hint
                    ) from None
                yield raw, found

    # -- the configuration -------------------------------------------------------------------------

    def _agree(self, stream: io.FileIO) -> None:
        """Compare with the log's configuration, or write it to a new log; truncate a partial line."""
        size, whole = stream.seek(0, os.SEEK_END), _whole_lines(stream)
        if size == 0 or self._is_partial_head(stream, whole):
            stream.truncate(0)
            self._write_config()
            return
        self._compare(self._config_before(whole), self._drawn)
        if whole < size:
            stream.truncate(whole)

    def _is_partial_head(self, stream: io.FileIO, whole: int) -> bool:
        """Whether the log is only part of its first line, left by a killed run."""
        if self._sidecar is not None or whole:
            return False
        stream.seek(0)
        return _HEAD.startswith(stream.read(len(_HEAD)))

    def _config_before(self, whole: int) -> dict[str, Any]:
        """The configuration stored with the log. Raises UsageError if there is none."""
        if self._lock is not None and self._sidecar is not None:
            where, text = visible(self._sidecar.name), self._lock.read()
        else:
            with self.file.open("rb") as lines:
                where, text = "its first line", lines.readline(MAX_LINE) if whole else b""
        found = _parse(text, head=self._sidecar is None)
        if found is not None:
            return found
        raise UsageError(f"{self.name} exists, but {where} has no configuration of a run", hint=self._hint)

    def _compare(self, before: dict[str, Any], drawn: Collection[str]) -> None:
        self.config |= {key: before[key] for key in drawn if key in before}
        then, own = _flat(before), _flat(self.config)
        changed = [key for key in {**then, **own} if then.get(key) != own.get(key)]
        if changed:
            key = changed[0]
            was, now = (visible(json.dumps(config.get(key)), 80) for config in (then, own))
            more = f" (and {', '.join(changed[1:])})" if len(changed) > 1 else ""
            source = self._set_by.get(key.partition(".")[0])
            hint = f"run the same command to resume, choose another output, or {self._restart_by}"
            refused = UsageError(
                f"{self.name} was written with a different {key}: {was}, now {now}{more}",
                hint=f"set by {source}; {hint}" if source else hint,
            )
            refused.setting = f"--{re.sub('[_ ]', '-', key.rpartition('.')[2])}"
            raise refused

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


def recorded(file: Path, *, sidecar: bool = False) -> dict[str, Any]:
    """The configuration stored with an existing log; empty where there is none. The log is not locked."""
    file = Path(os.path.realpath(os.path.expanduser(file)))
    try:
        if not file.is_file() or not file.stat().st_size:
            return {}
        with (file.with_name(file.name + SIDECAR) if sidecar else file).open("rb") as stored:
            text = stored.read() if sidecar else stored.readline(MAX_LINE)
    except OSError:
        return {}
    return _parse(text, head=not sidecar) or {}


def _parse(text: bytes, *, head: bool) -> dict[str, Any] | None:
    """The configuration in a sidecar, or in the `head` line of a log."""
    with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
        data = json.loads(text)
        if isinstance(data["config"], dict) and (not head or data["type"] == "run"):
            return dict(data["config"])
    return None


def _whole_lines(stream: io.FileIO) -> int:
    """The number of bytes up to and including the last line end."""
    end = stream.seek(0, os.SEEK_END)
    while end > 0:
        begin = max(0, end - 65536)
        stream.seek(begin)
        place = stream.read(end - begin).rfind(b"\n")
        if place >= 0:
            return begin + place + 1
        end = begin
    return 0


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the entries of inner objects by their own names, as in `sampling.top_p`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        inner = isinstance(value, dict)
        flat |= {f"{key}.{name}": item for name, item in value.items()} if inner else {key: value}
    return flat


def _hash(config: Mapping[str, Any]) -> str:
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
