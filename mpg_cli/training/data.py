"""Read training data from files: the usable rows, and a `Problem` for each of the others.

The caller decides whether problems end the run. Independent of the tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpg_cli.errors import UsageError
from mpg_cli.io.json_rows import RowError, read_rows
from mpg_cli.io.text import visible
from mpg_cli.training.columns import read_row
from mpg_cli.training.rows import FIELDS, Method, Row, Turn

MIN_ROWS = 10  # fewer rows are only memorised
LISTED = 10  # problems that a message lists one by one
A_ROW = 'a row is an object on its line, as in {"prompt": "…", "response": "…"}'


@dataclass(frozen=True)
class Problem:
    """A row that is left out: its place, the kind of error, and the message."""

    where: str
    kind: str
    message: str


@dataclass(frozen=True)
class Data:
    """The usable rows in order, the problems, and the columns that were not read."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """BLAKE2b of the usable rows, without their places."""
        digest = hashlib.blake2b(digest_size=16)
        for row in self.rows:
            digest.update(json.dumps([row.prompt, row.replies, row.imitated]).encode() + b"\n")
        return digest.hexdigest()


def read_data(files: Sequence[Path], method: Method) -> Data:
    """Rows of all files in order. Raises UsageError for a file that cannot be read or holds no rows."""
    rows: list[Row] = []
    problems: list[Problem] = []
    unread: dict[str, None] = {}  # in order
    for file in files:
        for line, item in read_rows(file, A_ROW):
            where = f"{visible(str(file))}:{line}"
            try:
                row, beside = read_row(item, method, where)
            except RowError as error:
                rest = "; the rest of the file is skipped" if error.last else ""
                problems.append(Problem(where, error.kind, f"{error}{rest}"))
            else:
                rows.append(row)
                unread |= dict.fromkeys(beside)
    if not rows and not problems:
        raise UsageError(
            f"{', '.join(visible(str(file)) for file in files)} holds no data",
            hint=_expected(method),
        )
    return Data(tuple(rows), tuple(problems), tuple(unread))


def describe_problems(problems: Sequence[Problem], listed: int = LISTED) -> list[str]:
    """One line per problem up to `listed` (one if all messages are equal), and the rest counted by kind."""
    if len({problem.message for problem in problems}) == 1:
        listed = 1
    lines = [f"{problem.where}: {problem.message}" for problem in problems[:listed]]
    rest = Counter(problem.kind for problem in problems[listed:])
    if rest:
        lines.append(
            f"and {sum(rest.values())} more: {', '.join(f'{n} × {kind}' for kind, n in rest.items())}"
        )
    return lines


def check_enough(count: int, method: Method, left_out: int, hint: str | None = None) -> None:
    """Raise UsageError if `count` rows are too few to train on; `hint` replaces the usual remedy."""
    if count < MIN_ROWS:
        what = "pairs" if method == "dpo" else "rows"
        rest = f"; {left_out} more cannot be used" if left_out else ""
        usual = "use some hundred rows per persona" if count or not left_out else _expected(method)
        raise UsageError(
            f"too little data: {count} usable {what}{rest}, at least {MIN_ROWS} are needed",
            hint=hint or usual,
        )


def hold_out(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Split rows for training and evaluation so that no opening of a conversation is in both.

    `share` of the rows, at least one if it is not 0, are held out, chosen with `seed`; both parts keep the
    order of the data. If every opening has more rows than that, openings are ignored.
    """
    wanted = max(1, round(share * len(rows))) if share else 0
    by_opening: dict[tuple[Turn, ...], list[int]] = {}
    for index, row in enumerate(rows):
        by_opening.setdefault(row.opening, []).append(index)
    groups = list(by_opening.values())
    if min(map(len, groups)) > wanted:
        groups = [[index] for index in range(len(rows))]
    random.Random(seed).shuffle(groups)
    held: set[int] = set()
    for group in groups:
        if len(held) + len(group) <= wanted:
            held.update(group)
    return (
        [row for index, row in enumerate(rows) if index not in held],
        [row for index, row in enumerate(rows) if index in held],
    )


def _expected(method: Method) -> str:
    fields = ", ".join(f'"{name}": …' for name in ("prompt", *FIELDS[method]))
    return f"give one JSON object per line: {{{fields}}}"
