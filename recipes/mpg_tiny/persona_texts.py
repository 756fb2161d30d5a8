"""Write the training texts of the classifier of `mpg eval style` for the bundled personas.

`python -m recipes.mpg_tiny.persona_texts` draws replies of the grammar, each showing some of the personas.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mpg_cli.evaluation.judge_texts import BUNDLED
from recipes.mpg_tiny.classifier import mixed_specs
from recipes.mpg_tiny.corpus import PERSONAS, reply

SEED = 31
DIALOGUES = 4000
TEXTS = 1000


def lines() -> Iterator[str]:
    """Lines of {persona, text}."""
    for spec in islice(mixed_specs(DIALOGUES, SEED), TEXTS):
        shown = [name for name in PERSONAS if name in spec.personas]
        yield json.dumps({"persona": shown, "text": reply(spec, 0)}, ensure_ascii=False)


def write(file: Path = BUNDLED) -> None:
    """Write the file."""
    file.write_text("\n".join(lines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
