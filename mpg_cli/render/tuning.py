"""The output of `mpg tune`: a table and a curve, JSON, and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mpg_cli.engine.profile import Choice, Profile
from mpg_cli.errors import MpgError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

CURVE = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # chunk sizes of the curve
BAR = 32  # columns
WIDTH = 120  # columns outside a terminal
PLOTS = (".svg", ".png", ".pdf")


def token_by_token(profile: Profile) -> Choice:
    """The baseline: decoding without drafts."""
    return next(choice for choice in profile.choices if choice.drafter == "none")


def write_report(stream: TextIO, profile: Profile, *, color: bool) -> None:
    """Write the table, the curve of the best drafter, and the options to use it."""
    from rich.console import Console

    width = None if stream.isatty() else WIDTH
    console = Console(file=stream, no_color=not color, highlight=False, soft_wrap=True, width=width)
    console.print(_table(profile))
    best = profile.choices[profile.best]
    name = best.drafter + ("" if best.candidates == 1 else f" × {best.candidates}")
    if name in profile.curves:
        console.print(f"\npredicted tokens/s by chunk size, drafter {name}:", markup=False)
        console.print("\n".join(_bars(profile.curves[name], best.chunk_size)), markup=False)
    console.print(f"\n{advice(profile)}", markup=False)


def advice(profile: Profile) -> str:
    """The fastest drafter and chunk size, and the options to use them, in one sentence."""
    best, base = profile.choices[profile.best], token_by_token(profile).measured or 0.0
    # If the text depends on the drafter (rules other than exact), auto is merged, or none if that is faster.
    auto = [best.drafter] if profile.key.get("rule") == "exact" else ["merged"]
    auto += ["none"] if profile.chunk_size("merged", 1) == 0 else []
    named = best.drafter.startswith("model:") or best.drafter not in auto
    flags = [f"--drafter {best.drafter}"] if named else []
    flags += [] if best.candidates == 1 else [f"--candidates {best.candidates}"]
    how = f"used from now on{' with ' if flags else ''}{' '.join(flags)}"
    if best.chunk_size == 0:
        return f"token-by-token decoding is fastest here, {how}"
    gain = f"{(best.measured or 0.0) / base:.2f} times as fast as token by token" if base else ""
    return f"fastest: drafter {best.drafter}, chunks of {best.chunk_size}, {gain}; {how}"


def _table(profile: Profile) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    biased = any(choice.bias_bound is not None for choice in profile.choices)
    for title in ("drafter", "chunk", "accepted", "predicted", "measured", "speed-up"):
        table.add_column(title, justify="left" if title == "drafter" else "right", no_wrap=True)
    for title in ("κ", "bias bound", "Σ wδ") if biased else ():
        table.add_column(title, justify="right", no_wrap=True)
    base = token_by_token(profile)
    for place, choice in enumerate(profile.choices):
        name = choice.drafter + ("" if choice.candidates == 1 else f" × {choice.candidates}")
        cells = [
            name,
            str(choice.chunk_size),
            "" if choice.acceptance is None else f"{choice.acceptance:.0%}",
            f"{choice.predicted:.1f}",
            "" if choice.measured is None else f"{choice.measured:.1f}",
            "" if not (choice.measured and base.measured) else f"{choice.measured / base.measured:.2f} ×",
        ]
        if biased:
            over = "" if choice.allowed else " over"
            cells += [
                "" if choice.kappa is None else f"{choice.kappa:.2g}",
                "" if choice.bias_bound is None else f"{choice.bias_bound:.2g}{over}",
                _effect(choice, base),
            ]
        table.add_row(*cells, style="bold" if place == profile.best else None)
    return table


def _effect(choice: Choice, base: Choice) -> str:
    """Σ wδ per token, and the baseline's."""
    if choice.effect is None or base.effect is None:
        return ""
    return f"{choice.effect:.3g} (none {base.effect:.3g})" if choice is not base else f"{choice.effect:.3g}"


def _bars(curve: tuple[float, ...], chosen: int) -> list[str]:
    """A bar per chunk size."""
    sizes = sorted({*CURVE, chosen})
    most = max(curve)
    return [
        f"{size:>3} {'█' * max(1, round(BAR * curve[size] / most))} {curve[size]:.0f}"
        + (" ← chosen" if size == chosen else "")
        for size in sizes
        if size < len(curve)
    ]


def check_plot(path: Path) -> None:
    """Raise UsageError if a plot cannot be written to this file; called before any work."""
    if path.suffix.lower() not in PLOTS:
        raise UsageError(f"--plot {path} has an unknown format", hint=f"use the suffix {', '.join(PLOTS)}")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"--plot {path}: the folder {path.parent} does not exist", hint="create it first")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("--plot needs matplotlib", hint="install it: pip install 'mpg-cli[plot]'") from None


def write_plot(path: Path, profile: Profile) -> None:
    """Plot predicted curves and measured points. Raises MpgError if the file cannot be written."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), constrained_layout=True)
    for name, curve in profile.curves.items():
        (line,) = axes.plot(range(len(curve)), curve, label=name, linewidth=1.2)
        for choice in profile.choices:
            own = choice.drafter + ("" if choice.candidates == 1 else f" × {choice.candidates}")
            if own == name and choice.measured:
                axes.plot([choice.chunk_size], [choice.measured], "o", color=line.get_color())
    base = token_by_token(profile).measured
    if base:
        axes.axhline(base, color="grey", linestyle=":", label="token by token")
    axes.set(xlabel="chunk size γ", ylabel="tokens/s (dots: measured)", ylim=(0, None))
    figure.legend(fontsize="small", loc="outside right upper")
    try:
        figure.savefig(path)
    except OSError as error:
        raise MpgError(f"--plot {path} cannot be written: {error.strerror}") from None
    finally:
        plt.close(figure)


def as_json(profile: Profile, file: Path) -> dict[str, Any]:
    """The result as JSON; `auto` is the chunk size of each drafter under --chunk-size auto."""
    data = profile.as_json()
    for choice, row in zip(profile.choices, data["choices"], strict=True):
        row["auto"] = profile.chunk_size(choice.drafter, choice.candidates)
    return {**data, "fastest": data["choices"][profile.best], "profile": str(file)}
