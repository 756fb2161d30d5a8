"""The header of a GGUF file: metadata and the table of tensors, for models and for adapters. Torch-free.

Every count and length is checked against the file before anything is allocated for it, so that a damaged or
hostile file costs one message: the libraries that read the rest trust these numbers.
Format: the specification of GGUF in ggml-org/ggml.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NoReturn

from mpg_cli.errors import ModelError, MpgError
from mpg_cli.io.text import visible

MAGIC = b"GGUF"
SUFFIX = ".gguf"
VERSIONS = (2, 3)
_OLDER = (b"lmgg", b"tjgg", b"algg", b"fmgg")  # ggml, ggjt, ggla, ggmf as little-endian numbers
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_BOOL, _TEXT, _ARRAY = 7, 8, 9

# Far above what real files have: 50 keys, 2,000 tensors, 10**6 tokens and merges, 20 MB.
_MOST_KEYS = 10_000
_MOST_TENSORS = 100_000
_MOST_ITEMS = 4_000_000  # of all arrays together
_MOST_BYTES = 1 << 28  # of the header
_LONGEST_NAME = 1 << 10  # bytes of a key or the name of a tensor
_MOST_DIMENSIONS = 4
_LARGEST_ALIGNMENT = 1 << 20
AGAIN: Final = "fetch the file again"


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: its shape in the order of torch, the name of its type, and where its bytes are."""

    name: str
    shape: tuple[int, ...]
    type: str
    start: int
    size: int

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """What a GGUF file says about itself: `metadata` as Python values (arrays as lists), and its tensors."""

    path: Path
    size: int  # bytes of the file
    metadata: Mapping[str, Any] = field(repr=False)
    tensors: tuple[TensorInfo, ...] = field(repr=False)

    def text(self, key: str) -> str:
        """A string of the metadata, "" where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    @cached_property
    def quantisation(self) -> str:
        """The type that most of the numbers have, such as Q4_1."""
        counts: dict[str, int] = {}
        for tensor in self.tensors:
            counts[tensor.type] = counts.get(tensor.type, 0) + tensor.count
        return max(counts, key=lambda name: counts[name]) if counts else "empty"


def is_gguf(path: Path) -> bool:
    """Whether a file begins like a GGUF file."""
    try:
        if not path.is_file():  # to open a pipe may never end
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def with_own_name(file: Path) -> Path:
    """The absolute path of a file; a link keeps its own name, since those of the hub lead to hashes."""
    return Path(os.path.realpath(file.parent), file.name)


def gguf_files(folder: Path) -> list[Path]:
    """The GGUF files in a folder, by name; none where it is no folder or has a model of its own."""
    try:
        if (folder / "config.json").exists():
            return []
        return sorted(file for file in folder.iterdir() if file.suffix.lower() == SUFFIX and file.is_file())
    except (OSError, ValueError):
        return []


def read_header(path: Path, label: str = "", error: type[MpgError] = ModelError) -> Header:
    """Read and check the header of a GGUF file; `label` names the file in messages (default: its path).

    Raises `error` for anything that is not a complete, little-endian GGUF file of version 2 or 3 with
    tensors that can be dequantised.
    """
    reader = _Reader(label or str(path), error)
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC) + 4)
            reader.check_magic(head)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                reader.data, reader.end = data, len(data)
                return reader.header(path)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise error(f"{reader.label} cannot be read: {reason}") from None


Entry = tuple[str, tuple[int, ...], int, int]  # of the table: name, shape, number of the type, offset


class _Reader:
    """Reads values from the front of the file, each only after a check that the file has it."""

    def __init__(self, label: str, error: type[MpgError]) -> None:
        self.label, self.error = label, error
        self.data: mmap.mmap | bytes = b""
        self.at = self.end = self.items = 0

    def fail(self, what: str, hint: str | None = AGAIN) -> NoReturn:
        raise self.error(f"{self.label} {what}", hint=hint)

    def check_magic(self, head: bytes) -> None:
        if head.startswith(b"version "):
            self.fail("is a Git LFS pointer, not the file itself", "run `git lfs pull` there")
        if head[:4] in _OLDER:
            self.fail("is in a format older than GGUF", "choose a GGUF file of the model")
        if not head.startswith(MAGIC):
            self.fail("is not a GGUF file", None)
        if len(head) < 8:
            self.fail("is truncated")
        (version,) = struct.unpack("<I", head[4:])
        if version & 0xFFFF == 0:
            self.fail("is a big-endian GGUF file, which is not supported", "choose a little-endian one")
        if version not in VERSIONS:
            older = "convert the model again with a current llama.cpp, or choose another file"
            self.fail(f"is GGUF version {version}; versions 2 and 3 are supported", older)

    def header(self, path: Path) -> Header:
        self.at = len(MAGIC) + 4
        tensors, keys = self.numbers("Q", 2)
        if keys > _MOST_KEYS or tensors > _MOST_TENSORS:
            self.fail(f"is damaged: its header claims {keys} keys and {tensors} tensors")
        metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = self.string(_LONGEST_NAME)
            if key in metadata:
                self.fail(f"is damaged: {visible(key, 80)} occurs twice in its header")
            metadata[key] = self.value(self.number("I"), key)
        entries = [self.entry() for _ in range(tensors)]
        return Header(path, self.end, metadata, self.placed(entries, self.data_start(metadata)))

    def take(self, size: int) -> int:
        """The place of the next `size` bytes, which the file has."""
        start = self.at
        if size > self.end - start:
            self.fail("is truncated or damaged: its header does not end")
        self.at = start + size
        if self.at > _MOST_BYTES:
            self.fail(f"is damaged: its header is larger than {_MOST_BYTES >> 20} MiB")
        return start

    def numbers(self, kind: str, count: int) -> tuple[Any, ...]:
        layout = struct.Struct(f"<{count}{kind}")
        return layout.unpack_from(self.data, self.take(layout.size))

    def number(self, kind: str) -> Any:
        return self.numbers(kind, 1)[0]

    def string(self, longest: int = _MOST_BYTES) -> str:
        size = self.number("Q")
        if size > longest:
            self.fail(f"is damaged: its header has a name or text of {size} bytes")
        start = self.take(size)
        try:
            return str(self.data[start : self.at], "utf-8")
        except UnicodeDecodeError:
            self.fail(f"is damaged: the text at byte {start} is not UTF-8")

    def value(self, kind: int, key: str) -> Any:
        if kind == _TEXT:
            return self.string()
        if kind in _SCALARS:
            # A byte other than 0 and 1 is true, as in C.
            return self.number(_SCALARS[kind])
        if kind != _ARRAY:
            self.fail(f"is damaged: {visible(key, 80)} has the unknown type {kind}")
        kind, count = self.number("I"), self.number("Q")
        self.items += count
        if self.items > _MOST_ITEMS:
            self.fail(f"is damaged: {visible(key, 80)} claims {count} items")
        if kind == _TEXT:
            return [self.string() for _ in range(count)]
        if kind in _SCALARS:
            return list(self.numbers(_SCALARS[kind], count))
        self.fail(f"is damaged: {visible(key, 80)} has items of the unsupported type {kind}")

    def entry(self) -> Entry:
        name = self.string(_LONGEST_NAME)
        dimensions = self.number("I")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            self.fail(f"is damaged: tensor {visible(name, 80)} has {dimensions} dimensions")
        shape = tuple(reversed(self.numbers("Q", dimensions)))
        return name, shape, self.number("I"), self.number("Q")

    def data_start(self, metadata: Mapping[str, Any]) -> int:
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 0 < alignment <= _LARGEST_ALIGNMENT or alignment.bit_count() > 1:
            self.fail(f"is damaged: its alignment is {visible(str(alignment), 40)}")
        return -(-self.at // alignment) * alignment

    def placed(self, entries: list[Entry], start: int) -> tuple[TensorInfo, ...]:
        """The tensors, checked: their types and sizes, and that each has its own bytes in the file."""
        found: dict[str, TensorInfo] = {}
        for name, shape, number, offset in entries:
            if name in found:
                self.fail(f"is damaged: it has tensor {visible(name, 80)} twice")
            kind, block, size = self.tensor_type(number, name)
            count = math.prod(shape)
            if count == 0 or shape[-1] % block:
                self.fail(f"is damaged: tensor {visible(name, 80)} has the shape {shape} in {kind}")
            found[name] = TensorInfo(name, shape, kind, start + offset, count // block * size)
        last = start
        for tensor in sorted(found.values(), key=lambda tensor: tensor.start):
            if tensor.start < last:
                self.fail(f"is damaged: tensor {visible(tensor.name, 80)} overlaps another one")
            last = tensor.start + tensor.size
            if last > self.end:
                self.fail(f"is truncated: it has {self.end} bytes, and its tensors need {last} or more")
        return tuple(found.values())

    def tensor_type(self, number: int, name: str) -> tuple[str, int, int]:
        """Name, numbers per block and bytes per block of a type that can be dequantised."""
        import numpy as np
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

        try:
            kind = GGMLQuantizationType(number)
            block, size = GGML_QUANT_SIZES[kind]
        except (ValueError, KeyError):
            self.fail(f"is damaged or too new: tensor {visible(name, 80)} has the unknown type {number}")
        if kind not in _READABLE:
            try:
                dequantize(np.zeros((1, size), np.uint8), kind)
            except NotImplementedError:
                other = "choose a file in another quantisation, such as Q8_0, Q4_K_M or F16"
                self.fail(f"has tensors in {kind.name}, which cannot be dequantised", other)
            _READABLE.add(kind)
        return kind.name, block, size


_READABLE: set[int] = set()  # types that the installed gguf dequantises
