"""Start-up time of `mpg`, as a multiple of that of a bare interpreter.

    python -m benchmarks.startup [RUNS]

Runs are interleaved. Ratios are of medians of processor time (less affected by other processes) and of
wall-clock time. The slowest imports are listed for each command.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time

RUNS = 15
IMPORT_RUNS = 3
SHOWN = 8  # imports per command
# An installed package has compiled modules; a checkout has none where Python may not write them.
_ENVIRONMENT = {key: text for key, text in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
# The same as the script `mpg`.
START = "import sys; sys.argv[0] = 'mpg'; from mpg_cli.__main__ import main; sys.exit(main())"
MPG = [sys.executable, "-c", START]


def completing(*words: str) -> dict[str, str]:
    """The environment that bash sets for completion after these words."""
    return {
        "_MPG_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }


# Command line, environment, and the limit as a multiple of a bare interpreter's start.
COMMANDS: dict[str, tuple[list[str], dict[str, str], float | None]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], {}, None),
    "import typer": ([sys.executable, "-c", "import typer"], {}, None),
    "mpg --help": ([*MPG, "--help"], {}, 9),
    "mpg gen<TAB>": (MPG, completing("mpg", "gen"), 9),
    "mpg generate --max<TAB>": (MPG, completing("mpg", "generate", "--max"), 9),
    "mpg generate -p pir<TAB>": (MPG, completing("mpg", "generate", "-p", "pir"), 14),
    "mpg personas list": ([*MPG, "personas", "list"], {}, 16),
}


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of processor time and of wall-clock time."""
    began = time.perf_counter()
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen(
            command, env={**_ENVIRONMENT, **environment}, stdout=nowhere, stderr=nowhere
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began


def imports(command: list[str], environment: dict[str, str]) -> list[tuple[str, float]]:
    """Modules with their own import time in ms, the slowest first; the minimum over some runs."""
    least: dict[str, float] = {}
    for _ in range(IMPORT_RUNS):
        log = subprocess.run(
            [command[0], "-X", "importtime", *command[1:]],
            env={**_ENVIRONMENT, **environment},
            capture_output=True,
            text=True,
        ).stderr
        for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", log):
            least[name] = min(float(own) / 1000, least.get(name, float("inf")))
    return sorted(least.items(), key=lambda entry: -entry[1])


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for command, environment, _ in COMMANDS.values():
        timed(command, environment)  # compiles the modules
    for _ in range(runs):
        for name, (command, environment, _) in COMMANDS.items():
            times[name].append(timed(command, environment))
    medians = {
        name: (statistics.median(cpu for cpu, _ in found), statistics.median(wall for _, wall in found))
        for name, found in times.items()
    }
    bare = medians["python -c pass"]
    print(f"{'':28}{'CPU ms':>8}{'ratio':>8}{'wall ms':>9}{'ratio':>8}{'at most':>9}")
    for name, (cpu, wall) in medians.items():
        most = COMMANDS[name][2]
        limit = "" if most is None else f"{most:g}"
        print(
            f"{name:28}{cpu * 1000:8.1f}{cpu / bare[0]:8.2f}{wall * 1000:9.1f}{wall / bare[1]:8.2f}{limit:>9}"
        )
    for name, (command, environment, most) in COMMANDS.items():
        if most is not None:
            slowest = imports(command, environment)
            shown = ", ".join(f"{module} {ms:.1f}" for module, ms in slowest[:SHOWN])
            print(f"\n{name}: {len(slowest)} imports, {sum(ms for _, ms in slowest):.0f} ms: {shown}")


if __name__ == "__main__":
    main()
