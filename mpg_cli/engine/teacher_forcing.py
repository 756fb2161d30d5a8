"""Teacher forcing: the log-probabilities that the rows of a blend give to texts that are known already."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.models.experts import Expert
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.slot_rows import SlotRows
from mpg_cli.sampling.params import Scheme
from mpg_cli.sampling.sampler import not_a_number

BLOCK = 2048  # prompt tokens of a pass, over all rows


class TeacherForcing:
    """Scores texts under the rows of a blend; a prefix that an earlier prompt had is not read again."""

    def __init__(self, rows: BlendRows) -> None:
        self._blend, self._rows = rows, SlotRows(rows.loaded.model)

    @classmethod
    def of(cls, loaded: LoadedModel, experts: Sequence[Expert]) -> TeacherForcing:
        """Under the reference and these experts."""
        return cls(BlendRows.of(loaded, experts, Scheme(drafter="none")))

    def log_probs(self, prompts: Sequence[Sequence[Sequence[int]]], texts: Tensor) -> Tensor:
        """For B prompts, one a row each, and N texts (B, N, T) of token ids after each: the log-probabilities
        (R, B, N, T, V) at every position of the texts, in one pass. Raises NumericsError for NaN.
        """
        slots, N = range(len(prompts)), texts.shape[1]
        self._rows.insert({slot: self._blend.new_rows(prompts[slot], N) for slot in slots})
        self._rows.read_all(BLOCK)
        scores = self._rows.score(texts, slots).of(slots)
        if bool(scores.bad.any()):
            slot, row = scores.bad.T.nonzero()[0].tolist()
            raise not_a_number(self._rows.name(slot, row))
        for slot in slots:
            self._rows.free(slot)
        return scores.log_probs[..., :-1, :]

    def close(self) -> None:
        """Free the memory of rows and adapters."""
        self._rows.reset()
