"""Options of `mpg eval`: prompts, questionnaires, judges and output. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mpg_cli.errors import UsageError
from mpg_cli.options import readers
from mpg_cli.options.option import option

JUDGES = """\
Judges. markers: a reply shows a persona if enough sentences contain one of its markers; those of the package
are words that mpg-tiny uses, and serve this model only. classifier: logistic regression on words, trained on
replies written for the personas of the library and tested on another writer's; a persona that it finds with
less than 85 % balanced accuracy is refused (needs pip install 'mpg-cli[eval]'). encoder: the same on
embeddings of MiniLM-L6 (needs 'mpg-cli[encoder]'). For mpg-tiny, and with --train-texts, both are trained on
other texts, of which a quarter is held out. external: the model at --judge-url rates every reply and persona
from 0 to 10; the API key is read from MPG_JUDGE_KEY."""
JudgeName = Literal["auto", "markers", "classifier", "encoder", "external", "none"]
TRAINED: tuple[JudgeName, ...] = ("classifier", "encoder")


@dataclass(frozen=True)
class StudyOptions:
    """The prompts of a study, and the file of its replies."""

    prompts: Path | None = option(
        None, metavar="FILE", help="Prompts, one per line.", shown="60 everyday prompts"
    )
    count: int | None = option(None, metavar="N", help="Use only the first N prompts.", shown="all")
    output: Path | None = option(
        None,
        short="-o",
        metavar="FILE.jsonl",
        help="Append replies and judgements to FILE; run the same command again to resume.",
    )


@dataclass(frozen=True)
class JudgeOptions:
    """The judge that rates which personas a reply shows."""

    judge: JudgeName = option(
        "auto",
        help="The judge of the replies; auto: the judge of the options below, or without any markers on "
        "mpg-tiny and classifier on other models.",
    )
    markers: Path | None = option(
        None,
        metavar="FILE.yaml",
        help="Markers of each persona: {persona: [regular expression, …]}.",
        shown="with mpg-tiny, those of the package",
    )
    train_texts: Path | None = option(
        None,
        metavar="FILE.jsonl",
        help="Training texts of classifier or encoder, lines {persona, text}.",
        shown="texts of the package",
    )
    judge_url: str | None = option(
        None,
        metavar="URL",
        help="OpenAI-compatible server of the judge, such as http://localhost:8000/v1.",
    )
    judge_model: str | None = option(
        None, metavar="NAME", read=readers.text("--judge-model"), help="Model of the judge on that server."
    )

    def kind(self, default: JudgeName = "markers") -> JudgeName:
        """The judge that the options select. Raises UsageError for conflicting options."""
        given: dict[str, tuple[JudgeName, ...]] = {}  # flags, and the judges that take them
        if self.markers is not None:
            given["--markers"] = ("markers",)
        if self.train_texts is not None:
            given["--train-texts"] = TRAINED
        if self.judge_url is not None or self.judge_model is not None:
            given["--judge-url" if self.judge_url is not None else "--judge-model"] = ("external",)
        name = self.judge
        if name == "auto":
            if len(given) > 1:
                raise UsageError(f"{' and '.join(given)} name two judges", hint="leave one out")
            name = next((kinds[0] for kinds in given.values()), default)
        for flag, kinds in given.items():
            if name not in kinds:
                raise UsageError(f"{flag} conflicts with --judge {name}", hint="leave one out")
        return name


@dataclass(frozen=True)
class RoleplayOptions:
    """Role-playing lines instead of personas and prompts, or open questions instead of prompts."""

    data: Path | None = option(
        None,
        metavar="FILE.json",
        help="Role-playing lines instead of personas and prompts, or open questions instead of prompts; JSON "
        "lines or a JSON list.",
    )
    data_weights: str = option(
        "1:1", metavar="P:Q", help="With role-playing lines: weights of profile and personality."
    )
    ask: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--ask"),
        help="With role-playing lines: the question of lines without one.",
        shown="Tell me about yourself.",
    )

    def check_given(
        self, given: Callable[[str], bool], kind: Literal["roles", "questions"] | None, *, blend: bool
    ) -> None:
        """Raise UsageError for conflicting options; `given` tests by key whether an option was given.

        `kind` is that of the lines of --data; `blend` says whether there is a persona or an adapter.
        """
        if kind == "questions" and not blend:
            raise UsageError(
                "--data has open questions, and no persona answers them",
                hint="add --persona NAME, for instance -p pirate, or --adapter PATH",
            )
        own: dict[str | None, tuple[str, ...]] = {
            "roles": ("--persona", "--adapter", "--prompts"),
            "questions": ("--prompts",),
        }
        for flag in own.get(kind, ()):
            if given(flag[2:]):
                raise UsageError(
                    f"{flag} conflicts with --data, whose lines have their own", hint="leave one out"
                )
        for flag in ("--data-weights", "--ask") if kind != "roles" else ():
            if given(flag[2:].replace("-", "_")):
                what = "--data" if kind is None else "role-playing lines, --data has open questions"
                raise UsageError(f"{flag} needs {what}", hint=f"add --data or leave out {flag}")


@dataclass(frozen=True)
class QuizOptions:
    """`mpg eval mbti`: the questionnaire, its readout and the plot."""

    all_types: bool = option(
        False, "--all", help="Score all sixteen types, each blended with the --persona, in one table."
    )
    items: Path | None = option(
        None,
        metavar="FILE.json",
        help="A questionnaire in place of the built-in one, our own or a published one.",
        shown="96 items",
    )
    readout: Literal["text", "letter"] = option(
        "text",
        help="Score the texts of the options, or the letters that label them (for large models).",
    )
    plot: Path | None = option(None, metavar="FILE.svg|png", help="Plot the scores with their intervals.")


@dataclass(frozen=True)
class MethodsOptions:
    """`mpg eval compare`: the plot and the report."""

    plot: Path | None = option(None, metavar="FILE.svg|png", help="Plot presence against fluency.")
    format: Literal["text", "json", "csv"] = option("text", help="A table, one JSON object, or CSV.")
