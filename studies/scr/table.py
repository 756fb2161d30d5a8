"""Measures with their intervals, and the CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studies.scr.grid import Setting
from studies.scr.measure import Measured

RESAMPLES = 1000
COLUMNS = ("rule", "drafter", "gamma", "quantile", "fixed", "candidates", "ahead")


@dataclass(frozen=True)
class Value:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """The results of one setting."""

    setting: Setting
    replies: int
    same_text: float  # share of replies whose text is that of token-by-token decoding for the same seed
    values: Mapping[str, Value]  # by measure; absent if its denominator is 0

    def mean(self, measure: str) -> float | None:
        """The mean of a measure, if there is one."""
        return self.values[measure].mean if measure in self.values else None


def summarise(setting: Setting, replies: Sequence[Measured], baseline: Sequence[Measured]) -> Result:
    """Ratios of sums over all replies; the intervals resample prompts (percentile bootstrap, seeded).

    `same_text` compares with the baseline, token-by-token decoding.
    """
    prompts = max(one.prompt for one in replies) + 1
    generator = np.random.default_rng(0)
    picks = generator.integers(0, prompts, size=(RESAMPLES, prompts))
    values = {}
    for measure in replies[0].counts:
        sums = np.zeros((prompts, 2))
        for one in replies:
            sums[one.prompt] += one.counts[measure]
        if sums[:, 1].sum() == 0:
            continue
        mean = sums[:, 0].sum() / sums[:, 1].sum()
        drawn = sums[picks].sum(axis=1)  # (RESAMPLES, 2)
        ratios = drawn[:, 0] / np.maximum(drawn[:, 1], 1e-12)
        low, high = np.percentile(ratios, [2.5, 97.5])
        values[measure] = Value(float(mean), float(low), float(high))
    texts = {(one.prompt, one.seed): one.tokens for one in baseline}
    same = [one.tokens == texts[one.prompt, one.seed] for one in replies if (one.prompt, one.seed) in texts]
    return Result(setting, len(replies), sum(same) / max(1, len(same)), values)


def write_csv(file: Path, results: Iterable[Result]) -> None:
    """One line per setting: its fields, then each measure with its interval."""
    results = list(results)
    measures = list(dict.fromkeys(name for result in results for name in result.values))
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        ends = [f"{measure}{end}" for measure in measures for end in ("", "_low", "_high")]
        writer.writerow([*COLUMNS, "replies", "same_text", *ends])
        for result in results:
            cells: list[object] = [getattr(result.setting, column) for column in COLUMNS]
            cells += [result.replies, f"{result.same_text:.4g}"]
            for measure in measures:
                value = result.values.get(measure)
                numbers = ("", "", "") if value is None else (value.mean, value.low, value.high)
                cells += [x if x == "" else f"{x:.5g}" for x in numbers]
            writer.writerow(cells)
