"""The page, the table and the plot of the study; every number and conclusion is computed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from mpg_cli.config.named_models import BUNDLED_FOLDER
from mpg_cli.evaluation.bootstrap import Estimate
from mpg_cli.personas.registry import library_dir
from studies.blends.bench import SEED, Size, Weights
from studies.blends.blend import BASELINES, FLUENT, OURS, Outcome
from studies.blends.search import SCALES
from studies.blends.summary import GOAL, Against, against, best_fluent

COLUMNS = ("base", "single", "prompts", "merged", "merged 1", "merged 1/K", "mixture", "threshold", "exact")

HEAD = """\
# A blend against the other ways to get it

Written by `python -m studies.blends`; do not edit. `mpg eval compare` writes such a table for one blend.

{count} blends of {fewest} to {most} experts, {reported} questions each, one reply a question, temperature 1
without truncation, at most {longest} tokens, seed {seed}: the same questions, seeds and sampling for every
method. Presence is the share of replies in which the marker judge finds a persona; *min* is that of the
persona of the blend that shows least. Fluency is the mean log-probability of a reply's tokens under the
base, in nats per token, after the question without any persona.

| method | what it is | weights |
|---|---|---|
| base | the model alone | none |
| single | one persona alone | the persona and its weight chosen |
| prompts | the system prompts of all personas joined, no adapter | none |
| merged | one model with the weighted sum of all adapters in its weights | chosen |
| merged 1, merged 1/K | the same at weights 1, and at 1 divided by the number of personas | fixed |
| mixture | Σ wᵢπᵢ, token by token | chosen |
| threshold | the product with the paper's rule | those of exact |
| **exact** | the product π₀ ∏ (πᵢ/π₀)^wᵢ with the exact rule: ours | chosen |

Weights are chosen on {tuning} other questions, on other subjects, by the largest min: {scales} for all
personas alike, then the weight of the persona that shows least is raised by a quarter. Methods with weights
get the same tries (a mixture has no scale; a single persona is tried at weights 1 and 1.5). “The best other”
is the one of base, single, prompts and the three merged with the largest min **on the reported questions**,
blend by blend. It is picked with hindsight and ours is not, so the comparison is biased against ours. In
brackets: 95 % bootstrap intervals, paired over questions, and over blends for figures of all blends.
"""

TAIL = """\
## Why

A merged model adds the adapters' changes to the weights; the product adds their effects on the
log-probabilities. As long as the changes are small, a model's logits are linear in them, and both agree up
to terms of second order. That is also why the exact rule accepts merged drafts so often
([scr.md](scr.md)). The bundled adapters are of rank {rank} on a model of {millions:.1f} million parameters,
trained on pairs that differ in their persona alone, and hardly interfere: little is left for the product to
gain over their sum. The product also multiplies the experts' noise on unlikely tokens, which costs fluency
at temperature 1. Where experts cannot be summed, only the product works: full checkpoints, prompts as
experts, adapters of different kinds, and negative weights. A mixture draws each token from one persona, so
few replies show all.

## Limits

* {parameters:,} parameters, a vocabulary of {vocabulary:,}, sentences of a grammar: nothing here says how
  large models compare. The paper reports +16 to +18 %, on large models and with other judges; neither
  are used here.
