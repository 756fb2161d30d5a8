"""The recommendation of the study, computed from its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mpg_cli.engine.blend_rows import CHUNK_SIZE
from studies.scr.grid import Setting
from studies.scr.prose import prose
from studies.scr.table import Result

# Cost of a score pass of five experts and the reference, in steps of one row.
ADAPTERS = (
    1.6  # stacked rows on one base at a small batch: the weights are read once (benchmarks/pass_cost.py)
)
CHECKPOINTS = 6.0  # every expert is a separate model


def cost(result: Result, pass_cost: float) -> float:
    """Cost of a committed token in steps of one row, if a score pass costs ``pass_cost`` steps.

    (gamma * d + v) / E[committed] with d = 1 and a v that does not grow with gamma.
    """
    committed, passes = result.mean("committed_per_pass"), result.mean("passes_per_token")
    if not committed or passes is None:
        return float("inf")
    return passes - 1 / committed + pass_cost / committed


def best(results: Sequence[Result], rule: str, pass_cost: float) -> Result:
    """The cheapest setting of a rule with a row drafter."""
    own = [r for r in results if r.setting.rule == rule and r.setting.drafter != "lookup"]
    return min(own, key=lambda r: cost(r, pass_cost))


def recommendation(results: Sequence[Result]) -> Iterator[str]:
    """The last section of the page."""
    baseline = next(r for r in results if r.setting.rule == "token-by-token")
    yield "## Recommendation"
    yield ""
    yield prose(
        """The cost of a token in steps of one row, where a score pass costs 1.6 steps (five adapters on one
        base) or 6 (five models beside the base) at any γ. A step or a pass over N candidates counts as one
        over a single candidate, which flatters N > 1: it is nearly true only where reading the weights
        dominates a pass. For the threshold rule the bias bound of a round is given too:"""
    )
    yield ""
    yield "| | adapters | models |"
    yield "|---|---|---|"
    yield f"| token by token | {cost(baseline, ADAPTERS):.2f} | {cost(baseline, CHECKPOINTS):.2f} |"
    for rule in ("exact", "block", "threshold"):
        cells = []
        for pass_cost in (ADAPTERS, CHECKPOINTS):
            found = best(results, rule, pass_cost)
            bias = found.mean("bias") if rule == "threshold" else None
            off = "" if bias is None else f"; bias bound {min(1.0, bias):.2g}"
            cells.append(f"{cost(found, pass_cost):.2f} ({_short(found.setting)}{off})")
        yield f"| {rule}, best setting | {cells[0]} | {cells[1]} |"
    yield ""
    merged = _of(results, Setting("exact", "merged", CHUNK_SIZE))
    reference = _of(results, Setting("exact", "reference", CHUNK_SIZE))
    block = _of(results, Setting("block", "merged", CHUNK_SIZE))
    paper = _of(results, Setting("threshold", "merged", CHUNK_SIZE))
    if not (merged and reference and block and paper):
        return
    most = min(1.0, paper.mean("bias") or 0.0)
    yield from (
        prose(point, "  ")
        for point in (
            f"""- **Drafter `merged`.** At γ = {CHUNK_SIZE} it commits {_committed(merged)} tokens per pass,
            and `reference` {_committed(reference)}, for the same number of steps.""",
            f"""- **Rule `exact`.** `block` commits {_committed(block)} per pass, but its text depends on
            drafter and γ. `exact` gives up that little for a text that depends on the seed alone, so it is
            the default; use `block` where only the distribution matters.""",
            f"""- **Rule `threshold`** commits {_committed(paper)} per pass with its maximum thresholds, with
            a bias bound of {most:.2g}: on replies of this length it is neither faster than `block` nor
            faithful to the target. Long chunks and candidates make it cheaper only at the price of more bias.
            Fixed thresholds are faithful and slow. The rule is there to reproduce the paper and is not the
            default.""",
            f"""- **γ** follows the acceptance rate of each reply (`--chunk-size auto`); under `threshold`,
            whose thresholds belong to chunks of one size, it is {CHUNK_SIZE}. With adapters on one base a
            pass is cheap, and a longer chunk costs more steps than it saves passes; with whole models as
            experts longer chunks pay. Where a step of the drafter costs about as much as a score pass,
            token-by-token decoding (`--drafter none`) is the right choice.""",
        )
    )


def _of(results: Sequence[Result], setting: Setting) -> Result | None:
    return next((r for r in results if r.setting == setting), None)


def _committed(result: Result) -> str:
    return f"{result.mean('committed_per_pass') or 0.0:.2f}"


def _short(setting: Setting) -> str:
    words = [setting.drafter.removeprefix("persona:"), f"γ {setting.gamma}", setting.variant]
    return ", ".join(word for word in words if word)
