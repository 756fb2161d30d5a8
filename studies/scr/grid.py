"""The compared settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mpg_cli.sampling.params import Scheme, Threshold

BLEND = "INTJ+pirate"
GAMMAS = (1, 2, 4, 8, 16, 32)
PERSONA = "persona:pirate"
ROW_DRAFTERS = ("reference", PERSONA, "merged")

Rule = Literal["token-by-token", "exact", "block", "threshold", "redraft"]


@dataclass(frozen=True)
class Setting:
    """One setting of the sampler. Rule `redraft` is the literal reading of the paper's abstract."""

    rule: Rule
    drafter: str = "none"
    gamma: int = 0
    quantile: float = 1.0
    candidates: int = 1
    ahead: int = 1
    fixed: float | None = None  # threshold

    @property
    def scheme(self) -> Scheme:
        """The scheme of the sampler; `redraft` uses that of the threshold rule."""
        if self.rule == "token-by-token":
            return Scheme(drafter="none")
        if self.rule in ("exact", "block"):
            return Scheme(rule=self.rule, drafter=self.drafter, chunk_size=self.gamma)
        level = f"fixed:{self.fixed:g}" if self.fixed is not None else f"{self.quantile:g}"
        how = Threshold(level, candidates=self.candidates, ahead=self.ahead)
        return Scheme(rule="threshold", drafter=self.drafter, chunk_size=self.gamma, threshold=how)

    @property
    def variant(self) -> str:
        """The options other than rule, drafter and chunk size, in words."""
        parts = [
            f"quantile {self.quantile:g}" if self.quantile < 1 else "",
            f"N = {self.candidates}" if self.candidates > 1 else "",
            f"W = {self.ahead}" if self.ahead > 1 else "",
            f"fixed {self.fixed:g}" if self.fixed is not None else "",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def label(self) -> str:
        """The whole setting in words."""
        words = [self.rule, "" if self.drafter == "none" else self.drafter.removeprefix("persona:")]
        words += [f"γ {self.gamma}" if self.gamma else "", self.variant]
        return " ".join(word for word in words if word)


def grid(gammas: tuple[int, ...] = GAMMAS) -> Iterator[Setting]:
    """Every setting of the study, token by token first; variants of the threshold rule use merged drafts."""
    yield Setting("token-by-token")
    for gamma in gammas:
        for drafter in (*ROW_DRAFTERS, "lookup"):
            yield Setting("exact", drafter, gamma)
            yield Setting("block", drafter, gamma)
        for drafter in ROW_DRAFTERS:
            yield Setting("threshold", drafter, gamma)
        for quantile in (0.9, 0.5):
            yield Setting("threshold", "merged", gamma, quantile=quantile)
        for fixed in (0.5, 1.5):
            yield Setting("threshold", "merged", gamma, fixed=fixed)
        for candidates in (4, 8):
            yield Setting("threshold", "merged", gamma, candidates=candidates)
            if gamma <= 4:
                yield Setting("threshold", "reference", gamma, candidates=candidates)
        if gamma * 2 <= max(gammas):
            yield Setting("threshold", "merged", gamma, ahead=2)
        for drafter in ("reference", "merged"):
            yield Setting("redraft", drafter, gamma)
