"""How alike the replies are to the texts of their lines: the cosine of sentence embeddings. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpg_cli.evaluation.encoder import NAME, SentenceFeatures
from mpg_cli.evaluation.prompts import EvalPrompt

REFERENCE = "reference"


class Similarity:
    """The cosine between a reply and each persona's text and the reference answer. It is no judge: it says
    what texts are about more than whose voice they have, and has no value from which on a persona shows.
    """

    def __init__(self) -> None:
        """Raises UsageError without the packages of the extra `encoder`."""
        self._features = SentenceFeatures()
        self.about: dict[str, Any] = {"kind": "similarity", **self._features.about}
        self.words = f"cosine of sentence embeddings of {NAME}"

    def cosines(self, prompts: Sequence[EvalPrompt], texts: Sequence[str]) -> dict[str, list[float | None]]:
        """For each name (of a persona, or REFERENCE) the cosine of every text, a reply to the prompt.

        None for an empty reply, and for a line without a reference.
        """
        compared = [{**one.personas, REFERENCE: one.reference or ""} for one in prompts]
        distinct = dict.fromkeys(text for own in compared for text in own.values())
        every = list(distinct | dict.fromkeys(texts))
        rows = dict(zip(every, self._features.sentences(every), strict=True))
        return {
            name: [
                float(rows[text] @ rows[own[name]]) if text.strip() and own[name] else None
                for text, own in zip(texts, compared, strict=True)
            ]
            for name in compared[0]
        }
