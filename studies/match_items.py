"""Re-pair the options of the built-in questionnaire so that the bundled base prefers neither side.

`python -m studies.match_items` measures the base's preference for every pair of options of opposite poles and
chooses the KEPT disjoint pairs of each dimension with the least total squared preference; half of the items
name the first pole first. Experts are not used. Run it after retraining the base (half a minute), then
`python -m studies.eval_mbti` and the tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from mpg_cli.evaluation.item_files import BUILT_IN, read_items
from mpg_cli.evaluation.mbti import Quiz, run
from mpg_cli.evaluation.questionnaire import DIMENSIONS, Item, Option
from mpg_cli.options.model import ModelOptions

KEPT = 24  # items per dimension; the other options are dropped


def main() -> None:
    """Measure preferences of the base, pair the options and write the items."""
    items = read_items(BUILT_IN)
    matched = [item for dimension in DIMENSIONS for item in match(of(items, dimension))]
    write(matched, BUILT_IN)


def of(items: Sequence[Item], dimension: str) -> list[Item]:
    """The items of one dimension."""
    return [item for item in items if item.dimension == dimension]


def match(items: Sequence[Item]) -> list[Item]:
    """The options of these items, re-paired for the least preference of the base."""
    text = items[0].text
    sides = [
        [option for item in items for option in item.options if option.value == sign] for sign in (1, -1)
    ]
    every = tuple(Item(items[0].dimension, text, (one, other)) for one in sides[0] for other in sides[1])
    leaning = np.array(preference(every)).reshape(len(sides[0]), len(sides[1]))  # (first, second)
    rows, columns = _least(leaning**2, KEPT)
    figures = ", ".join(f"{name} {value:+.3f}" for name, value in _figures(leaning[rows, columns]))
    print(f"{items[0].dimension}: {figures}", flush=True)
    pairs = [(sides[0][row], sides[1][column]) for row, column in zip(rows, columns, strict=True)]
    return [
        Item(items[0].dimension, text, pair if number % 2 == 0 else pair[::-1])
        for number, pair in enumerate(pairs)
    ]


def _least(cost: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cheapest pairing of `kept` pairs; the rest is assigned to free padding."""
    rows, columns = cost.shape
    padded = np.zeros((2 * rows - kept, 2 * columns - kept))
    padded[:rows, :columns] = cost
    padded[rows:, columns:] = cost.sum() + 1  # never pair padding with padding
    found_rows, found_columns = linear_sum_assignment(padded)
    real = (found_rows < rows) & (found_columns < columns)
    return found_rows[real], found_columns[real]


def preference(items: tuple[Item, ...]) -> tuple[float, ...]:
    """The answers of the base alone: 1 is all first pole, -1 all second."""
    model = ModelOptions("mpg-tiny", device="cpu", dtype="float32")
    return run(Quiz((), (), items, model)).base.answers


def _figures(values: np.ndarray) -> list[tuple[str, float]]:
    return [("mean", float(values.mean())), ("mean size", float(np.abs(values).mean()))]


def write(items: Sequence[Item], file: Path) -> None:
    """Write one item per line."""
    rows = ",\n ".join(json.dumps(_row(item), ensure_ascii=False) for item in items)
    file.write_text(f"[\n {rows}\n]\n", encoding="utf-8")


def _row(item: Item) -> dict[str, object]:
    sides = {side: _side(item, option) for side, option in zip("AB", item.options, strict=True)}
    return {"dimension": item.dimension, "question": item.text, **sides}


def _side(item: Item, option: Option) -> dict[str, str]:
    return {"text": option.text, "pole": item.dimension[0 if option.value > 0 else 1]}


if __name__ == "__main__":
    main()
