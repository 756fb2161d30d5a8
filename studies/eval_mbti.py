"""Write docs/eval-mbti.md: the answers of the bundled model to the questionnaire.

`python -m studies.eval_mbti` takes about a minute.
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from mpg_cli.api import blend
from mpg_cli.evaluation.item_files import BUILT_IN, read_items
from mpg_cli.evaluation.mbti import Findings, Quiz, run, types
from mpg_cli.evaluation.questionnaire import Item
from mpg_cli.evaluation.scores import Score, Sheet
from mpg_cli.options.model import ModelOptions
from mpg_cli.render.mbti import recovered, write_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "eval-mbti.md"
FAR = ROOT / "recipes" / "mpg_tiny" / "questionnaire.json"
POLES = tuple("EISNTFJP")
CHARACTERS = tuple(f"{name}+pirate" for name in types())

HEAD = """\
# The questionnaire on mpg-tiny

Written by `python -m studies.eval_mbti`; do not edit.

`mpg eval mbti -p INTJ+pirate` asks a blend {count} items, {each} for each of the dimensions EI, SN,
TF and JP. An item is a forced choice such as “Would you rather {first} or {second}?”. Nothing is
sampled and no text is parsed: the answer is the probability of the text of each option after “I would
rather”, as the mean log-probability per token, averaged over both orders of the options. An item scores
tanh(margin / 2): 1 is the first pole, -1 the second, 0 chance. A dimension scores the mean of its items,
with a 95 % t-interval over them; the type is the four signs. Scores are raw, without a correction by the
base, which is asked as well and shown. `moved` is the difference to the base, item by item.

The setup follows the paper, which asks MBTI questionnaires. Its items and its prompts are not used; the
items here are our own. MBTI is not valid psychology, and a model has no personality: the number says
which of two texts a blend makes more likely.
"""

TAIL = """\
## How the items were made

* Half of the items of a dimension have the first pole as option A, and each is asked in both orders.
* No option is a sentence of the training text or the beginning of a first-person preference in it, or shares
  six words of ten with such a preference (`tests/evaluation/test_questionnaire.py`). But the words and the
  openings are those of that text, and some options (“check the facts”) occur inside a longer sentence.
* The options of a pair are matched: `python -m studies.match_items` pairs options that are about equally
  likely under the **base**, as forced-choice questionnaires match options by desirability, and drops those
  that fit no pair. So the base is within chance by construction, which is no finding. Experts take no part
  in the matching. The options come from pools that are not kept.
* It was not the first attempt. Items in everyday words, far from the training text, moved nothing (below),
  and five versions of nearer items, unmatched or loosely matched, read 1 to 4 types. Seven matched versions
  with the openings of the training text, of 88 to 120 items, read 10, 10, 12, 12, 10, 9 and 15, then one with
  an option exchanged 14. On the way pools grew. After a look at the results of the poles I and P, options of
  theirs whose openings several poles share (“keep …”, “be …”, “write …”) were replaced, and options were
  added to the pool of J, because the base leaned to J. All that was with an earlier base and other adapters.
  When these were trained again, the options of that last version were paired again by the command above, in
  two versions: all 120, of which SN leaned to N on the base and which no blend was asked, and the best of
  them, which is the version here. Its wording was fitted to this training text, and its numbers are somewhat
  too good.

## Limits

* Nothing shows that this generalises to words that the adapters have not learned: on the {far} items of
  `recipes/mpg_tiny/questionnaire.json`, which avoid them, **{far_right}**, and {far_moved} of 8 poles
  move their dimension.
* Not every letter of a type is certain: of the {letters} scores of the types, {weak} have an interval
  that includes 0.
* [library.md](library.md) measures the replies themselves. A model of 1.6 million parameters has learned
  sentences.
