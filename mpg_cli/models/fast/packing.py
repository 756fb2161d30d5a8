"""Which prompts are read in one pass: of like length, so that padding costs less than another pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ALIKE = 2.0  # the longest of the prompts that are read together, over the shortest
NEAR = 128  # tokens of padding that are cheaper than another pass


def alike(amounts: Mapping[int, int]) -> list[list[int]]:
    """Places by how much is to be read there, like amounts together: padding never doubles any's work."""
    parts: list[list[int]] = []
    shortest = 0
    for b in sorted(amounts, key=lambda b: (amounts[b], b)):
        if not parts or amounts[b] + 1 > ALIKE * (shortest + 1):
            parts.append([])
            shortest = amounts[b]
        parts[-1].append(b)
    return [sorted(part) for part in parts]


def runs(amounts: Sequence[int]) -> list[range]:
    """Neighbouring rows that read about as much; rows with nothing to read are in none."""
    found: list[range] = []
    for r, amount in enumerate(amounts):
        run = [*amounts[found[-1].start : r], amount] if found and found[-1].stop == r else []
        if run and max(run) <= max(ALIKE * min(run), min(run) + NEAR) and amount:
            found[-1] = range(found[-1].start, r + 1)
        elif amount:
            found.append(range(r, r + 1))
    return found
