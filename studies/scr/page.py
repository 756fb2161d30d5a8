"""The page of the study, docs/scr.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import transformers

from studies.scr.advice import recommendation
from studies.scr.grid import BLEND, Setting
from studies.scr.measure import REDRAFT_PASSES
from studies.scr.prose import prose
from studies.scr.table import RESAMPLES, Result, Value

_MEASURES = {
    "acceptance": "accepted",
    "committed_per_pass": "tokens per pass",
    "passes_per_token": "passes per token",
    "shown": "shown",
    "contribution": "Σ wδ per token",
    "base": "log π₀ per token",
}
_PAPER_MEASURES = {"clipped": "clipped", "kappa": "κ", "bias": "bias bound"}


def write_page(file: Path, results: Sequence[Result], prompts: int, seeds: int, longest: int) -> None:
    """Write the page; plots and CSV are in the folder scr beside it."""
    parts = (
        _head(prompts, seeds, longest),
        _lossless(results),
        _paper(results),
        _redrafted(results),
        recommendation(results),
        _limits(),
    )
    file.write_text("\n\n".join("\n".join(part) for part in parts) + "\n", encoding="utf-8")


def _head(prompts: int, seeds: int, longest: int) -> Iterator[str]:
    yield "# What each choice of SCR costs and gives"
    yield ""
    yield prose(
        f"""Written by `python -m studies.scr --prompts {prompts} --seeds {seeds}`; do not edit. All numbers
        with their intervals: [scr/results.csv](scr/results.csv)."""
    )
    yield ""
    yield prose(
        f"""The blend is `{BLEND}` on mpg-tiny: five LoRA experts, product target, temperature 1. Each
        setting has {prompts * seeds} replies: {prompts} questions on topics that training never saw, {seeds}
        seeds, at most {longest} tokens. Intervals are 95 %, by {RESAMPLES} resamples of the questions.
        float32, CPU, torch {torch.__version__}, transformers {transformers.__version__}."""
    )
    yield ""
    yield "- **accepted**: accepted / evaluated drafted tokens."
    yield "- **tokens per pass**: committed tokens per score pass."
    yield "- **passes per token**: score passes and steps of the drafter's row, over committed tokens. A"
    yield "  lookup takes no step, candidates step together, token-by-token decoding has 1."
    yield "- **shown**: the marker judge of the [library](library.md) finds the voice and 3 poles of 4."
    yield "- **Σ wδ per token**: the contributions of all personas to the log-probability of a token, summed."
    yield "- **log π₀ per token**: log-likelihood of the reply under the base."
    yield "- **clipped**: chunks whose log-ratio exceeded a threshold; **κ**: the mean of (eᵃ − eᵐ)₊;"
    yield "  **bias bound**: a bound on the total variation between a round and the target."
    yield ""
    yield "![Committed tokens per score pass](scr/speed.svg)"
    yield ""
    yield "![Forward passes per token](scr/passes.svg)"


def _lossless(results: Sequence[Result]) -> Iterator[str]:
    exact = [r for r in results if r.setting.rule == "exact"]
    same = min(r.same_text for r in exact)
    yield "## Rules exact and block: lossless"
    yield ""
    yield prose(
        f"""Under `exact` the text is that of token-by-token decoding for the same seed: it was in
        {100 * same:.1f} % of the replies of the worst setting. Under `block` the distribution is the same
        and the text differs."""
    )
    yield ""
    yield from _table(
        [r for r in results if r.setting.rule in ("token-by-token", "exact", "block")], _MEASURES
    )


def _paper(results: Sequence[Result]) -> Iterator[str]:
    yield "## Rule threshold: the paper's"
    yield ""
    yield prose(
        """Thresholds are the maximum over the last 64 chunks of a reply, unless a quantile or a fixed number
        is given, and 0 until 16 chunks have been scored. Where chunks are clipped the result is biased
        towards the drafter: compare Σ wδ with that of token-by-token decoding. N is the number of
        candidates, W the number of chunks ahead."""
    )
    yield ""
    yield "![Persona effect and bias bound of the threshold rule, merged drafter](scr/fidelity.svg)"
    yield ""
    own = [r for r in results if r.setting.rule in ("token-by-token", "threshold")]
    yield from _table(own, _MEASURES | _PAPER_MEASURES)


def _redrafted(results: Sequence[Result]) -> Iterator[str]:
    yield "## For comparison: whole chunks redrafted"
    yield ""
    yield prose(
        f"""The literal reading of the paper's abstract: a chunk is drafted again until one is accepted
        against the window's threshold; nothing of a rejected one is kept, and the target adds no token.
        For this study only. A reply that is not finished after {REDRAFT_PASSES} passes is counted as it
        stands; one seed."""
    )
    yield ""
    own = [r for r in results if r.setting.rule == "redraft"]
    yield from _table(own, _MEASURES | _PAPER_MEASURES | {"finished": "finished"})


def _limits() -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield prose(
        """The model has 1.6 million parameters, its text has little entropy, and its adapters were trained to
        blend: with larger models and other adapters, fewer tokens are accepted. Replies are short for a
        window of 64 chunks. Passes are counted here, not timed: what a pass costs depends on the machine, on
        the number of rows, and on whether experts are adapters or whole models."""
    )


def _table(results: Sequence[Result], measures: dict[str, str]) -> Iterator[str]:
    used = {m: name for m, name in measures.items() if any(m in r.values for r in results)}
    yield "| rule | drafter | γ | | " + " | ".join(used.values()) + " |"
    yield "|---|---|---|---|" + "---|" * len(used)
    for result in results:
        cells = [*_name(result.setting), *(_cell(result.values.get(measure), measure) for measure in used)]
        yield f"| {' | '.join(cells)} |"


def _name(setting: Setting) -> tuple[str, str, str, str]:
    drafter = setting.drafter.removeprefix("persona:")
    return setting.rule, drafter, str(setting.gamma or ""), setting.variant


def _cell(value: Value | None, measure: str) -> str:
    """A mean and the half width of its interval; shares in percent."""
    if value is None:
        return ""
    half = (value.high - value.low) / 2
    if measure in ("acceptance", "shown", "clipped", "finished"):
        return f"{100 * value.mean:.0f} ± {100 * half:.0f} %"
    if measure == "bias":
        return f"{min(1.0, value.mean):.2g}"  # a total variation
    if measure == "kappa":
        return f"{value.mean:.2g}"
    return f"{value.mean:.2f} ± {half:.2f}"
