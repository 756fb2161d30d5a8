"""The bundled model does what the first command of the README promises, through the whole program."""

from __future__ import annotations

from typing import Any

import pytest

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Finished
from mpg_cli.engine.request import Request
from mpg_cli.evaluation.prompts import EvalPrompt
from mpg_cli.evaluation.replies import Source, draw
from mpg_cli.models.load.loader import load_model
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from mpg_cli.sampling.params import SamplingLaw, Scheme
from recipes.mpg_tiny.heldout import PROMPTS
from recipes.mpg_tiny.judge import personas_shown

ASKED = PROMPTS[::8]
BOTH = 0.60  # of the replies of a type and a character show both


def request(persona: str, **scheme: Any) -> Request:
    return Request(
        model=ModelOptions("mpg-tiny"),
        prompting=Prompting("How should I spend my weekend?"),
        sampling=SamplingLaw(),
        scheme=Scheme(**scheme),
        blend=resolve(parse(persona), load_default()),
        seed=20,
    )


def finished(asked: Request) -> Finished:
    events = Engine.load(asked.model).replies(asked)
    return next(event for event in events if isinstance(event, Finished))


def replies(persona: str) -> list[str]:
    """One reply to each of the questions, seeded, at temperature 1 and default weights."""
    asked = [EvalPrompt(str(place), question) for place, question in enumerate(ASKED)]
    return [reply.text for reply in draw(Source(load_model("mpg-tiny"), request(persona)), asked)]


def test_both_personas_are_plain_to_see_in_the_blend() -> None:
    """Seeded, so it passes or fails for good; measured on more questions by recipes.mpg_tiny.report."""
    shown = [personas_shown(text) for text in replies("INTJ+pirate")]
    assert sum("pirate" in s for s in shown) >= 0.8 * len(shown)
    assert sum("pirate" in s and len(s & set("INTJ")) >= 3 for s in shown) >= BOTH * len(shown)


def test_a_weight_of_nearly_nothing_leaves_the_neutral_base() -> None:
    shown = [personas_shown(text) for text in replies("pirate:0.001")]
    assert sum("pirate" in s for s in shown) <= 0.2 * len(shown)


def test_the_text_of_the_first_command_depends_on_its_seed_alone() -> None:
    texts = set()
    for scheme in (
        {"drafter": "none"},
        {},
        {"drafter": "reference", "chunk_size": 8},
        {"drafter": "persona:pirate", "chunk_size": 3},
    ):
        asked = request("INTJ+pirate", **scheme)
        end = finished(asked)
        assert end.finish_reason == "stop"
        texts.add(end.text)
    assert len(texts) == 1


@pytest.mark.parametrize("drafter, least", [("merged", 0.75), ("reference", 0.5)])
def test_drafts_are_mostly_accepted(drafter: str, least: float) -> None:
    end = finished(request("INTJ+pirate", drafter=drafter, chunk_size=4))
    assert end.stats.acceptance_rate is not None
    assert end.stats.acceptance_rate > least
