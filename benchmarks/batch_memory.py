"""Memory of `mpg batch` over a long file, two tokens per line: it must not grow with the number of lines.

    python -m benchmarks.batch_memory                 # 100,000 lines
    python -m benchmarks.batch_memory --lines 20000

Prints the resident memory of the process at each tenth of the file. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def resident(pid: int) -> float:
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def lines_of(file: Path, seen: int, place: int) -> tuple[int, int]:
    """The number of lines of a growing file and its size, continuing from the last count."""
    if not file.exists():
        return seen, place
    with file.open("rb") as stream:
        stream.seek(place)
        block = stream.read()
    return seen + block.count(b"\n"), place + len(block)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=100_000)
    count = parser.parse_args().lines
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        with source.open("w", encoding="utf-8") as lines:
            for n in range(count):
                lines.write(json.dumps({"id": f"line-{n}", "prompt": f"Question {n}"}) + "\n")
        command = [sys.executable, "-m", "mpg_cli", "batch", str(source), "-o", str(out), "-p", "pirate"]
        options = ["--max-tokens", "2", "--seed", "1", "--batch-size", "32", "--model", "mpg-tiny", "-q"]
        began = time.perf_counter()
        process = subprocess.Popen([*command, *options])
        seen = place = 0
        for tenth in range(1, 11):
            while seen < count * tenth // 10 and process.poll() is None:
                time.sleep(0.05)
                seen, place = lines_of(out, seen, place)
            if process.poll() is None:
                print(f"{seen:7d} lines: {resident(process.pid):6.0f} MiB", flush=True)
        code = process.wait()
        print(f"{count} lines in {time.perf_counter() - began:.0f} s, exit code {code}")


if __name__ == "__main__":
    main()
