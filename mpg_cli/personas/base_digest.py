"""A digest that identifies a model by its files, independent of its name: `base_digest` of an adapter.

It is equal for copies in bfloat16 and float32, in one file or several, wrapped in another model or not, and
with or without the second copy of tied embeddings. Quantised files have no digest.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping

from mpg_cli.personas.adapter_names import is_not_text
from mpg_cli.personas.weight_files import Stored

PATTERN = re.compile(r"[0-9a-f]{24}")
SAMPLE = 64  # numbers hashed from the middle of a tensor
_WIDTHS = {"BF16": 2, "F16": 2, "F32": 4}
_IN_LAYER = re.compile(r"\.(\d+\..+)")
_BUFFERS = ("inv_freq", "position_ids")  # computed, and stored only by some versions


def base_digest(tensors: Mapping[str, Stored]) -> str | None:
    """96 bits in hexadecimal, over the layer, name and shape of each tensor and a sample of its numbers.

    The numbers are rounded to bfloat16. Names outside of layers are ignored: tied embeddings have two. None
    without tensors, or if some are not of a float type. Raises OSError.
    """
    parts: set[bytes] = set()
    for name, tensor in tensors.items():
        if not 1 <= len(tensor.shape) <= 3 or name.endswith(_BUFFERS) or is_not_text(name):
            continue
        if tensor.dtype not in _WIDTHS:
            return None
        place = found[1] if (found := _IN_LAYER.search(name)) else ""
        what = f"{place}|{tensor.shape}|".encode()
        parts.add(hashlib.blake2b(what + _middle(tensor), digest_size=16).digest())
    return hashlib.blake2b(b"".join(sorted(parts)), digest_size=12).hexdigest() if parts else None


def _middle(tensor: Stored) -> bytes:
    """The numbers in the middle of the tensor, in bfloat16."""
    width = _WIDTHS[tensor.dtype]
    total = (tensor.end - tensor.begin) // width
    count = min(total, SAMPLE)
    with tensor.file.open("rb") as file:
        file.seek(tensor.begin + (total - count) // 2 * width)
        data = file.read(count * width)
    if tensor.dtype == "BF16":
        return data
    count = len(data) // width
    values = struct.unpack(f"<{count}{'e' if tensor.dtype == 'F16' else 'f'}", data[: count * width])
    bits = struct.unpack(f"<{count}I", struct.pack(f"<{count}f", *values))
    return struct.pack(f"<{count}H", *(_rounded(one) for one in bits))


def _rounded(bits: int) -> int:
    """The upper half of a float32, rounded to nearest, ties to even; NaN and ∞ as they are."""
    if bits & 0x7F800000 == 0x7F800000:
        return bits >> 16
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
