"""Which device and dtype `auto` and explicit choices lead to."""

from __future__ import annotations

import pytest
import torch

from mpg_cli.errors import ModelError
from mpg_cli.models.load.device import SMALL, choose_device, choose_dtype

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int = 0, mps: bool = False, capability: int = 9) -> None:
    """Pretend that this machine has these devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (capability, 0))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.version, "hip", None)


@pytest.mark.parametrize(
    "spec, gpus, mps, expected",
    [
        ("auto", 2, False, CUDA),
        ("auto", 1, True, CUDA),
        ("auto", 0, True, MPS),
        ("auto", 0, False, CPU),
        ("cpu", 1, True, CPU),
        ("cuda", 1, False, CUDA),
        ("cuda:1", 2, False, torch.device("cuda", 1)),
        ("mps", 0, True, MPS),
    ],
)
def test_devices(
    monkeypatch: pytest.MonkeyPatch, spec: str, gpus: int, mps: bool, expected: torch.device
) -> None:
    machine(monkeypatch, gpus, mps)
    choice = choose_device(spec)
    assert choice.value == expected
    assert choice.reason


@pytest.mark.parametrize(
    "spec, gpus, message, hint",
    [
        ("cuda", 0, "device cuda is not available", "--device cpu"),
        ("cuda:1", 0, "device cuda:1 is not available", "--device cpu"),
        ("cuda:1", 1, "device cuda:1 does not exist", "choose cuda:0"),
        ("cuda:4", 4, "device cuda:4 does not exist", "cuda:0 to cuda:3"),
        ("mps", 1, "device mps is not available", "--device cpu"),
        ("gpu", 1, "unknown device 'gpu'", "--device takes auto"),
        ("cuda:", 1, "unknown device 'cuda:'", "--device takes auto"),
        ("cuda:-1", 1, "unknown device", "--device takes auto"),
        ("", 1, "unknown device ''", "--device takes auto"),
    ],
)
def test_devices_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch, spec: str, gpus: int, message: str, hint: str
) -> None:
    machine(monkeypatch, gpus)
    with pytest.raises(ModelError, match=message) as caught:
        choose_device(spec)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("name, dtype", [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_an_explicit_dtype_is_taken(name: str, dtype: torch.dtype) -> None:
    assert choose_dtype(name, CPU).value is dtype


def test_an_unknown_dtype() -> None:
    with pytest.raises(ModelError, match="unknown dtype 'int8'"):
        choose_dtype("int8", CPU)


@pytest.mark.parametrize(
    "device, capability, has, parameters, dtype, reason",
    [
        (CUDA, 9, (), None, torch.bfloat16, "GPU has bfloat16"),
        (CUDA, 7, (), 10, torch.float16, "no bfloat16; published in bfloat16, may overflow"),
        (MPS, 0, (), None, torch.float16, "Apple"),
        (CPU, 0, ("avx512_bf16",), SMALL, torch.float32, "small model"),
        (CPU, 0, ("avx512_bf16",), SMALL + 1, torch.bfloat16, "has bfloat16 instructions"),
        (CPU, 0, ("amx_tile",), None, torch.bfloat16, "has bfloat16 instructions"),
        (CPU, 0, ("bf16",), None, torch.bfloat16, "has bfloat16 instructions"),
        (CPU, 0, ("avx2",), None, torch.float32, "no fast bfloat16"),
    ],
)
def test_automatic_dtypes(
    monkeypatch: pytest.MonkeyPatch,
    device: torch.device,
    capability: int,
    has: tuple[str, ...],
    parameters: int | None,
    dtype: torch.dtype,
    reason: str,
) -> None:
    machine(monkeypatch, gpus=1, capability=capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(has, True))
    choice = choose_dtype("auto", device, torch.bfloat16, parameters)
    assert choice.value is dtype
    assert reason in choice.reason


def test_asking_this_cpu_works() -> None:
    assert choose_dtype("auto", CPU).value in (torch.bfloat16, torch.float32)
