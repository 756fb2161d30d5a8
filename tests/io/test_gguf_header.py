"""Headers of GGUF files: what they say, and one message for each that is damaged, hostile or another kind."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from mpg_cli.errors import AdapterError, MpgError
from mpg_cli.io.gguf_header import read_header


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A valid file with values of every kind and tensors of two types."""
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_rope_freq_base(1e4)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    writer.add_token_list(["a", "é", "🦙"])
    writer.add_token_types([1, 1, 3])
    writer.add_tensor("token_embd.weight", np.ones((3, 32), np.float32))
    packed = gguf.quantize(np.ones((4, 32), np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.attn_q.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_header_has_the_values_and_places_that_gguf_reads(file: Path) -> None:
    header, oracle = read_header(file), gguf.GGUFReader(file)
    for key, value in header.metadata.items():
        assert oracle.fields[key].contents() == value
    assert len(header.metadata) == len(oracle.fields) - 3  # which are version and counts
    for mine, theirs in zip(header.tensors, oracle.tensors, strict=True):
        assert (mine.name, mine.start, mine.size) == (theirs.name, theirs.data_offset, theirs.n_bytes)
        assert (mine.type, mine.count) == (theirs.tensor_type.name, theirs.n_elements)
        assert mine.shape == tuple(reversed(theirs.shape.tolist()))
    assert header.size == file.stat().st_size
    assert header.quantisation == "Q8_0"
    assert header.text("general.architecture") == "llama"


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """An edit of the file's first `old`."""

    def edit(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return edit


def at(place: int, layout: str, number: int) -> Callable[[bytes], bytes]:
    """An edit that writes a number."""
    packed = struct.pack(layout, number)
    return lambda data: data[:place] + packed + data[place + len(packed) :]


def array(kind: int, count: int) -> bytes:
    """The head of an array."""
    return struct.pack("<IIQ", 9, kind, count)


TYPE = b"general.architecture" + struct.pack("<IQ", 8, 5)
LAST = b"blk.0.attn_q.weight" + struct.pack("<IQQI", 2, 32, 4, 8)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda data: b"", "is not a GGUF file"),
        (lambda data: b"PK" + data, "is not a GGUF file"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (lambda data: b"tjgg" + data, "older than GGUF"),
        (lambda data: data[:6], "is truncated"),
        (at(4, "<I", 1), "is GGUF version 1; versions 2 and 3 are supported"),
        (at(4, "<I", 4), "is GGUF version 4"),
        (at(4, ">I", 3), "big-endian"),
        (lambda data: data[:300], "its header does not end"),
        (lambda data: data[:-40], "is truncated"),
        (at(8, "<Q", 10**15), "its header claims"),
        (at(16, "<Q", 10**15), "its header claims"),
        (at(24, "<Q", 2**62), "has a name or text of"),
        (replaced(b"token_type", b"token\xff\xff\xff\xff\xff"), "is not UTF-8"),
        (replaced(array(8, 3), array(8, 2**60)), "claims 1152921504606846976 items"),
        (replaced(array(8, 3), array(8, 3_000_000)), "is damaged"),
        (replaced(array(5, 3), array(5, 3_000_000)), "does not end"),
        (replaced(array(5, 3), array(9, 3)), "unsupported type 9"),
        (replaced(TYPE, TYPE[:20] + struct.pack("<IQ", 99, 5)), "the unknown type 99"),
        (replaced(LAST, LAST[:19] + struct.pack("<IQQI", 5, 32, 4, 8)), "has 5 dimensions"),
        (replaced(LAST, LAST[:19] + struct.pack("<IQQI", 2, 33, 4, 8)), "has the shape (4, 33) in Q8_0"),
        (replaced(LAST, LAST[:19] + struct.pack("<IQQI", 2, 0, 4, 8)), "has the shape (4, 0)"),
        (replaced(LAST, LAST[:19] + struct.pack("<IQQI", 2, 2**63, 2**63, 8)), "is truncated"),
        (replaced(LAST, LAST[:19] + struct.pack("<IQQI", 2, 32, 4, 77)), "the unknown type 77"),
        (replaced(LAST, LAST[:19] + struct.pack("<IQQI", 2, 256, 4, 15)), "in Q8_K, which cannot be dequ"),
    ],
)
def test_a_damaged_file_is_answered_with_one_message(
    file: Path, edit: Callable[[bytes], bytes], words: str
) -> None:
    file.write_bytes(edit(file.read_bytes()))
    with pytest.raises(MpgError) as caught:
        read_header(file, "model x")
    assert words in caught.value.message
    assert caught.value.message.startswith("model x ")


def test_what_occurs_twice_is_refused(tmp_path: Path) -> None:
    for key, tensor, words in (("a.b", "c", "a.b occurs twice"), ("a.c", "d", "tensor d twice")):
        keys = b"".join(struct.pack("<Q3sIB", 3, name.encode(), 7, 1) for name in ("a.b", key))
        table = b"".join(struct.pack("<Q1sIQIQ", 1, name.encode(), 1, 8, 0, 0) for name in ("d", tensor))
        (tmp_path / "x").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2, 2) + keys + table + bytes(64))
        with pytest.raises(MpgError, match=words):
            read_header(tmp_path / "x")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes().replace(b"d", b"e", 1))
    with pytest.raises(MpgError, match="overlaps"):
        read_header(tmp_path / "x")


def test_a_missing_file_and_another_kind_of_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(AdapterError, match="cannot be read"):
            read_header(path, error=AdapterError)


def mutated(data: bytes, header: int, seed: int) -> bytes:
    """The file with flipped bits, cut, or with a number in its header replaced."""
    draw = random.Random(seed)
    changed = bytearray(data)
    kind = seed % 4
    if kind == 0:
        for _ in range(draw.randint(1, 8)):
            changed[draw.randrange(header)] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del changed[draw.randrange(len(data)) :]
    elif kind == 2:
        number = draw.choice([0, 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1, draw.getrandbits(24)])
        place = draw.randrange(4, header - 8)
        changed[place : place + 8] = struct.pack("<Q", number)
    else:
        place = draw.randrange(header)
        changed[place : place + draw.randint(1, 64)] = draw.randbytes(draw.randint(0, 64))
    return bytes(changed)


def test_no_mutated_header_gets_past_the_checks_or_costs_memory(file: Path) -> None:
    data = file.read_bytes()
    header = read_header(file).tensors[0].start
    messages = []
    for seed in range(400):
        file.write_bytes(mutated(data, header, seed))
        tracemalloc.start()
        began = time.perf_counter()
        try:
            read_header(file)
        except MpgError as error:
            messages.append(error.message)
        duration, (_, most) = time.perf_counter() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert duration < 5, seed
        assert most < 2**24, seed
    assert len(messages) > 200
    assert all(message.isprintable() and len(message) < 300 for message in messages)
