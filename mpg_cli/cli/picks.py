"""Parts of the groups of options that several commands take."""

from __future__ import annotations

from typing import Annotated

from mpg_cli.cli.groups import Pick
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.model import ModelOptions

SearchPath = Annotated[BlendOptions, Pick(only=("persona_dir",))]
ModelName = Annotated[ModelOptions, Pick(only=("model",))]
