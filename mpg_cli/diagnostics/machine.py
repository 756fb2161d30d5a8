"""Check device, dtype, memory and threads, with the reason of each choice; and the terminal. Loads torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

from mpg_cli.diagnostics.check import Check
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import size_text
from mpg_cli.models.load.catalogue import ModelInfo

SECTION = "machine"
_BYTES = {"torch.float32": 4, "torch.bfloat16": 2, "torch.float16": 2}


def look(info: ModelInfo | None, device: str, dtype: str) -> Iterator[Check]:
    """Check where a model (None: of unknown size) would run, and whether it fits."""
    import torch

    from mpg_cli.models.load.device import choose_device, choose_dtype

    chosen = choose_device(device)
    yield Check(SECTION, "device", "ok", f"{chosen.value} ({chosen.reason})")
    published = getattr(torch, info.dtype, None) if info and info.dtype else None
    parameters = info.parameters if info else None
    kind = choose_dtype(dtype, chosen.value, published, parameters)
    short = str(kind.value).removeprefix("torch.")
    yield Check(SECTION, "dtype", "ok", f"{short} ({kind.reason})")
    needed = (parameters or 0) * _BYTES.get(str(kind.value), 4)
    if chosen.value.type == "cuda":
        yield _gpu(torch, chosen.value, needed)
    yield _memory(0 if chosen.value.type == "cuda" else needed)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    reason = "OMP_NUM_THREADS" if os.environ.get("OMP_NUM_THREADS") else "torch's choice"
    fine = chosen.value.type != "cpu" or threads <= cores
    hint = None if fine else "set OMP_NUM_THREADS to at most the number of cores"
    yield Check(SECTION, "threads", "ok" if fine else "warning", f"{threads} ({reason}), cores {cores}", hint)


def look_at_terminal(streams: Streams) -> Iterator[Check]:
    """Check encoding, colour and live display of the output; no terminal is not a fault."""
    encoding = getattr(streams.stdout, "encoding", None) or "unknown"
    utf8 = encoding.lower().replace("-", "") == "utf8"
    yield Check(
        "terminal",
        "encoding",
        "ok" if utf8 else "warning",
        encoding,
        None if utf8 else "set LANG to a UTF-8 locale, or PYTHONUTF8=1; until then letters may show as ?",
    )
    where = "a terminal" if streams.stdout_tty else "no terminal"
    colour = "colour" if streams.color and streams.stdout_tty else "no colour"
    moving = "" if streams.movable else ", TERM is dumb: no live display"
    width = f", {shutil.get_terminal_size().columns} columns" if streams.stdout_tty else ""
    yield Check("terminal", "stdout", "ok", f"{where}, {colour}{width}{moving}")


def _gpu(torch: Any, device: Any, needed: int) -> Check:
    free, total = torch.cuda.mem_get_info(device)
    text = f"{torch.cuda.get_device_name(device)}, {size_text(free)} of {size_text(total)} free"
    return _fits("GPU memory", text, needed, free)


def _memory(needed: int) -> Check:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return Check(SECTION, "memory", "note", "unknown on this system")
    free = _available()
    text = size_text(total) if free is None else f"{size_text(free)} of {size_text(total)} available"
    return _fits("memory", text, needed, total if free is None else free)


def _fits(name: str, text: str, needed: int, free: int) -> Check:
    if needed > free:
        hint = "choose a smaller model or a smaller --dtype"
        return Check(SECTION, name, "warning", f"{text}; the model's weights take {size_text(needed)}", hint)
    return Check(SECTION, name, "ok", text)


def _available() -> int | None:
    """MemAvailable of Linux in bytes: what can be used without swapping."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = next((line for line in lines if line.startswith("MemAvailable:")), None)
    except OSError:
        return None
    return int(found.split()[1]) * 1024 if found else None
