"""The prompts, questionnaires and judges of `mpg eval`, and where records go. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mpg_cli.errors import UsageError
from mpg_cli.options import readers
from mpg_cli.options.option import option

JUDGES = """\
The judge is one of three. markers: a persona shows where its words stand in enough sentences; the package has
words for its own personas. classifier: TF-IDF and a logistic regression, trained on texts of the personas, of
which a quarter is held out to say how often it is right (needs pip install 'mpg-cli[eval]'). --judge-url: a
model is asked for a number from 0 to 10 about every reply and persona; the key is read from MPG_JUDGE_KEY."""
JudgeName = Literal["auto", "markers", "classifier", "external", "none"]


@dataclass(frozen=True)
class StudyOptions:
    """The prompts that a blend replies to, and the file that keeps the replies."""

    prompts: Path | None = option(None, metavar="FILE", help="Prompts, one a line.", shown="60 everyday ones")
    count: int | None = option(None, metavar="N", help="The first N prompts only.", shown="all")
    output: Path | None = option(
        None,
        short="-o",
        metavar="FILE.jsonl",
        help="Keep replies and judgements as they come; the same command goes on where it stopped.",
    )


@dataclass(frozen=True)
class JudgeOptions:
    """The judge of which personas a reply shows."""

    judge: JudgeName = option(
        "auto",
        help="The judge of the replies; auto: what the options below belong to, else markers.",
    )
    markers: Path | None = option(
        None,
        metavar="FILE.yaml",
        help="Words of each persona: {persona: [regular expression, …]}.",
        shown="those of the bundled personas",
    )
    train_texts: Path | None = option(
        None,
        metavar="FILE.jsonl",
        help="Texts to train the classifier on, lines {persona, text}.",
        shown="texts of the bundled personas",
    )
    judge_url: str | None = option(
        None,
        metavar="URL",
        help="An OpenAI-compatible server to ask, as http://localhost:8000/v1.",
    )
    judge_model: str | None = option(
        None, metavar="NAME", read=readers.text("--judge-model"), help="The model of that server."
    )

    def kind(self, default: JudgeName = "markers") -> JudgeName:
        """The judge that is meant. Raises UsageError for flags that do not go together."""
        given: dict[JudgeName, str] = {}
        if self.markers is not None:
            given["markers"] = "--markers"
        if self.train_texts is not None:
            given["classifier"] = "--train-texts"
        if self.judge_url is not None or self.judge_model is not None:
            given["external"] = "--judge-url" if self.judge_url is not None else "--judge-model"
        name = self.judge
        if name == "auto":
            if len(given) > 1:
                raise UsageError(f"{' and '.join(given.values())} name two judges", hint="leave one out")
            name = next(iter(given), default)
        for kind, flag in given.items():
            if kind != name:
                raise UsageError(f"{flag} does not go with --judge {name}", hint="leave one out")
        return name


@dataclass(frozen=True)
class RoleplayOptions:
    """Role-playing lines instead of personas and prompts."""

    data: Path | None = option(
        None, metavar="FILE.jsonl", help="Role-playing lines instead of personas and prompts."
    )
    data_weights: str = option("1:1", metavar="P:Q", help="With --data: weights of profile and personality.")
    ask: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--ask"),
        help="With --data: what a line without a question is asked.",
        shown="Tell me about yourself.",
    )

    def check_given(self, given: Callable[[str], bool]) -> None:
        """Raise UsageError where an option that was `given`, by its key, does not go with the others."""
        if self.data is None:
            for flag in ("--data-weights", "--ask"):
                if given(flag[2:].replace("-", "_")):
                    raise UsageError(f"{flag} belongs to --data", hint="leave it out")
            return
        for flag in ("--persona", "--adapter", "--prompts"):
            if given(flag[2:]):
                raise UsageError(f"{flag} does not go with --data, whose lines have their own")


@dataclass(frozen=True)
class QuizOptions:
    """`mpg eval mbti`: the questionnaire, and how it is put."""

    all_types: bool = option(
        False, "--all", help="The sixteen types, each with the --persona given; one table for all."
    )
    items: Path | None = option(
        None, metavar="FILE.json", help="Another questionnaire.", shown="one of 96 items"
    )
    readout: Literal["text", "letter"] = option(
        "text",
        help="Score the texts of the options, or letters that name them; letters are for large models.",
    )
    plot: Path | None = option(None, metavar="FILE.svg|png", help="Draw the scores with their intervals.")


@dataclass(frozen=True)
class MethodsOptions:
    """`mpg eval compare`: what comes of the comparison."""

    plot: Path | None = option(None, metavar="FILE.svg|png", help="Draw presence against fluency.")
    format: Literal["text", "json", "csv"] = option("text", help="A table, one JSON object, or CSV.")
