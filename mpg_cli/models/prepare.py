"""Models ready for decoding: loaded, checked and accelerated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mpg_cli.errors import caused_by
from mpg_cli.models.fast import SWITCH, accelerate
from mpg_cli.models.load.loader import LoadedModel, load_model, weights_digest
from mpg_cli.models.run.attention import use_few_queries
from mpg_cli.models.run.forward import position_bytes
from mpg_cli.models.run.invariance import check_invariance
from mpg_cli.models.run.plan import plan_of
from mpg_cli.models.run.selfcheck import TESTED, check_rows
from mpg_cli.options.model import ModelOptions


@caused_by("--model")
def load_prepared(options: ModelOptions, report: Callable[[str], None] = lambda message: None) -> LoadedModel:
    """Load and prepare the model of these options; `report` gets progress messages. Raises ModelError."""
    options = options.resolved()
    report(f"loading {options.name}")
    loaded = load_model(options.name, options.revision, options.device, options.dtype, report=report)
    loaded = replace(loaded, notices=(*loaded.notices, *loaded.own.notices))
    if options.compile:
        report("compiling")
    return prepare_model(loaded, compiled=options.compile)


def prepare_model(loaded: LoadedModel, *, compiled: bool = False) -> LoadedModel:
    """Check a loaded model and accelerate it in place; returns it with added notices.

    On a CPU its attention becomes that of run/attention.py. An architecture that the tests do not cover may
    read the weight of a layer itself, so its weights keep the plain layout.
    Raises ModelError for a model that cannot be served.
    """
    check_rows(loaded.model, loaded.id)
    position_bytes(loaded.model)  # before compiling: no later pass has this shape
    weights_digest(loaded.model)
    tested = loaded.model.config.model_type in TESTED
    if tested:
        use_few_queries(loaded.model)
    loaded = replace(loaded, compiled=accelerate(loaded.model, compiled=compiled, repacked=tested))
    check_invariance(loaded.model, compiled=loaded.compiled)
    if not compiled:
        return loaded
    duration = "some seconds" if plan_of(loaded.model).recorder() else "a minute or two"
    notice = f"--compile: the first passes compile, which takes {duration}; later ones are faster"
    if not loaded.compiled:
        notice = f"--compile has no effect: {SWITCH}=0 in the environment turns all acceleration off"
    return replace(loaded, notices=(*loaded.notices, notice))
