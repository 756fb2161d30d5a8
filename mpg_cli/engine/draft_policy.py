"""Whether an automatic drafter pays, and how many tokens it drafts, by the cost of passes and the acceptance.

Under the exact rule no text depends on chunk sizes where the numbers of a row do not depend on what shares
its pass. There the slots share one size, which follows their load and the acceptance of all replies of a
blend so far. Elsewhere a size depends on the request and its own rounds alone; the clock is never read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.pass_cost import round_cost
from mpg_cli.engine.sequence import Sequence
from mpg_cli.sampling.chunk_size import (
    MAX_ADAPTIVE,
    Acceptance,
    best_chunk_size,
    expected_committed,
)
from mpg_cli.sampling.params import SamplingLaw
from mpg_cli.sampling.stats import Round

BLENDS = 256  # with their sampling, whose acceptance is remembered
PRIORS = {"adapters": 0.85, "prompts": 0.65}  # of a merged drafter (docs/scr.md)


class DraftPolicy:
    """Chunk sizes of one engine; `shared`: texts do not depend on them under the exact rule."""

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._known: OrderedDict[str, Acceptance] = OrderedDict()  # by blend and sampling

    def worth(self, rows: BlendRows, law: SamplingLaw, beside: int = 1) -> bool:
        """Whether a drafter may make a new sequence faster, beside others of its blend."""
        cost = round_cost([rows] * (beside if self._shared else 1))
        rate = self._acceptance(rows, law).hopeful if self._shared else _prior(rows).rate
        return best_chunk_size(round(100 * rate), cost) > 0

    def sizes(self, live: Mapping[int, Sequence]) -> dict[int, int]:
        """gamma of each of these slots."""
        found: dict[int, int] = {}
        together: dict[int, Sequence] = {}
        for slot, own in live.items():
            scheme = own.rows.scheme
            if scheme.chunk_size is not None:
                found[slot] = scheme.chunk_size
            elif self._shared and scheme.rule == "exact":
                together[slot] = own
            else:
                stats = own.state.stats
                known = _prior(own.rows).plus(stats.accepted, stats.evaluated)
                best = best_chunk_size(round(100 * known.rate), own.state.decoding.cost)
                found[slot] = max(_least(own.rows), best)
        if together:
            best = self._common_size(list(together.values()))
            found |= {slot: max(_least(own.rows), best) for slot, own in together.items()}
        return found

    def learn(self, own: Sequence, round_: Round) -> None:
        """Count a round of a sequence."""
        if self._shared and round_.evaluated:
            rows, law = own.rows, own.spec.sampling
            known = self._acceptance(rows, law)
            self._known[_key(rows, law)] = known.plus(round_.accepted, round_.evaluated)

    def _common_size(self, sequences: list[Sequence]) -> int:
        """The size of least cost a token for sequences that share every pass."""
        rates = [round(self._acceptance(own.rows, own.spec.sampling).hopeful, 2) for own in sequences]
        cost = round_cost([own.rows for own in sequences])
        mean = sum(rates) / len(rates)
        if max(rates) - min(rates) < 0.05:
            return best_chunk_size(round(100 * mean), cost)

        def of_token(gamma: int) -> float:
            return cost.of_round(gamma) / sum(expected_committed(gamma, (rate,)) for rate in rates)

        return min(range(MAX_ADAPTIVE + 1), key=of_token)

    def _acceptance(self, rows: BlendRows, law: SamplingLaw) -> Acceptance:
        key = _key(rows, law)
        known = self._known.get(key)
        if known is None:
            return _prior(rows)
        self._known.move_to_end(key)
        while len(self._known) > BLENDS:
            self._known.popitem(last=False)
        return known


def _key(rows: BlendRows, law: SamplingLaw) -> str:
    """What the acceptance of drafts depends on."""
    return f"{rows.key} {law.temperature:g} {law.top_k} {law.top_p:g} {law.min_p:g} {law.expert_min_p:g}"


def _least(rows: BlendRows) -> int:
    """The least adaptive size: a drafter that was asked for drafts."""
    return 0 if rows.automatic or not rows.drafts else 1


def _prior(rows: BlendRows) -> Acceptance:
    adapters = all(expert.adapter is not None and not expert.prompt for expert in rows.experts)
    product = rows.scheme.target == "product"
    return Acceptance(PRIORS["adapters" if adapters and product else "prompts"])
