"""The output of `mpg eval mbti`: bars, a table or JSON, and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from mpg_cli.errors import MpgError
from mpg_cli.evaluation.mbti import Findings
from mpg_cli.evaluation.questionnaire import DIMENSIONS
from mpg_cli.evaluation.scores import Score
from mpg_cli.io.terminal import Streams, clean

HALF = 15  # columns of a bar on either side


def write_as(streams: Streams, found: Findings, *, as_json: bool, table: bool) -> None:
    """Write one JSON object, a table of several blends, or bars of one."""
    if as_json:
        streams.stdout.write(json.dumps(found.as_json(), ensure_ascii=False) + "\n")
    elif table:
        write_table(streams.stdout, found)
    else:
        write_report(streams.stdout, found, color=streams.color and streams.stdout_tty)


def write_report(stream: TextIO, found: Findings, *, color: bool) -> None:
    """Write the type, and for each dimension a bar, the score and the difference to the base."""
    sheet = found.sheets[0]
    name = clean(f"{sheet.persona} on {found.model}")
    lines = [f"{name}: {_bold(sheet.type, color)}   (base: {found.base.type})", ""]
    for own, base, moved in zip(sheet.scores, found.base.scores, found.shift(sheet), strict=True):
        first, second = tuple(own.dimension)
        chance = "" if own.excludes_chance else "  within chance"
        lines += [
            f"blend  {first} {bar(own.value, '█')} {second}  {_interval(own)}  {_leaning(own)}{chance}",
            f"base   {first} {bar(base.value, '▒')} {second}  {_interval(base)}  {_leaning(base)}",
            f"{'moved':<{2 * HALF + 14}}{_interval(moved)}" + ("" if moved.excludes_chance else "  chance"),
            "",
        ]
    stream.write("\n".join([*lines, legend(found)]) + "\n")


def legend(found: Findings) -> str:
    """The legend of the numbers."""
    return (
        "Scores run from +1 (all first pole) over 0 (chance) to -1 (all second pole), with 95 % t-intervals\n"
        f"over the items; moved is the difference to the base, item by item. Readout {found.readout}, "
        f"target {found.target}."
    )


def bar(value: float, mark: str) -> str:
    """A bar from the centre: to the left for the first pole, to the right for the second."""
    size = round(abs(value) * HALF)
    left, right = (size, 0) if value > 0 else (0, size)
    return "·" * (HALF - left) + mark * left + "│" + mark * right + "·" * (HALF - right)


def write_table(stream: TextIO, found: Findings) -> None:
    """Write a row per blend, the base first, and the confusion matrix of the types."""
    wide = max(len(sheet.persona) for sheet in (found.base, *found.sheets))
    heads = "  ".join(f"{dimension:<20}" for dimension in _dimensions(found))
    lines = [f"{'':{wide}}  type  {heads}".rstrip()]
    for sheet in (found.base, *found.sheets):
        cells = "  ".join(f"{_interval(score):<20}" for score in sheet.scores)
        lines.append(f"{sheet.persona:{wide}}  {sheet.type:<4}  {cells}".rstrip())
    intended = [sheet.persona.split("+")[0] for sheet in found.sheets]
    scored = [sheet.type for sheet in found.sheets]
    lines += ["", *confusion(intended, scored), "", recovered(intended, scored), "", legend(found)]
    stream.write(clean("\n".join(lines)) + "\n")


def confusion(intended: Sequence[str], scored: Sequence[str]) -> list[str]:
    """The confusion matrix: a row per persona's type, a column per scored type."""
    lines = [
        ("score" if place == 0 else "").ljust(6) + " ".join(name[place] for name in intended)
        for place in range(len(scored[0]))
    ]
    for own, found in zip(intended, scored, strict=True):
        marks = ("●" if name == found == own else "○" if name == found else "·" for name in intended)
        lines.append(f"{own:<6}" + " ".join(marks))
    return lines


def recovered(intended: Sequence[str], scored: Sequence[str]) -> str:
    """The number of types recovered, and of letters in each dimension."""
    pairs = list(zip(intended, scored, strict=True))
    right = sum(own == found for own, found in pairs)
    letters = [
        f"{dimension} {sum(own[place] == found[place] for own, found in pairs)}"
        for place, dimension in enumerate(DIMENSIONS)
    ]
    return f"{right} of {len(intended)} types recovered; letters: {', '.join(letters)}"


def write_plot(path: Path, found: Findings) -> None:
    """Plot scores with intervals, a panel per dimension. Raises MpgError if the file cannot be written."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    sheets = (found.base, *found.sheets)
    names = [sheet.persona for sheet in sheets]
    count = len(found.base.scores)
    size = (2.4 * count + 1, 1.2 + 0.28 * len(sheets))
    figure, panels = plt.subplots(1, count, sharey=True, figsize=size, constrained_layout=True, squeeze=False)
    for place, axes in enumerate(panels[0]):
        for row, sheet in enumerate(sheets):
            score = sheet.scores[place]
            own = "grey" if sheet is found.base else "C0" if score.value > 0 else "C1"
            axes.plot([score.low, score.high], [row, row], color=own)
            axes.plot([score.value], [row], "o", color=own, markersize=4)
        first, second = tuple(found.base.scores[place].dimension)
        axes.axvline(0, color="grey", linestyle=":")
        axes.set(title=f"{first} (left) or {second}", xlim=(1, -1), yticks=range(len(names)))
        axes.set_yticklabels([name.replace("$", r"\$") for name in names])
        axes.tick_params(labelsize="small")
    panels[0][0].set_ylim(len(sheets) - 0.5, -0.5)
    try:
        figure.savefig(path)
    except OSError as error:
        raise MpgError(f"--plot {path} cannot be written: {error.strerror}") from None
    finally:
        plt.close(figure)


def _dimensions(found: Findings) -> list[str]:
    return [score.dimension for score in found.base.scores]


def _interval(score: Score) -> str:
    return f"{score.value:+.2f} [{score.low:+.2f}, {score.high:+.2f}]"


def _leaning(score: Score) -> str:
    return f"{score.first} of {score.items} lean to {score.dimension[0]}"


def _bold(text: str, color: bool) -> str:
    return f"\x1b[1m{text}\x1b[22m" if color else text
