"""Statistics of a growing or finished reply in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpg_cli.engine.events import Finished, Round
from mpg_cli.engine.run_spec import RunSpec
from mpg_cli.sampling.stats import Stats

SEPARATOR = " · "
DEFAULT_SAMPLING = "temperature 1, not truncated (default)"
TOKEN_BY_TOKEN = "token by token"  # in place of an acceptance rate


class Tally:
    """The statistics of the reply so far and the current chunk size."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.stats = Stats()
        self.chunk_size: int | str = spec.chunk_size

    def add(self, round_: Round) -> None:
        """Add a round."""
        self.stats = round_.stats
        if round_.draft:
            self.chunk_size = len(round_.draft)


def blend_words(spec: RunSpec) -> str:
    """The experts with their weights: `INTJ 0.7, pirate 1.2`."""
    return ", ".join(f"{expert.name} {expert.weight:g}" for expert in spec.experts)


def sampling_words(sampling: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """The values that user or model have set, by origin: `temperature 0.6, top-p 0.9 (option)`."""
    by_origin: dict[str, list[str]] = {}
    for name, origin in origins.items():
        if origin != "default":
            by_origin.setdefault(origin, []).append(f"{name.replace('_', '-')} {sampling[name]:g}")
    return ", ".join(f"{', '.join(words)} ({origin})" for origin, words in by_origin.items())


def progress_words(tally: Tally) -> str:
    """The status line of a growing reply."""
    stats = tally.stats
    if not stats.passes:
        return "reading the prompt"
    rate = stats.acceptance_rate
    parts = [
        f"{rate:.0%} accepted" if rate is not None else TOKEN_BY_TOKEN,
        f"chunk {tally.chunk_size}" if rate is not None else "",
        _speed(stats),
        f"{stats.committed} tokens",
        _threshold_words(stats),
        blend_words(tally.spec),
        _sampling_words(tally.spec),
    ]
    return SEPARATOR.join(part for part in parts if part)


def summary_words(finished: Finished) -> str:
    """The statistics line of a finished reply."""
    stats = finished.stats
    per_pass = stats.committed_per_pass
    parts = [
        TOKEN_BY_TOKEN if stats.acceptance_rate is None else acceptance_words(stats, " accepted"),
        f"{per_pass:.2f} tokens per pass" if per_pass is not None else "",
        _speed(stats),
        f"{finished.usage.completion_tokens} tokens",
        _threshold_words(stats),
        {"stop": "", "length": "stopped at the token limit"}.get(
            finished.finish_reason, finished.finish_reason
        ),
        _sampling_words(finished.spec),
        f"seed {finished.seed}",
    ]
    return SEPARATOR.join(part for part in parts if part)


def acceptance_words(stats: Stats, verb: str = "") -> str:
    """`90% accepted (9 of 10 evaluated)`; empty if no drafts were evaluated."""
    rate = stats.acceptance_rate
    return "" if rate is None else f"{rate:.0%}{verb} ({stats.accepted} of {stats.evaluated} evaluated)"


def detail_lines(finished: Finished, tally: Tally) -> list[str]:
    """The lines of `-v`: model, experts, sampling scheme, rounds, contributions, timings."""
    spec, stats, seconds = finished.spec, finished.stats, finished.stats.seconds
    model, scheme = spec.model, spec.scheme
    experts = ", ".join(f"{e.name} {e.weight:g} ({e.kind})" for e in spec.experts)
    revision = f" at {model.revision}" if model.revision else ""
    rows = [
        (
            "model",
            f"{model.id}{revision}, {_reasoned(model.device, model.device_reason)}, "
            f"{_reasoned(model.dtype, model.dtype_reason)}",
        ),
        ("experts", experts),
        (
            "sampled",
            f"{scheme.target} by {scheme.rule}, drafter {scheme.drafter}, chunk {spec.chunk_size}",
        ),
        ("sampling", _sampling_words(spec) or DEFAULT_SAMPLING),
        ("prompt", f"{finished.usage.prompt_tokens} tokens, reply of at most {spec.max_tokens}"),
        ("rounds", _histogram_words(stats)),
        ("contribution", _contribution_words(tally)),
        (
            "seconds",
            f"prefill {seconds.prefill:.2f}, draft {seconds.draft:.2f}, score {seconds.score:.2f}, "
            f"verify {seconds.verify:.2f}",
        ),
    ]
    if stats.chunks:
        rows.append(("thresholds", _numbers(stats.thresholds or ())))
        rows.append(("kappa", _numbers(stats.kappa or ())))
        rows.append(("bias", f"at most {stats.bias_bound or 0.0:.3g} a round in total variation"))
    return [f"  {label:<12} {value}" for label, value in rows if value]


def _reasoned(choice: str, reason: str) -> str:
    return f"{choice} ({reason})" if reason else choice


def _sampling_words(spec: RunSpec) -> str:
    return sampling_words(vars(spec.sampling), spec.sampling_from)


def _speed(stats: Stats) -> str:
    speed = stats.tokens_per_second
    return "" if speed is None else f"{speed:.3g} tokens/s" if speed < 100 else f"{speed:.0f} tokens/s"


def _threshold_words(stats: Stats) -> str:
    """Last threshold, clipped share and largest kappa; empty for other rules."""
    if not stats.chunks:
        return ""
    last = stats.thresholds[-1] if stats.thresholds else 0.0
    return f"m {last:.2f}, {stats.clipped_share or 0.0:.0%} clipped, κ {max(stats.kappa or (0.0,)):.2g}"


def _histogram_words(stats: Stats) -> str:
    """The number of rounds by accepted tokens: `9, by tokens accepted 0: 3, 1: 6`."""
    if not stats.evaluated:
        return f"{stats.passes} without drafts"
    counts = ", ".join(f"{accepted}: {rounds}" for accepted, rounds in enumerate(stats.histogram))
    return f"{stats.passes}, by tokens accepted {counts}"


def _contribution_words(tally: Tally) -> str:
    means = tally.stats.mean_contributions
    if not means:  # before the first token, and where all personas are one row
        return ""
    names = (expert.name for expert in tally.spec.experts)
    unit = "share of the token" if tally.spec.scheme.target == "mixture" else "nats per token"
    listed = ", ".join(f"{name} {mean:+.2f}" for name, mean in zip(names, means, strict=True))
    return f"{listed} ({unit})"


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)
