"""Parts of the groups that several commands take."""

from __future__ import annotations

from typing import Annotated

from mpg_cli.cli.groups import Pick
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.prompt import PromptOptions
from mpg_cli.options.run import RunOptions

SearchPath = Annotated[BlendOptions, Pick(only=("persona_dir",))]
ModelName = Annotated[ModelOptions, Pick(only=("model",))]
PlainModel = Annotated[ModelOptions, Pick(without=("compile",))]
Template = Annotated[PromptOptions, Pick(only=("system", "raw", "template_arg"))]
FixedSeed = Annotated[RunOptions, Pick(only=("seed",), defaults={"seed": 0})]
