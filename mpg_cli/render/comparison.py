"""The output of `mpg eval compare`: a table, JSON or CSV, and a plot of presence against fluency."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

from mpg_cli.errors import MpgError
from mpg_cli.evaluation.bootstrap import Estimate
from mpg_cli.evaluation.metrics import Metrics
from mpg_cli.evaluation.study import Comparison
from mpg_cli.io.terminal import Streams, clean
from mpg_cli.io.text import width
from mpg_cli.render.style import prompts

FIGURES = ("minimum", "mean", "all_together", "fluency")


def write_as(streams: Streams, found: Comparison, form: Literal["text", "json", "csv"]) -> None:
    """Write a table, one JSON object, or CSV."""
    if form == "json":
        streams.stdout.write(json.dumps(found.as_json(), ensure_ascii=False) + "\n")
    elif form == "csv":
        write_csv(streams.stdout, [found])
    else:
        write_comparison(streams.stdout, found, color=streams.color and streams.stdout_tty)


def write_comparison(stream: TextIO, found: Comparison, *, color: bool) -> None:
    """Write a row per method, then the differences between exact and the best other method."""
    head = f"{found.persona} on {found.model}, {prompts(found.ours)}, seed {found.seed}"
    rows = [[*_heads(found), *map(clean, found.ours.personas)], *map(_row, found.methods)]
    lines = [_bold(clean(head), color), "", *_table(rows, found, color), "", *differences(found)]
    stream.write("\n".join(lines) + "\n")


def differences(found: Comparison) -> list[str]:
    """The differences between exact and the best other method, and the legend of the table."""
    different, other = found.differences, found.differences.other
    equal, of = found.as_token_by_token
    lines = [
        f"exact compared with {clean(other)}, the other method with the largest minimum:",
        f"  minimum   {_points(different.least)}",
        f"  mean      {_points(different.mean)}",
        f"  all       {_points(different.together)}",
    ]
    if different.fluency is not None:
        lines.append(f"  fluency   {_signed(different.fluency)} nats per token")
    return [
        *lines,
        "",
        f"{equal} of {of} replies of exact are identical to token-by-token decoding.",
        clean(f"Judged by {found.judged_by}."),
        "min, mean: presence over personas; all: replies that show every persona; fluency: nats per token",
        "under the base; brackets: 95 % paired bootstrap over the prompts. threshold has exact's target.",
    ]


def _heads(found: Comparison) -> list[str]:
    return ["method", "min", "mean", "all", "fluency", "self-BLEU", "tokens", "tokens/s"]


def _row(own: Metrics) -> list[str]:
    return [
        clean(own.method),
        _share(own.least),
        _share(own.mean),
        _share(own.together),
        "-" if own.fluency is None else f"{own.fluency.value:.3f}",
        "-" if own.self_bleu is None else f"{own.self_bleu:.3f}",
        f"{own.length:.0f}",
        "-" if own.tokens_per_second is None else f"{own.tokens_per_second:.0f}",
        *(_share(shown) for shown in own.presence),
    ]


def _table(rows: Sequence[Sequence[str]], found: Comparison, color: bool) -> list[str]:
    """Aligned columns, the first to the left; the row of exact is bold."""
    wide = [max(width(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        first = row[0] + " " * (wide[0] - width(row[0]))
        cells = [" " * (size - width(cell)) + cell for cell, size in zip(row[1:], wide[1:], strict=True)]
        lines.append(_bold("  ".join([first, *cells]), color and number == len(rows) - 1))
    return lines


def write_csv(stream: TextIO, comparisons: Sequence[Comparison]) -> None:
    """Write a row per method and blend, with the ends of intervals in columns of their own."""
    spans = [f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")]
    rest = ("distinct_1", "distinct_2", "distinct_3", "self_bleu", "length", "tokens_per_second")
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["model", "persona", "prompts", "seed", "method", *spans, *rest, "presence"])
    for found in comparisons:
        for own in found.methods:
            data = own.as_json()
            numbers = [number for figure in FIGURES for number in _span(data[figure])]
            numbers += [*own.distinct.values(), own.self_bleu, own.length, own.tokens_per_second]
            shown = " ".join(
                f"{name}={e.value:.4f}" for name, e in zip(own.personas, own.presence, strict=True)
            )
            table.writerow(
                [
                    found.model,
                    found.persona,
                    len(own.prompts),
                    found.seed,
                    own.method,
                    *(("" if number is None else f"{number:.4f}") for number in numbers),
                    shown,
                ]
            )


def _span(data: dict[str, Any] | None) -> tuple[float | None, ...]:
    return (None,) * 3 if data is None else (data["value"], *data["interval"])


def write_plot(path: Path, found: Comparison) -> None:
    """Plot the minimum presence against fluency, a point per method. Raises MpgError for a failed write."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    for own in found.methods:
        if own.least is None or own.fluency is None:
            continue
        ours = own is found.ours
        axes.errorbar(
            [own.fluency.value],
            [own.least.value],
            xerr=[[own.fluency.value - own.fluency.low], [own.fluency.high - own.fluency.value]],
            yerr=[[own.least.value - own.least.low], [own.least.high - own.least.value]],
            fmt="*" if ours else "o",
            color="C3" if ours else None,
            markersize=12 if ours else 5,
            linewidth=0.8,
        )
        at = (own.fluency.value, own.least.value)
        label = own.method.replace("$", r"\$")
        axes.annotate(label, at, textcoords="offset points", xytext=(6, 4), fontsize="small")
    title = clean(f"{found.persona} on {found.model}").replace("$", r"\$")
    axes.set(
        title=title,
        xlabel="fluency: nats per token under the base (right is better)",
        ylabel="minimum presence over the personas",
        ylim=(-0.03, 1.03),
    )
    try:
        figure.savefig(path)
    except OSError as error:
        raise MpgError(f"--plot {path} cannot be written: {error.strerror}") from None
    finally:
        plt.close(figure)


def _share(own: Estimate | None) -> str:
    return "-" if own is None else f"{own.value:.0%}"


def _points(own: Estimate) -> str:
    """A difference of shares in percentage points."""
    certain = "" if own.excludes_zero else "  within chance"
    return f"{100 * own.value:+.1f} points [{100 * own.low:+.1f}, {100 * own.high:+.1f}]{certain}"


def _signed(own: Estimate) -> str:
    return f"{own.value:+.3f} [{own.low:+.3f}, {own.high:+.3f}]"


def _bold(text: str, color: bool) -> str:
    return f"\x1b[1m{text}\x1b[22m" if color else text
