"""Atomic replacement of files and folders, and an inter-process file lock."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mpg_cli.errors import MpgError, UsageError
from mpg_cli.io.text import visible

_NAME_PART = 40  # characters of the file's name in the name of its temporary file


def write_atomic(
    file: Path,
    content: str | bytes,
    *,
    make_folder: bool = False,
    error: type[MpgError] | None = UsageError,
    what: str | None = None,
    hint: str | None = None,
) -> None:
    """Replace `file` by `content` (text in UTF-8); a crash at any point leaves the old or the new file.

    Symbolic links are followed and kept. Permissions are kept; a new file has 0o644 less the umask. With
    `make_folder` a missing folder is created. Raises `error` if the file cannot be written, with `what` as
    the file's name and with `hint`; OSError if `error` is None.
    """
    data = content.encode() if isinstance(content, str) else content
    target = Path(os.path.realpath(file))
    part = target.with_name(f".{target.name[:_NAME_PART]}.{secrets.token_hex(6)}.part")
    try:
        if make_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        check_writable(target)
        try:
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            with open(handle, "wb") as stream:
                stream.write(data)
            replace_file(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as problem:
        if error is None:
            raise
        reason = problem.strerror or str(problem)
        raise error(f"{what or visible(str(file))} cannot be written: {reason}", hint=hint) from None


def check_writable(target: Path) -> None:
    """Raise OSError for a file that is write-protected or not a regular file; a missing file is fine."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if not os.access(target, os.W_OK):  # os.replace ignores it
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def replace_file(part: Path, target: Path) -> None:
    """Rename the finished `part` to `target` in the same folder, with fsync; keeps the permissions of
    `target`.

    Raises OSError.
    """
    sync(part)
    with contextlib.suppress(FileNotFoundError):
        os.chmod(part, stat.S_IMODE(target.stat().st_mode))
    os.replace(part, target)
    sync_folder(target.parent)


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A new empty folder beside `target`, to fill and pass to `swapped_in`; removed after the block.

    Raises OSError.
    """
    staged = target.with_name(f".{target.name}.new")
    try:
        _remove(staged)
        staged.mkdir(parents=True)
        yield staged
    finally:
        _remove(staged)


@contextlib.contextmanager
def swapped_in(staged: Path, target: Path) -> Iterator[None]:
    """Rename the folder `staged` to `target`, with fsync; restores the old folder if the block raises.

    Raises OSError.
    """
    aside = target.with_name(f".{target.name}.old")
    for file in staged.iterdir():
        sync(file)
    sync_folder(staged)
    if aside.exists() and not target.exists():  # an earlier process was killed between the two renames below
        os.replace(aside, target)
    _remove(aside)
    try:
        if target.exists():
            os.replace(target, aside)
        os.replace(staged, target)
        sync_folder(target.parent)
        yield
    except BaseException:
        if not staged.exists():  # it was renamed
            _remove(target)
        if aside.exists() and not target.exists():
            os.replace(aside, target)
        raise
    with contextlib.suppress(OSError):
        _remove(aside)


def sync(file: Path) -> None:
    """Flush a file to disk (fsync). Raises OSError."""
    with file.open("r+b") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, if the system supports it."""
    with contextlib.suppress(OSError):  # not every system opens folders, not every file system syncs them
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def lock(file: Path, taken: MpgError) -> BinaryIO:
    """Open the file for reading and writing, create it if missing, and lock it until it is closed.

    The lock ends with the process at the latest. Without lock support in the system or file system the file
    is not locked. Raises `taken` if another process holds the lock, OSError if the file cannot be opened.
    """
    while True:
        stream = open(os.open(file, os.O_RDWR | os.O_CREAT, 0o644), "r+b")  # noqa: SIM115
        try:
            _lock(stream, taken)
            if _is_at(stream, file):
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()  # the last holder removed the file meanwhile: lock the new one


def _lock(stream: BinaryIO, taken: MpgError) -> None:
    try:
        import fcntl
    except ImportError:  # Windows; untested
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise taken from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS):
            raise


def _is_at(stream: BinaryIO, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), file.stat())
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
