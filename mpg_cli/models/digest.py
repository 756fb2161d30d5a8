"""What tells the weights of one model from those of another."""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

import torch
from torch import nn

SAMPLE = 64  # numbers of each parameter that stand for all of it
_FOUND: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def weights_digest(model: nn.Module) -> str:
    """Of a few numbers of every parameter, as they were when this was first asked: before they are packed."""
    found = _FOUND.get(model)
    if found is None:
        parts = []
        for parameter in model.parameters():
            if parameter.is_mkldnn:
                raise RuntimeError("internal error: the digest is that of plain weights")
            flat = parameter.detach().flatten()
            parts.append(flat[:: max(1, len(flat) // SAMPLE)][:SAMPLE].float())
        found = _FOUND[model] = short_digest(torch.cat(parts).cpu().numpy().tobytes())
    return found


def short_digest(data: bytes) -> str:
    """96 bits in hexadecimal."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()
