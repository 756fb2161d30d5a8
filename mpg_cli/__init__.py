"""mpg: blend several personas while a language model decodes.

    import mpg_cli

    speaker = mpg_cli.load("INTJ+pirate")
    reply = speaker.reply("How should I spend my weekend?", seed=7)
    print(reply.text, reply.stats.acceptance_rate)

docs/api.md describes the names below. Each is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mpg_cli.api import Speaker, blend, generate, load
    from mpg_cli.engine.events import Event, Finished, Notice, Round, Started, Text
    from mpg_cli.engine.run_spec import RunSpec
    from mpg_cli.errors import MpgError
    from mpg_cli.personas.registry import Blend
    from mpg_cli.sampling.params import Sampling, Scheme, Threshold

__all__ = [
    "Blend",
    "Event",
    "Finished",
    "MpgError",
    "Notice",
    "Round",
    "RunSpec",
    "Sampling",
    "Scheme",
    "Speaker",
    "Started",
    "Text",
    "Threshold",
    "__version__",
    "blend",
    "generate",
    "load",
]

_HOMES = {
    **dict.fromkeys(("Speaker", "blend", "generate", "load"), "mpg_cli.api"),
    **dict.fromkeys(("Event", "Finished", "Notice", "Round", "Started", "Text"), "mpg_cli.engine.events"),
    **dict.fromkeys(("Sampling", "Scheme", "Threshold"), "mpg_cli.sampling.params"),
    "Blend": "mpg_cli.personas.registry",
    "RunSpec": "mpg_cli.engine.run_spec",
    "MpgError": "mpg_cli.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
