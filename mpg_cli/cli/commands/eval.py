"""`mpg eval`: evaluations of a blend."""

from __future__ import annotations

from mpg_cli.cli.lazy_group import Lazy, command_group

# RequestOptions that a questionnaire has, and those that a study of replies lacks or sets itself.
QUESTIONNAIRE_OPTIONS = (
    *("system", "raw", "template_arg", "persona", "adapter", "scale", "persona_dir"),
    *("model", "revision", "device", "dtype", "target"),
)
NOT_IN_STUDIES = ("prompt", "prompt_file", "messages", "prefill", "compile", "samples", "sequence_id")
STUDY_DEFAULTS = {"max_tokens": 256, "seed": 0, "drafter": "merged"}
STUDY_HELPS = {"seed": "Random seed; the same seed gives the same replies."}

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

app = command_group(COMMANDS, help="Evaluate a blend.")
