"""Models that answer: loaded, checked, and in the form in which their passes are fastest here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mpg_cli.models.fast.compiling import compile_model, notice
from mpg_cli.models.fast.prepacked import prepack
from mpg_cli.models.load.loader import LoadedModel, load_model, weights_digest
from mpg_cli.models.run.attention import use_few_queries
from mpg_cli.models.run.forward import position_bytes
from mpg_cli.models.run.selfcheck import TESTED, check_rows
from mpg_cli.options.model import ModelOptions


def load_served(choice: ModelOptions, report: Callable[[str], None] = lambda message: None) -> LoadedModel:
    """The model of a choice, ready to answer; `report` is told what takes time. Raises ModelError."""
    report(f"loading {choice.name}")
    loaded = load_model(choice.name, choice.revision, choice.device, choice.dtype)
    if choice.compile:
        report("compiling")
    make_ready(loaded, compiled=choice.compile)
    if choice.compile:
        loaded = replace(loaded, notices=(*loaded.notices, notice(loaded.model)))
    return loaded


def make_ready(loaded: LoadedModel, *, compiled: bool = False) -> None:
    """Check a loaded model, in place, and compile it or lay its weights as its processor reads them.

    On a CPU its attention is that of attention.py from then on.

    An architecture that the tests do not cover may read a layer's weight itself: it keeps the plain layout.
    Raises ModelError for a model that cannot be served.
    """
    check_rows(loaded.model, loaded.id)
    position_bytes(loaded.model)  # of the plain model: a shape that no later pass has is not worth compiling
    tested = loaded.model.config.model_type in TESTED
    if tested:
        use_few_queries(loaded.model)
    if compiled:
        compile_model(loaded.model)
    elif tested:
        weights_digest(loaded.model)  # from the plain layout, which every machine has
        prepack(loaded.model)
