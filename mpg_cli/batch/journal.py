"""The output file of a batch: appended line by line, never torn, resumed by id. Torch-free.

Beside OUTPUT stands OUTPUT.mpg.json with the configuration; an exclusive lock on it keeps a second run out.
A record carries the digest of the line that it answers, so a resumed run knows what is done.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, BinaryIO, TextIO

from mpg_cli.batch.lines import canonical, digest_of
from mpg_cli.errors import MpgError, UsageError, unwritable
from mpg_cli.io.text import visible

SYNC_SECONDS = 2.0
_SUFFIX = ".mpg.json"


class Journal:
    """The records of a run in a file. Use as a context; `done` says what earlier runs have answered.

    Fields of the configuration that were `drawn` and not given are those of the first run. Raises UsageError
    for what is no regular file.
    """

    def __init__(
        self,
        output: Path,
        config: Mapping[str, Any],
        *,
        drawn: Collection[str] = (),
        restart: bool = False,
        retry_errors: bool = False,
    ) -> None:
        if output.exists() and not output.is_file():  # there is nothing to go on with, nor to begin anew
            raise UsageError(
                f"--output {output} is not a regular file",
                hint="name one, or leave out --output to write to stdout",
            )
        self.output = Path(os.path.realpath(output))
        self.sidecar = self.output.with_name(self.output.name + _SUFFIX)
        self._config, self._drawn = dict(config), drawn
        self._restart, self._retry = restart, retry_errors
        self._done: dict[int, int] = {}  # id -> digest of the line, 8 bytes each
        self._failed: set[int] = set()  # ids of error records of earlier runs
        self._met: set[int] = set()  # those of them whose lines are still there
        self._outdated: set[tuple[int, int]] = set()  # ids and digests of error records that hold no more
        self._synced = 0.0

    @property
    def answered(self) -> int:
        """Replies of earlier runs."""
        return len(self._done) - len(self._failed)

    @property
    def failed(self) -> int:
        """Error records of earlier runs that hold."""
        return len(self._failed)

    def __enter__(self) -> Journal:
        self._lock = self._locked_sidecar()
        try:
            if self._restart:
                self.output.unlink(missing_ok=True)
            self.config = self._agree()
            self._recover()
            self._file: BinaryIO = self.output.open("ab")
        except OSError as error:
            self._lock.close()
            raise unwritable(f"--output {self.output}", error) from error
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk has been told already
            self._file.flush()
            os.fsync(self._file.fileno())
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):  # the next run does it
            self._drop_outdated()
        self._lock.close()

    def done(self, id_: str, digest: str) -> bool:
        """Whether the output has a record of the line. Raises UsageError for an answer to another line.

        A line that failed and was changed is not done; its error record goes.
        """
        key, now = _key(id_), int(digest, 16)
        before = self._done.get(key)
        if before is None or before == now:
            if key in self._failed:
                self._met.add(key)
            return before is not None
        if key not in self._failed:
            raise UsageError(
                f"line {visible(id_, 60)} has changed since {self.output.name} answered it",
                hint="give it a new id, choose a new output, or --force-restart to begin anew",
            )
        self._forget(key)
        return False

    def forget_unmet(self) -> None:
        """After the last line of the input: the error records of lines that it has no more go."""
        for key in self._failed - self._met:
            self._forget(key)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record as a whole line, and hand it to the system; synced at intervals."""
        line = json.dumps(record, ensure_ascii=True, allow_nan=False).encode() + b"\n"
        end = self._file.tell()
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):  # a full disk may have taken half of it
                os.ftruncate(self._file.fileno(), end)
            raise MpgError(
                f"{self.output} cannot be written: {error.strerror}",
                hint="make room and give the same command again: it goes on where it stopped",
            ) from error
        if monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = monotonic()

    # -- opening -----------------------------------------------------------------------------------

    def _locked_sidecar(self) -> TextIO:
        try:
            handle = os.open(self.sidecar, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise unwritable(f"--output {self.output}", error) from error
        stream = os.fdopen(handle, "r+", encoding="utf-8")
        if not _lock(stream):
            stream.close()
            raise UsageError(
                f"another run is writing {self.output.name}",
                hint="wait for it, or choose another output",
            )
        return stream

    def _agree(self) -> dict[str, Any]:
        """The configuration of the run: what the sidecar says, if there is a file to go on with."""
        exists = self.output.exists() and self.output.stat().st_size > 0
        text = self._lock.read()
        if not exists:
            self._write_sidecar()
            return self._config
        try:
            before = json.loads(text)["config"] if text.strip() else None
        except (ValueError, KeyError, TypeError):
            before = None
        if not isinstance(before, dict):
            raise UsageError(
                f"{self.output.name} exists, and {self.sidecar.name} does not say how it was made",
                hint="choose a new output, or --force-restart to replace it",
            )
        self._config |= {key: before[key] for key in self._drawn if key in before}
        changed = [key for key in {**before, **self._config} if before.get(key) != self._config.get(key)]
        if changed:
            key = changed[0]
            was, now = (visible(json.dumps(c.get(key)), 80) for c in (before, self._config))
            more = f" (and {', '.join(changed[1:])})" if len(changed) > 1 else ""
            raise UsageError(
                f"{self.output.name} was made with another {key}: {was}, now {now}{more}",
                hint="give the same command to go on, choose a new output, or --force-restart",
            )
        return before

    def _write_sidecar(self) -> None:
        hash_ = digest_of(canonical(self._config))
        self._lock.seek(0)
        self._lock.truncate()
        json.dump({"config": self._config, "hash": hash_}, self._lock, indent=1)
        self._lock.write("\n")
        self._lock.flush()
        os.fsync(self._lock.fileno())

    def _recover(self) -> None:
        """Cut a torn last line and learn what is done; with `retry_errors` forget the error records."""
        if not self.output.exists():
            return
        size = _whole_lines(self.output)
        if size < self.output.stat().st_size:
            with self.output.open("r+b") as stream:
                stream.truncate(size)
        with self.output.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                id_, digest, failed = _answered(raw, self.output.name, number)
                key = _key(id_)
                if key in self._failed:  # a run that was killed has tried it again
                    self._forget(key)
                self._done[key] = int(digest, 16)
                if failed:
                    self._failed.add(key)
        if self._retry:
            for key in list(self._failed):
                self._forget(key)
        self._drop_outdated()

    def _forget(self, key: int) -> None:
        """An error record holds no more."""
        self._failed.remove(key)
        self._outdated.add((key, self._done.pop(key)))

    def _drop_outdated(self) -> None:
        """Write the output anew without the error records that hold no more."""
        if not self._outdated:
            return
        part = self.output.with_name(self.output.name + ".part")
        with self.output.open("rb") as lines, part.open("wb") as kept:
            for number, raw in enumerate(lines, 1):
                id_, digest, failed = _answered(raw, self.output.name, number)
                if not failed or (_key(id_), int(digest, 16)) not in self._outdated:
                    kept.write(raw)
            kept.flush()
            os.fsync(kept.fileno())
        os.replace(part, self.output)
        self._outdated.clear()


def _answered(raw: bytes, name: str, number: int) -> tuple[str, str, bool]:
    """Id, digest of the answered line, and whether the record is an error."""
    try:
        record = json.loads(raw)
        if "custom_id" in record:
            id_, digest = record["custom_id"], record["id"].removeprefix("mpg-")
        else:
            id_, digest = record["id"], record["input"]
        int(digest, 16)
        return str(id_), digest, record.get("error") is not None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{name}:{number} is no record of a batch",
            hint="choose a new output, or --force-restart to replace it",
        ) from None


def _whole_lines(file: Path) -> int:
    """Bytes up to and including the last line end."""
    with file.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - 65536)
            stream.seek(begin)
            place = stream.read(end - begin).rfind(b"\n")
            if place >= 0:
                return begin + place + 1
            end = begin
    return 0


def _key(id_: str) -> int:
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest(), "little")


def _lock(stream: TextIO) -> bool:
    """An exclusive lock that ends with the process; False if another has it."""
    try:
        import fcntl
    except ImportError:  # Windows; untested
        return True
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
