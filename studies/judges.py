"""Write docs/judges.md: how well the trained judges of `mpg eval` know the personas of the library.

`python -m studies.judges` takes about three minutes, later runs one; it needs the extra `encoder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mpg_cli.evaluation.classifier import Features, HeldOut, TrainedJudge, WordFeatures
from mpg_cli.evaluation.encoder import SentenceFeatures
from mpg_cli.evaluation.judge_texts import LEAST_ACCURACY, library_texts
from mpg_cli.personas.persona_data import CHARACTERS, NAMES, POLES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "judges.md"

HEAD = """\
# The trained judges

Written by `python -m studies.judges`; do not edit.

`mpg eval style` and `compare` look for a persona of the library with a classifier that is trained on the
replies of the persona data, and tested on its references: replies by another writer to other prompts on other
topics. `classifier` reads words, `encoder` the layers of a sentence encoder
([the judges](eval.md#the-judges)). A character is told from neutral replies and those of all other personas,
a pole from its opposite and from neutral replies.

*found*: the share of the persona's references that the judge finds. *spared*: the share of the others in
which it does not find the persona. *balanced*: the mean of both; a judge below {least:.0%} is refused.
"""

TAIL = """\
The references are good English. The replies of a small model often are not, and a judge may be less sure of
those: read some of them beside the figures. Two judges of different kinds that agree say more than one.
"""


def measure(features: Features) -> list[HeldOut]:
    """The held-out results of all personas, also of those that the judge is refused for."""
    return TrainedJudge(features, replace(library_texts(NAMES), least=0.0)).held_out


def page(found: Mapping[str, Sequence[HeldOut]]) -> str:
    """The whole page, of the results of each judge."""
    judges = [{own.persona: own for own in results} for results in found.values()]
    columns = "".join(f" {kind}: found | spared | balanced |" for kind in found)
    lines = [HEAD.format(least=LEAST_ACCURACY)]
    for title, names in (("Poles", POLES), ("Characters", CHARACTERS)):
        lines += [f"## {title}\n", f"| persona |{columns}", "|---" * (1 + 3 * len(found)) + "|"]
        lines += [f"| {name} |{''.join(cells(own[name]) for own in judges)}" for name in names]
        lines.append("")
    return "\n".join([*lines, TAIL])


def cells(own: HeldOut) -> str:
    """Three cells of a row."""
    refused = " (refused)" if own.accuracy < LEAST_ACCURACY else ""
    return f" {own.found:.0%} | {own.spared:.0%} | {own.accuracy:.0%}{refused} |"


def main() -> None:
    """Measure both judges and write the page."""
    judges: list[Features] = [WordFeatures(), SentenceFeatures()]
    PAGE.write_text(page({own.kind: measure(own) for own in judges}), encoding="utf-8")


if __name__ == "__main__":
    main()
