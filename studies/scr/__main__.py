"""Run the study and write docs/scr.md, its plots and docs/scr/results.csv.

python -m studies.scr            # about 40 minutes on two cores
python -m studies.scr --short    # in a minute, results without meaning
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from recipes.mpg_tiny.heldout import PROMPTS
from studies.scr.grid import GAMMAS, Setting, grid
from studies.scr.measure import Measured
from studies.scr.page import write_page
from studies.scr.plots import write_plots
from studies.scr.table import Result, summarise, write_csv
from studies.scr.worker import initialise, measure

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 160  # tokens of a reply


def run(prompts: int, seeds: int, longest: int, gammas: tuple[int, ...], jobs: int) -> list[Result]:
    """Measure every setting of the grid in `jobs` single-threaded processes; prints progress."""
    step = max(1, len(PROMPTS) // prompts)
    questions = PROMPTS[::step][:prompts]
    settings = list(grid(gammas))
    began = time.perf_counter()
    results: list[Result] = []
    baseline: list[Measured] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initialise, (questions, seeds, longest)) as pool:
        for number, replies in enumerate(pool.map(measure, settings), 1):
            setting = settings[number - 1]
            baseline = baseline or replies
            results.append(summarise(setting, replies, baseline))
            spent = time.perf_counter() - began
            print(f"{spent:6.0f} s  {number}/{len(settings)}  {_line(setting, results[-1])}", flush=True)
    return results


def _line(setting: Setting, result: Result) -> str:
    committed, shown = result.mean("committed_per_pass") or 0.0, result.mean("shown") or 0.0
    return f"{setting.label}: {committed:.2f} tokens per pass, shown {shown:.0%}, same {result.same_text:.0%}"


def main(arguments: list[str] | None = None) -> int:
    """Command line of the study."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.scr",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help="folder of scr.md and scr/ (default: docs of this checkout)")
    parser.add_argument(
        "--short", action="store_true", help="few prompts and chunk sizes, short replies; needs --out"
    )
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each (default 2)")
    args = parser.parse_args(arguments)
    if args.short and args.out is None:
        parser.error("--short needs --out: it would overwrite the real results")
    out: Path = args.out or ROOT / "docs"
    prompts, seeds, longest = (2, 1, 30) if args.short else (args.prompts, args.seeds, LONGEST)
    began = time.perf_counter()
    results = run(prompts, seeds, longest, (4,) if args.short else GAMMAS, args.jobs)
    (out / "scr").mkdir(parents=True, exist_ok=True)
    write_csv(out / "scr" / "results.csv", results)
    write_plots(out / "scr", results)
    write_page(out / "scr.md", results, prompts, seeds, longest)
    print(f"done: {(time.perf_counter() - began) / 60:.1f} min", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
