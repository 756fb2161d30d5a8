"""Parts of the groups of options that several commands take."""

from __future__ import annotations

from typing import Annotated

from mpg_cli.cli.groups import Pick
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.evaluation import LONGEST
from mpg_cli.options.model import ModelOptions

SearchPath = Annotated[BlendOptions, Pick(only=("persona_dir",))]
ModelName = Annotated[ModelOptions, Pick(only=("model",))]
PlainModel = Annotated[ModelOptions, Pick(without=("compile",))]

# Of RequestOptions: what a questionnaire needs, and what a set of replies does not need or sets itself.
QUIZZED = (
    *("system", "raw", "template_arg", "persona", "adapter", "scale", "persona_dir"),
    *("model", "revision", "device", "dtype", "target"),
)
NOT_STUDIED = ("prompt", "prompt_file", "messages", "prefill", "compile", "samples", "sequence_id")
STUDY_DEFAULTS = {"max_tokens": LONGEST, "seed": 0, "drafter": "merged"}
