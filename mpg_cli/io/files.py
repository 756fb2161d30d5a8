"""Files and folders that are replaced whole or not at all, and the lock that keeps a second process out."""

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

_SHOWN = 40  # characters of a file's name in that of its temporary one


def write_atomic(
    file: Path,
    content: str | bytes,
    *,
    make_folder: bool = False,
    error: type[MpgError] | None = UsageError,
    what: str | None = None,
    hint: str | None = None,
) -> None:
    """Replace `file` by `content` (text in UTF-8): a crash at any point leaves the old file or the new one.

    A link is followed and stays a link. Permissions stay; those of a new file are 0o644 less the umask. With
    `make_folder` its folder need not exist. Where the file cannot be written it raises `error`, with `what`
    as the file's name and with `hint`; OSError if `error` is None.
    """
    data = content.encode() if isinstance(content, str) else content
    target = Path(os.path.realpath(file))
    part = target.with_name(f".{target.name[:_SHOWN]}.{secrets.token_hex(6)}.part")
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
    """Raise OSError for a file that is write-protected or is no regular file; it need not be there."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if not os.access(target, os.W_OK):  # a rename would not ask
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def replace_file(part: Path, target: Path) -> None:
    """Move the finished `part` to `target` in the same folder, durably; the permissions there stay.

    Raises OSError.
    """
    sync(part)
    with contextlib.suppress(FileNotFoundError):
        os.chmod(part, stat.S_IMODE(target.stat().st_mode))
    os.replace(part, target)
    sync_folder(target.parent)


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, to be filled and given to `swapped_in`. It is gone after the block.

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
    """`staged` stands at `target`, durably. If the block raises, what stood there before stands there again.

    Raises OSError.
    """
    aside = target.with_name(f".{target.name}.old")
    for file in staged.iterdir():
        sync(file)
    sync_folder(staged)
    if aside.exists() and not target.exists():  # a process was killed between the two renames below
        os.replace(aside, target)
    _remove(aside)
    try:
        if target.exists():
            os.replace(target, aside)
        os.replace(staged, target)
        sync_folder(target.parent)
        yield
    except BaseException:
        if not staged.exists():  # it has got there
            _remove(target)
        if aside.exists() and not target.exists():
            os.replace(aside, target)
        raise
    with contextlib.suppress(OSError):
        _remove(aside)


def sync(file: Path) -> None:
    """Have the system write a file to disk. Raises OSError."""
    with file.open("r+b") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Have the system write a folder's entries to disk, where it can."""
    with contextlib.suppress(OSError):  # not every system opens folders, not every file system syncs them
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def lock(file: Path, taken: MpgError) -> BinaryIO:
    """The file, made where it is missing and open to read and write, locked until it is closed.

    The lock ends with the process at the latest. Where the system or the file system has no locks there is
    none. Raises `taken` if another process has it, OSError where the file cannot be opened.
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
        stream.close()  # whoever had it has removed the file meanwhile: lock the new one


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