* The judge counts words. [library.md](library.md) compares it with a second judge; neither understands text.
* The joined prompts have an advantage: the base saw such system prompts, joined, in its training.
* Fluency under the base is lower for any persona, since a persona is what the base does not write.
* Weights are chosen on few questions ({tuning}), so a choice is uncertain by several points.
"""


def write_page(file: Path, outcomes: Sequence[Outcome], size: Size) -> None:
    """Write the page."""
    sizes = [len(o.names) for o in outcomes]
    parameters = _parameters()
    texts = {
        "count": len(outcomes),
        "fewest": min(sizes),
        "most": max(sizes),
        "reported": size.reported,
        "tuning": size.tuning,
        "scales": ", ".join(f"{scale:g}" for scale in SCALES),
        "longest": size.longest,
        "seed": SEED,
        "parameters": parameters,
        "millions": parameters / 1e6,
        "vocabulary": _config(BUNDLED_FOLDER / "config.json")["vocab_size"],
        "rank": _rank(outcomes[0].names[0]),
    }
    parts = [
        HEAD.format(**texts),
        *_together(outcomes),
        *_each(outcomes),
        "![Presence against fluency](blends/presence.svg)\n",
        *_weights(outcomes),
        TAIL.format(**texts),
        f"All numbers: [results.csv](blends/results.csv). torch {torch.__version__}, float32 on the CPU.\n",
    ]
    file.write_text("\n".join(parts), encoding="utf-8")


def _together(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The conclusion and the table over all blends."""
    best = against(outcomes, lambda o: OURS, lambda o: o.best)
    fluent = against(outcomes, best_fluent, lambda o: o.best)
    equal, of = (sum(o.as_token_by_token[at] for o in outcomes) for at in (0, 1))
    yield "## All blends together\n"
    yield _conclusion(best, fluent, outcomes) + "\n"
    yield "| exact against | min, relative | min, points | mean, points | fluency | larger min in |"
    yield "|---|---|---|---|---|---|"
    yield _row("**the best other**", best)
    others: list[tuple[str, Callable[[Outcome], str]]] = [
        (name, lambda o, name=name: name)  # type: ignore[misc]
        for name in (*BASELINES, "mixture", "threshold")
    ]
    for name, other in others:
        yield _row(name, against(outcomes, lambda o: OURS, other))
    yield _row("the best other, at fluent weights", fluent)
    yield (
        "\n“At fluent weights”: of the weights that were tried for exact, the best whose fluency was no\n"
        "worse than that of the best other method, both on the tuning questions. In "
        f"{sum(o.fluent == FLUENT for o in outcomes)} blends these differ\nfrom the best, in "
        f"{sum(o.fluent is None for o in outcomes)} there were none and the best were kept. threshold\n"
        "samples the distribution of exact: a difference there is chance, or the bias that it reports.\n"
    )
    yield (
        f"{equal} of {of} replies of exact that were compared with token-by-token decoding are the same, "
        "token for token.\n"
    )


def _conclusion(best: Against, fluent: Against, outcomes: Sequence[Outcome]) -> str:
    """Whether the goal is reached, in words."""
    goal = f"+{GOAL:.0%} on the min at no worse fluency".replace("%", " %")
    reached = best.gain.value >= GOAL and best.fluency.value >= 0
    fluently = fluent.gain.value >= GOAL and fluent.fluency.value >= 0
    summary = (
        f"The goal was {goal} than the best other method. "
        f"Exact has {_percent(best.gain)} on the min, and {_signed(best.fluency)} nats per token. "
    )
    if reached or fluently:
        which = "" if reached else " at its fluent weights"
        return f"{summary}**The goal is reached{which}.**"
    if best.gain.low > 0:
        word = "ahead of the best other method, but by less than that"
    elif best.gain.high < 0:
        word = "behind the best other method"
    else:
        word = "not distinguishable from the best other method"
    names = [o.best for o in outcomes]
    which = ", ".join(f"{name} in {names.count(name)}" for name in dict.fromkeys(names))
    return f"{summary}**The goal is not reached**: on the min it is {word}, which is {which} blends."


def _row(name: str, own: Against) -> str:
    points = f"{_points(own.least)} | {_points(own.mean)}"
    return (
        f"| {name} | {_percent(own.gain)} | {points} | {_signed(own.fluency)} | {own.wins} of {own.blends} |"
    )


