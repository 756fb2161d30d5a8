"""Timing of interleaved runs, and the peak memory of a process."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import peft
import torch
import transformers

from mpg_cli import __version__

PEAK_PREFIX = "peak MiB: "
BASE_STEPS = 10  # one-token passes of the bare base in each turn


@dataclass(frozen=True)
class Measured:
    """Results of a contender: tokens/s in each turn, the cost of a token in base steps, and more."""

    name: str
    speeds: tuple[float, ...]
    base_steps: float  # per token, prefill included
    decode_steps: float | None  # per token of the second half of the replies, if they are long enough
    tokens: int | None = None  # per run, all replies together
    memory: float | None = None  # MiB at the peak
    acceptance: float | None = None
    committed: float | None = None  # tokens per pass
    bias_bound: float | None = None

    @property
    def speed(self) -> float:
        """Median tokens/s."""
        return statistics.median(self.speeds)


class Clock:
    """Seconds of a call; on CUDA between two events on its stream."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"

    def __call__(self, run: Callable[[], object]) -> float:
        if not self._cuda:
            began = time.perf_counter()
            run()
            return time.perf_counter() - began
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        first.record()
        run()
        last.record()
        torch.cuda.synchronize()
        return float(first.elapsed_time(last)) / 1e3


def measure(
    step: Callable[[], None],
    runs: Mapping[str, Callable[[int], list[list[int]]]],
    limit: int,
    repeats: int,
    device: torch.device,
    log: Callable[[str], None] = lambda text: None,
    warm: Mapping[str, int] | None = None,
) -> list[Measured]:
    """Time each run `repeats` times, interleaved with base steps, after `warm` warm-up runs (default 1).

    Each time a run generates at most `limit` tokens per reply, and before that half as many: the difference
    is the cost of decoding without prefill. `log` gets the name of each run that starts.
    """
    clock, steps = Clock(device), list[float]()
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    decoding: dict[str, list[float]] = {name: [] for name in runs}  # seconds per token
    tokens: dict[str, int] = {}
    first = {name: 1 - (warm or {}).get(name, 1) for name in runs}
    for turn in range(min(first.values()), repeats + 1):
        for name, run in runs.items():
            if turn < first[name]:
                continue
            log(f"turn {turn} of {repeats}: {name}" if turn > 0 else f"warming up: {name}")
            base = [clock(step) for _ in range(BASE_STEPS)]
            few, short = _timed(clock, partial(run, max(1, limit // 2)))
            tokens[name], seconds = _timed(clock, partial(run, limit))
            if turn < 1:
                continue
            steps += base
            speeds[name].append(tokens[name] / seconds)
            if tokens[name] > few:
                decoding[name].append((seconds - short) / (tokens[name] - few))
    one = statistics.median(steps)
    return [
        Measured(
            name,
            tuple(speeds[name]),
            1 / (statistics.median(speeds[name]) * one),
            statistics.median(decoding[name]) / one if decoding[name] else None,
            tokens[name],
        )
        for name in runs
    ]


def ratio(step: Callable[[], None], other: Callable[[], None], device: torch.device) -> float:
    """Time of a step relative to another: the median of pairs run in turn."""
    clock = Clock(device)
    return statistics.median([clock(step) / clock(other) for _ in range(2 * BASE_STEPS)][BASE_STEPS // 2 :])


def _timed(clock: Clock, run: Callable[[], list[list[int]]]) -> tuple[int, float]:
    """The number of tokens of a run, and its seconds."""
    made: list[list[int]] = []
    seconds = clock(lambda: made.extend(run()))
    return sum(map(len, made)), seconds


def peak_memory(command: Sequence[str]) -> float:
    """Peak memory of a command in MiB: as it reports (`peak_report`), else resident (Linux and macOS).

    Raises RuntimeError with its error message if it fails or takes longer than half an hour.
    """
    script = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, timeout=1800, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.stdout)"
    )
    python, *_ = command
    done = subprocess.run([python, "-c", script, *command], capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.partition("Traceback")[2].splitlines() if line[:1].strip()]
        raise RuntimeError((errors or ["it failed"])[0][-300:])
    if PEAK_PREFIX in done.stdout:
        return float(done.stdout.rpartition(PEAK_PREFIX)[2])
    return int(done.stdout.split()[0]) / (1024 if platform.system() == "Linux" else 1024**2)


def peak_report(device: torch.device) -> str:
    """The line by which a process reports the peak of its GPU memory in MiB; empty on a CPU."""
    return (
        f"{PEAK_PREFIX}{torch.cuda.max_memory_reserved(device) / 2**20:.0f}" if device.type == "cuda" else ""
    )


def machine(device: torch.device, threads: int) -> dict[str, str]:
    """The machine and the versions of a run."""
    where = _processor()
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}, its host {where}"
    return {
        "machine": f"{where}, {threads} threads",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": f"mpg {__version__}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, peft {peft.__version__}",
        "date": date.today().isoformat(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            found = next(line for line in lines if line.startswith("model name"))
            return found.partition(":")[2].strip()
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"
