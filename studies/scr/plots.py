"""The plots of the study, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.scr.grid import PERSONA
from studies.scr.table import Result

COLOURS = {"reference": "#d55e00", PERSONA: "#009e73", "merged": "#0072b2", "lookup": "#999999"}
DASHES = {"exact": "-", "block": "--", "threshold": ":", "redraft": "-."}


def write_plots(folder: Path, results: Sequence[Result]) -> None:
    """Write speed.svg, passes.svg and fidelity.svg."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "mpg"  # the same file for the same numbers
    import matplotlib.pyplot as plt

    def plain(rule: str) -> list[Result]:
        return [r for r in results if r.setting.rule == rule and r.setting.variant == ""]

    figure, axes = plt.subplots(1, 3, figsize=(13, 4), sharey=True)
    for axis, rule in zip(axes, ("exact", "block", "threshold"), strict=True):
        _curves(axis, plain(rule), "committed_per_pass")
        axis.set_title(f"rule {rule}")
    axes[0].set_ylabel("committed tokens a score pass")
    _save(figure, folder / "speed.svg")

    figure, axes = plt.subplots(1, 3, figsize=(13, 4), sharey=True)
    for axis, rule in zip(axes, ("exact", "block", "threshold"), strict=True):
        _curves(axis, plain(rule), "passes_per_token")
        axis.axhline(1, color="black", linewidth=0.6)
        axis.set_title(f"rule {rule}")
        axis.set_ylim(0, 6)
    axes[0].set_ylabel("forward passes a token, drafter's included")
    _save(figure, folder / "passes.svg")

    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for axis, measure, label in (
        (axes[0], "contribution", "persona effect, Σ wᵢδᵢ a token (nats)"),
        (axes[1], "bias", "bias bound of a round (total variation)"),
    ):
        _variants(axis, results, measure)
        axis.set_ylabel(label)
    baseline = next(result for result in results if result.setting.rule == "token-by-token")
    value = baseline.values["contribution"]
    axes[0].axhspan(value.low, value.high, color="black", alpha=0.12)
    axes[0].axhline(value.mean, color="black", linewidth=0.6)
    axes[1].set_yscale("symlog", linthresh=1e-3)
    axes[1].axhline(1, color="black", linewidth=0.6)  # a bound above 1 is vacuous
    _save(figure, folder / "fidelity.svg")


def _curves(axis: Any, results: Sequence[Result], measure: str) -> None:
    """One curve per drafter over the chunk size, with intervals."""
    for drafter, colour in COLOURS.items():
        own = [r for r in results if r.setting.drafter == drafter and measure in r.values]
        _curve(axis, own, measure, drafter.removeprefix("persona:"), colour, "-")


def _variants(axis: Any, results: Sequence[Result], measure: str) -> None:
    """The threshold rule with the merged drafter, one curve per variant, and whole chunks redrafted."""
    colours = iter(("#0072b2", "#d55e00", "#cc79a7", "#009e73", "#e69f00", "#56b4e9"))
    kinds = dict.fromkeys(
        (r.setting.rule, r.setting.variant)
        for r in results
        if r.setting.rule in ("threshold", "redraft") and r.setting.drafter == "merged"
    )
    for rule, variant in kinds:
        own = [
            r
            for r in results
            if (r.setting.rule, r.setting.drafter, r.setting.variant) == (rule, "merged", variant)
            and measure in r.values
        ]
        name = "whole chunks redrafted" if rule == "redraft" else variant or "maximum"
        _curve(axis, own, measure, name, next(colours, "#999999"), DASHES[rule] if rule == "redraft" else "-")


def _curve(axis: Any, own: Sequence[Result], measure: str, label: str, colour: str, dash: str) -> None:
    if not own:
        return
    values = [result.values[measure] for result in own]
    gammas = [result.setting.gamma for result in own]
    axis.plot(gammas, [v.mean for v in values], dash, color=colour, marker="o", markersize=3, label=label)
    axis.fill_between(gammas, [v.low for v in values], [v.high for v in values], color=colour, alpha=0.15)
    axis.set_xscale("log", base=2)
    axis.set_xticks(gammas, [str(gamma) for gamma in gammas])
    axis.set_xlabel("chunk size γ")
    axis.legend(fontsize=8)


def _save(figure: Any, file: Path) -> None:
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