def _each(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "## Each blend\n\nMin, and below it fluency; the best other in bold.\n"
    yield f"| blend | {' | '.join(COLUMNS)} | exact − best other | fluency |"
    yield "|---" * (len(COLUMNS) + 3) + "|"
    for own in outcomes:
        different = own.methods[OURS].against(own.methods[own.best])
        cells = [_cell(own, name) for name in COLUMNS]
        fluency = "-" if different.fluency is None else _signed(different.fluency)
        yield f"| {own.expression} | {' | '.join(cells)} | {_points(different.least)} | {fluency} |"
    yield ""


def _cell(own: Outcome, name: str) -> str:
    measured = own.methods[name]
    assert measured.least is not None
    least = f"{measured.least.value:.0%}".replace("%", " %")
    fluency = "-" if measured.fluency is None else f"{measured.fluency.value:.2f}"
    return f"**{least}**<br>{fluency}" if name == own.best else f"{least}<br>{fluency}"


def _weights(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "## The chosen weights\n"
    yield "| blend | single | merged | mixture | exact | exact, fluent |\n|---|---|---|---|---|---|"
    for own in outcomes:
        columns = ("single", "merged", "mixture", OURS, FLUENT)
        fluent = "the same" if own.fluent == OURS else "none"
        cells = [_weights_text(own.weights[name]) if name in own.weights else fluent for name in columns]
        yield f"| {own.expression} | {' | '.join(cells)} |"
    yield ""


def _weights_text(weights: Weights) -> str:
    return " ".join(f"{name}:{weight:g}" for name, weight in weights.items())


def write_results(file: Path, outcomes: Sequence[Outcome]) -> None:
    """Write one line per blend and method."""
    spans = [
        f"{figure}{end}" for figure in ("minimum", "mean", "all", "fluency") for end in ("", "_low", "_high")
    ]
    rest = ("distinct_1", "distinct_2", "distinct_3", "self_bleu", "length", "tokens_per_second")
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["blend", "method", "best_other", "weights", *spans, *rest, "presence"])
        for outcome in outcomes:
            for name, own in outcome.methods.items():
                estimates = (own.least, own.mean, own.together, own.fluency)
                numbers = [number for estimate in estimates for number in _span(estimate)]
                numbers += [*own.distinct.values(), own.self_bleu, own.length, own.tokens_per_second]
                shown = " ".join(
                    f"{persona}={e.value:.2f}" for persona, e in zip(own.personas, own.presence, strict=True)
                )
                best = "yes" if name == outcome.best else ""
                text = _weights_text(outcome.weights.get(name, {}))
                cells = ["" if number is None else f"{number:.4f}" for number in numbers]
                table.writerow([outcome.expression, name, best, text, *cells, shown])


def _span(own: Estimate | None) -> tuple[float | None, ...]:
    return (None, None, None) if own is None else (own.value, own.low, own.high)


def write_plot(file: Path, outcomes: Sequence[Outcome]) -> None:
    """Plot the min against fluency: a small point per blend, a large one for the mean of a method."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "blends"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), constrained_layout=True)
    for place, name in enumerate(COLUMNS):
        points = [
            (own.fluency.value, own.least.value)
            for own in (outcome.methods[name] for outcome in outcomes)
            if own.fluency is not None and own.least is not None
        ]
        x, y = zip(*points, strict=True)
        mark, color = ("*", "C3") if name == OURS else ("o", f"C{place if place < 3 else place + 1}")
        axes.plot(x, y, mark, color=color, markersize=4, alpha=0.35)
        mean = (sum(x) / len(x), sum(y) / len(y))
        axes.plot(*mean, mark, color=color, markersize=13 if name == OURS else 9, label=name)
    axes.set(
        xlabel="fluency: nats per token under the base (right is better)",
        ylabel="minimum presence over the personas",
        ylim=(-0.03, 1.03),
    )
    figure.legend(fontsize="small", loc="outside right upper")
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _config(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _rank(persona: str) -> int:
    library = library_dir()
    assert library is not None
    return int(_config(library / "adapters" / BUNDLED_FOLDER.name / persona / "adapter_config.json")["r"])


def _parameters() -> int:
    from safetensors import safe_open

    with safe_open(BUNDLED_FOLDER / "model.safetensors", framework="pt") as tensors:
        names = list(tensors.keys())
        return sum(tensors.get_tensor(name).numel() for name in names)


def _percent(own: Estimate) -> str:
    if not all(map(isfinite, (own.value, own.low, own.high))):
        return "the other is near 0"
    return f"{100 * own.value:+.0f} % [{100 * own.low:+.0f}, {100 * own.high:+.0f}]"


def _points(own: Estimate) -> str:
    return f"{100 * own.value:+.0f} [{100 * own.low:+.0f}, {100 * own.high:+.0f}]"


def _signed(own: Estimate) -> str:
    return f"{own.value:+.2f} [{own.low:+.2f}, {own.high:+.2f}]"
