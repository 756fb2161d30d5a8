"""`mpg eval`: evaluations of a blend."""

from __future__ import annotations

import typer

from mpg_cli.cli.lazy_group import Lazy, lazy_group

# RequestOptions that a questionnaire has, and those that a study of replies lacks or sets itself.
QUESTIONNAIRE_OPTIONS = (
    *("system", "raw", "template_arg", "persona", "adapter", "scale", "persona_dir"),
    *("model", "revision", "device", "dtype", "target"),
)
NOT_IN_STUDIES = ("prompt", "prompt_file", "messages", "prefill", "compile", "samples", "sequence_id")
STUDY_DEFAULTS = {"max_tokens": 256, "seed": 0, "drafter": "merged"}

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

# A command's module is imported when the command is called; the summary is its line in the help.
COMMANDS = {
    "style": Lazy(
        "mpg_cli.cli.commands.eval_style:style",
        "Measure how much of each persona the replies of a blend show.",
    ),
    "compare": Lazy(
        "mpg_cli.cli.commands.eval_compare:compare",
        "Compare a blend with other ways to combine its personas.",
    ),
    "mbti": Lazy("mpg_cli.cli.commands.eval_mbti:mbti", "Run an MBTI questionnaire on a blend."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS, CONTEXT),
    help="Evaluate a blend.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


@app.callback()
def _root() -> None:
    """Evaluate a blend."""
