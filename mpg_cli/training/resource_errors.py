"""Errors of torch and TRL that mean too little memory or disk, as MpgErrors with a remedy."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

from mpg_cli.errors import ModelError, MpgError, is_out_of_memory
from mpg_cli.training.run import RunFolder

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# How torch and safetensors report a full disk: not as OSError.
_FULL_TEXTS = (
    "No space left",
    "File too large",
    "inline_container.cc",
    "PytorchStreamWriter failed",
    "iostream error",
)


@contextlib.contextmanager
def readable(device: Any, run: RunFolder) -> Iterator[None]:
    """Convert out-of-memory and disk-full errors of the libraries to MpgErrors with a remedy."""
    try:
        yield
    except MpgError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelError(
                f"training does not fit into the memory of {device}",
                hint="lower --micro-batch or --max-length, or choose a smaller model",
            ) from None
        if _is_full(error):
            run.last_checkpoint()  # deletes the incomplete one
            raise MpgError(
                f"the disk is full: a checkpoint of the run cannot be written to {run.path}",
                hint="free disk space, then resume with the same command without --force",
            ) from None
        raise


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(text in str(error) for text in _FULL_TEXTS)
