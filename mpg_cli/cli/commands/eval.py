"""`mpg eval`: what a blend shows, measured."""

from __future__ import annotations

import typer

from mpg_cli.cli.lazy_group import Lazy, lazy_group

# Of RequestOptions: what a questionnaire needs, and what a set of replies does not need or sets itself.
QUIZZED = (
    *("system", "raw", "template_arg", "persona", "adapter", "scale", "persona_dir"),
    *("model", "revision", "device", "dtype", "target"),
)
NOT_STUDIED = ("prompt", "prompt_file", "messages", "prefill", "compile", "samples", "sequence_id")
STUDY_DEFAULTS = {"max_tokens": 256, "seed": 0, "drafter": "merged"}

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

# Each module loads when its command is called; the line is that of the help.
COMMANDS = {
    "style": Lazy("mpg_cli.cli.commands.eval_style:style", "How much of each persona a blend shows."),
    "compare": Lazy("mpg_cli.cli.commands.eval_compare:compare", "A blend against all other ways to get it."),
    "mbti": Lazy("mpg_cli.cli.commands.eval_mbti:mbti", "Put an MBTI questionnaire to a blend."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS, CONTEXT),
    help="Measure what a blend shows.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


@app.callback()
def _root() -> None:
    """Measure what a blend shows."""