* On other models the options are not matched: look at the base's own intervals.
"""


def main() -> None:
    """Run the questionnaires and write the page."""
    items = read_items(BUILT_IN)
    names = (*POLES, *types(), *CHARACTERS)
    found = ask(names, items)
    far = ask((*POLES, *types()), read_items(FAR))
    PAGE.write_text(page(found, far), encoding="utf-8")


def ask(names: tuple[str, ...], items: tuple[Item, ...]) -> Findings:
    """The sheets of these blends, in float32 on the CPU."""
    model = ModelOptions("mpg-tiny", device="cpu", dtype="float32")
    return run(Quiz(tuple(map(blend, names)), names, items, model))


def page(found: Findings, far: Findings) -> str:
    """The whole page."""
    first, second = found.items[0].options
    count = len(found.items)
    texts = {"count": count, "each": count // 4, "first": first.text, "second": second.text}
    plain, pirates = of(found, types()), of(found, CHARACTERS)
    scores = [score for sheet in plain for score in sheet.scores]
    type_names = list(types())
    tail = TAIL.format(
        far=len(far.items),
        far_right=recovered(type_names, [sheet.type for sheet in of(far, types())]).partition(";")[0],
        far_moved=sum(moves(far, sheet) for sheet in of(far, POLES)),
        weak=sum(not score.excludes_chance for score in scores),
        letters=len(scores),
    )
    base = [
        f"{cell(score)} {'**chance**' if score.excludes_chance else 'within chance'}"
        for score in found.base.scores
    ]
    parts = [
        HEAD.format(**texts),
        "## The base and the poles\n",
        "| blend | EI | SN | TF | JP |\n|---|---|---|---|---|",
        f"| base | {' | '.join(base)} |",
        *(f"| {sheet.persona} | {' | '.join(map(cell, sheet.scores))} |" for sheet in of(found, POLES)),
        "\n| pole | moved its dimension | interval excludes 0 |\n|---|---|---|",
        *(pole_row(found, sheet) for sheet in of(found, POLES)),
        "\n## The sixteen types\n\n`mpg eval mbti --model mpg-tiny --all` prints\n\n```",
        table(found, plain),
        "```\n\n## The types as pirates\n\n`mpg eval mbti --model mpg-tiny --all -p pirate`: "
        + recovered(type_names, [sheet.type for sheet in pirates])
        + ".\n\n| blend | read | EI | SN | TF | JP |\n|---|---|---|---|---|---|",
        *(f"| {sheet.persona} | {sheet.type} | {' | '.join(map(cell, sheet.scores))} |" for sheet in pirates),
        "",
        tail,
    ]
    return "\n".join(parts)


def of(found: Findings, names: tuple[str, ...]) -> list[Sheet]:
    """The sheets of these blends."""
    return [sheet for sheet in found.sheets if sheet.persona in names]


def own_shift(found: Findings, sheet: Sheet) -> Score:
    """How far a pole moved its own dimension."""
    return next(score for score in found.shift(sheet) if sheet.persona in score.dimension)


def moves(found: Findings, sheet: Sheet) -> bool:
    """Whether a pole moves its dimension towards itself, with an interval that excludes 0."""
    score = own_shift(found, sheet)
    return score.excludes_chance and score.pole == sheet.persona


def pole_row(found: Findings, sheet: Sheet) -> str:
    """A line of the table of poles."""
    excludes = "yes" if moves(found, sheet) else "**no**"
    return f"| {sheet.persona} | {cell(own_shift(found, sheet))} | {excludes} |"


def cell(score: Score) -> str:
    return f"{score.value:+.2f} [{score.low:+.2f}, {score.high:+.2f}]"


def table(found: Findings, sheets: list[Sheet]) -> str:
    """The output of `mpg eval mbti --model mpg-tiny --all`."""
    stream = StringIO()
    write_table(
        stream,
        Findings(
            found.model, found.revision, found.target, found.readout, found.items, found.base, tuple(sheets)
        ),
    )
    return stream.getvalue().rstrip("\n")


if __name__ == "__main__":
    main()
