"""Run the study and write docs/blends.md, docs/blends/results.csv and docs/blends/presence.svg.

python -m studies.blends                       # ten to twelve minutes on two cores
python -m studies.blends --quick --out FOLDER  # a few short replies, without meaning
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from studies.blends.bench import BLENDS, Size
from studies.blends.blend import OURS, Outcome, study
from studies.blends.page import write_page, write_plot, write_results

ROOT = Path(__file__).resolve().parents[2]
QUICK = Size(tuning=2, reported=3, longest=24)


def run(blends: Sequence[Sequence[str]], size: Size, jobs: int) -> list[Outcome]:
    """Study every blend in `jobs` single-threaded processes, the largest first; prints progress."""
    began = time.perf_counter()
    found: dict[int, Outcome] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        order = sorted(range(len(blends)), key=lambda at: -len(blends[at]))
        running = {pool.submit(study, blends[at], size): at for at in order}
        for done in as_completed(running):
            outcome = found[running[done]] = done.result()
            ours, other = (outcome.methods[name].least for name in (OURS, outcome.best))
            assert ours is not None
            assert other is not None
            print(
                f"{time.perf_counter() - began:6.0f} s  {len(found)}/{len(blends)}  {outcome.expression}: "
                f"exact {ours.value:.0%}, {outcome.best} {other.value:.0%} ({outcome.seconds:.0f} s)",
                flush=True,
            )
    return [found[at] for at in range(len(blends))]


def main(arguments: list[str] | None = None) -> int:
    """Command line of the study."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.blends",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help="folder of blends.md and blends/ (default: docs)")
    parser.add_argument("--quick", action="store_true", help="two blends, a few short replies; needs --out")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each (default 2)")
    args = parser.parse_args(arguments)
    if args.quick and args.out is None:
        parser.error("--quick needs --out: it would overwrite the real results")
    out: Path = args.out or ROOT / "docs"
    size, blends = (QUICK, BLENDS[:1] + BLENDS[9:10]) if args.quick else (Size(), BLENDS)
    began = time.perf_counter()
    outcomes = run(blends, size, args.jobs)
    (out / "blends").mkdir(parents=True, exist_ok=True)
    write_results(out / "blends" / "results.csv", outcomes)
    write_plot(out / "blends" / "presence.svg", outcomes)
    write_page(out / "blends.md", outcomes, size)
    print(f"done: {(time.perf_counter() - began) / 60:.1f} min", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
