"""The main job as a function call: one reply of a blend, with the defaults of `mpg generate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mpg_cli.events import Finished
from mpg_cli.personas import expression
from mpg_cli.personas.registry import Blend, load_default, resolve
from mpg_cli.request import DEFAULT_MODEL, GenerateRequest, ModelChoice, Prompting, Sampling, Scheme


def blend(persona: str, *, persona_dirs: Sequence[Path] = (), strength: float = 1.0) -> Blend:
    """The experts and weights of a persona expression such as `INTJ+pirate:0.5`.

    Raises ExpressionError where it does not parse, PersonaError for unknown or broken personas.
    """
    return resolve(expression.parse(persona), load_default(persona_dirs), strength)


def generate(
    prompt: str,
    persona: str | Blend,
    *,
    model: str = DEFAULT_MODEL,
    seed: int | None = None,
    sampling: Sampling | None = None,
    scheme: Scheme | None = None,
) -> Finished:
    """Load the model, reply once, return text, token ids and statistics. For many replies use `Session`.

    Raises MpgError (mpg_cli.errors) for whatever a user can get wrong.
    """
    from mpg_cli.session import Session  # torch and transformers

    request = GenerateRequest(
        model=ModelChoice(model),
        prompting=Prompting(prompt),
        sampling=sampling or Sampling(),
        scheme=scheme or Scheme(),
        blend=persona if isinstance(persona, Blend) else blend(persona),
        seed=seed,
    )
    events = Session.open(request).replies(request)
    return next(event for event in events if isinstance(event, Finished))
