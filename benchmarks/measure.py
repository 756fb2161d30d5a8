"""Clocks and memory: interleaved runs, their medians and spread, and the peak of a process."""

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

SAYS_PEAK = "peak MiB: "
BASE_STEPS = 10  # one-token passes of the bare base in each turn


@dataclass(frozen=True)
class Measured:
    """A contender's tokens/s in each turn, what its token costs in base steps, and what else is known."""

    name: str
    speeds: tuple[float, ...]
    base_steps: float  # a token, reading the prompts included
    decode_steps: float | None  # a token of the second half of its replies, if they are long enough
    tokens: int | None = None  # of a run: all replies together
    memory: float | None = None  # MiB at the peak
    acceptance: float | None = None
    committed: float | None = None  # tokens a pass
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
    say: Callable[[str], None] = lambda text: None,
    warm: Mapping[str, int] | None = None,
) -> list[Measured]:
    """Each run `repeats` times, in turn, base steps timed in between; before, it warms up as often as `warm`
    says, or once.

    A run answers with at most `limit` tokens a reply, and before with half as many: what a token costs, once
    the prompts are read, is the difference. `say` is told which run begins.
    """
    clock, steps = Clock(device), list[float]()
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    decoding: dict[str, list[float]] = {name: [] for name in runs}  # seconds a token
    tokens: dict[str, int] = {}
    first = {name: 1 - (warm or {}).get(name, 1) for name in runs}
    for turn in range(min(first.values()), repeats + 1):
        for name, run in runs.items():
            if turn < first[name]:
                continue
            say(f"turn {turn} of {repeats}: {name}" if turn > 0 else f"warming up: {name}")
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
    """What a step costs in those of another kind: the median of pairs run in turn."""
    clock = Clock(device)
    return statistics.median([clock(step) / clock(other) for _ in range(2 * BASE_STEPS)][BASE_STEPS // 2 :])


def _timed(clock: Clock, run: Callable[[], list[list[int]]]) -> tuple[int, float]:
    """The tokens that a run made, and its seconds."""
    made: list[list[int]] = []
    seconds = clock(lambda: made.extend(run()))
    return sum(map(len, made)), seconds


def peak_memory(command: Sequence[str]) -> float:
    """MiB at the peak of a command: what it says (see `said_peak`), else resident (Linux and macOS).

    Raises RuntimeError with the error that it printed where it fails, or takes longer than half an hour.
    """
    script = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, timeout=1800, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.stdout)"
    )
    python, *_ = command
    done = subprocess.run([python, "-c", script, *command], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.partition("Traceback")[2].splitlines() if line[:1].strip()]
        raise RuntimeError((said or ["it failed"])[0][-300:])
    if SAYS_PEAK in done.stdout:
        return float(done.stdout.rpartition(SAYS_PEAK)[2])
    return int(done.stdout.split()[0]) / (1024 if platform.system() == "Linux" else 1024**2)


def said_peak(device: torch.device) -> str:
    """What a process whose tensors are on a GPU says of its peak, in MiB; nothing on a CPU."""
    return f"{SAYS_PEAK}{torch.cuda.max_memory_reserved(device) / 2**20:.0f}" if device.type == "cuda" else ""


def machine(device: torch.device, threads: int) -> dict[str, str]:
    """What the figures depend on."""
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
