"""Loading a model for training: device and dtype."""

from __future__ import annotations

import os

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.options.model import ModelOptions
from mpg_cli.training.base_model import load_base, show_one_gpu, trainable_dtype


@pytest.mark.parametrize(
    ("device", "before", "after"),
    [
        ("auto", None, "0"),
        ("cuda", "2,3", "2"),
        ("cuda:1", "2,3", "3"),
        ("cuda:1", None, "1"),
        ("cuda:7", "2,3", "7"),
        ("cuda:0", "GPU-8f,GPU-9a", "GPU-8f"),
        ("auto", "", ""),
        ("cpu", None, None),
        ("mps", "2,3", "2,3"),
    ],
)
def test_one_gpu_is_left(
    monkeypatch: pytest.MonkeyPatch, device: str, before: str | None, after: str | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    show_one_gpu(device)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == after
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("kind", "dtype", "loaded"),
    [("cpu", "auto", "auto"), ("mps", "auto", "float32"), ("mps", "bfloat16", "bfloat16")],
)
def test_the_precision(kind: str, dtype: str, loaded: str) -> None:
    assert trainable_dtype(dtype, kind) == loaded


def test_float16_without_a_scaler_is_refused() -> None:
    with pytest.raises(UsageError, match="float16 can be trained on CUDA only"):
        load_base(ModelOptions("m", None, "cpu", "float16"))
