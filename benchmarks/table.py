"""Tables of a comparison, for the terminal and for the page of the docs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.measure import Measured

SEQUENTIAL, MIXED, PLAIN = (
    "token by token, one pass per adapter",
    "token by token, PEFT's mixed batch",
    "generate, base alone",
)
HEAD = (
    "contender",
    "tokens/s",
    "range",
    "× sequential",
    "× mixed",
    "× generate",
    "steps/token",
    "decoding",
    "tokens",
    "accepted",
    "tokens/pass",
    "bias bound",
    "peak MiB",
)


@dataclass(frozen=True)
class Table:
    """The results for one model with a number of experts of equal weight."""

    subject: str
    experts: int
    scale: float
    served_step: float | None  # a pass of the bare base in mpg's layout, in base steps, if that differs
    prompts: int
    limit: int  # tokens of a reply
    rows: tuple[Measured, ...]
    wanted: float | None = None  # the acceptance rate for which the weight was chosen,
    reached: float | None = None  # and the one it reaches

    def times(self, name: str) -> Mapping[str, float]:
        """Each contender's speed relative to this one; empty if it was not run."""
        one = next((row.speed for row in self.rows if row.name == name), None)
        return {} if one is None else {row.name: row.speed / one for row in self.rows}

    @property
    def best(self) -> Measured:
        """mpg's fastest contender with the text of token-by-token decoding, including the latter."""
        exact = [row for row in self.rows if row.name.startswith("mpg, ") and "threshold" not in row.name]
        return max(exact, key=lambda row: row.speed)

    def cells(self) -> list[tuple[str, ...]]:
        """The cells as text, the header first."""
        ratios = [self.times(name) for name in (SEQUENTIAL, MIXED, PLAIN)]
        lines: list[tuple[str, ...]] = [HEAD]
        for row in self.rows:
            lines.append(
                (
                    row.name,
                    f"{row.speed:.1f}",
                    f"{min(row.speeds):.1f}–{max(row.speeds):.1f}",
                    *(f"{ratio[row.name]:.2f}" if ratio else "" for ratio in ratios),
                    f"{row.base_steps:.2f}",
                    "" if row.decode_steps is None else f"{row.decode_steps:.2f}",
                    "" if row.tokens is None else f"{row.tokens}",
                    "" if row.acceptance is None else f"{100 * row.acceptance:.0f} %",
                    "" if row.committed is None else f"{row.committed:.2f}",
                    "" if row.bias_bound is None else f"{row.bias_bound:.3f}",
                    "" if row.memory is None else f"{row.memory:.0f}",
                )
            )
        return lines


def conditions(found: Table) -> str:
    """The conditions of a measurement, in words."""
    turns = max(len(row.speeds) for row in found.rows)
    parts = [f"{found.prompts} prompts, replies of at most {found.limit} tokens, timed {turns} times."]
    parts += [f"Each expert has weight {found.scale:.3g}" + (": " if found.wanted else ".")]
    if found.wanted and found.reached:
        parts[-1] += (
            f"merged drafts of 4 are then accepted at {100 * found.reached:.0f} % "
            f"({100 * found.wanted:.0f} % on the bundled model)."
        )
    if found.served_step is not None:
        parts += [
            f"A pass of the bare base in mpg's layout of weights takes {found.served_step:.2f} base steps."
        ]
    return " ".join(parts)


def title(table: Table) -> str:
    """The model and the number of experts."""
    experts = "1 expert" if table.experts == 1 else f"{table.experts} experts"
    return f"{table.subject}, {experts}"


def table(found: Table) -> str:
    """A table for the terminal."""
    lines = found.cells()
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEAD))]
    shown = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join([title(found), *shown, ""])


def markdown(found: Table) -> str:
    """A table for the docs."""
    head, *lines = found.cells()
    rows = [head, ("---", *["---:"] * (len(HEAD) - 1)), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
