"""Options that benchmarks and studies share."""

from __future__ import annotations

import argparse

import torch

MOST_THREADS = 2  # as for the committed figures


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add --threads. By default OMP_NUM_THREADS counts, so that runs side by side do not wait for cores."""
    parser.add_argument(
        "--threads",
        type=positive,
        default=min(MOST_THREADS, torch.get_num_threads()),
        help="of torch (default %(default)s)",
    )


def positive(text: str) -> int:
    """A whole number above 0, as the type of an argument."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
