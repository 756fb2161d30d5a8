"""Teacher forcing: the log-probabilities that the rows of a blend give to texts that are known already."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.models.run.row_pool import NewRows
from mpg_cli.models.run.slot_rows import SlotRows
from mpg_cli.sampling.sampler import not_a_number

BLOCK = 2048  # prompt tokens of a pass, over all rows


class TeacherForcing:
    """Scores texts under the rows of a blend; a prompt that an earlier call had is not read again."""

    def __init__(self, rows: BlendRows) -> None:
        self._blend = rows
        self._rows = SlotRows(rows.loaded.model)

    def log_probs(self, prompts: Sequence[Sequence[Sequence[int]]], texts: Tensor) -> Tensor:
        """For B prompts, one a row of the blend each, and N texts (B, N, T) of token ids after each: the
        log-probabilities (R, B, N, T, V) of the token at every position. Raises NumericsError for NaN.
        """
        slots = range(len(prompts))
        parts = [self._blend.new_rows(of_slot) for of_slot in prompts]
        N = texts.shape[1]
        new = {
            slot: [(model, NewRows(rows.rows, N, rows.vocabulary)) for model, rows in part]
            for slot, part in zip(slots, parts, strict=True)
        }
        self._rows.insert(new)
        for pool in self._rows.pools:
            while pool.unread:
                pool.read(BLOCK)
        scores = self._rows.score(texts, slots).of(slots)
        if bool(scores.bad.any()):
            slot, row = scores.bad.T.nonzero()[0].tolist()
            raise not_a_number(self._rows.name(slot, row))
        for slot in slots:
            self._rows.free(slot)
        return scores.log_probs[..., :-1, :]

    def close(self) -> None:
        """Free the memory of rows and adapters."""
        for pool in self._rows.pools:
            pool.reset()
