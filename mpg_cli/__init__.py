"""mpg: several personas at once, blended while a language model decodes.

    import mpg_cli
    reply = mpg_cli.generate("How should I spend my weekend?", "INTJ+pirate", seed=7)
    print(reply.text, reply.stats.acceptance_rate)

`Session` keeps a model loaded for many replies and yields their events. Nothing heavy is imported before
one of these names is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mpg_cli.api import blend, generate
    from mpg_cli.personas.registry import Blend
    from mpg_cli.session import Session

__all__ = ["Blend", "Session", "__version__", "blend", "generate"]

_HOMES = {
    "Blend": "mpg_cli.personas.registry",
    "Session": "mpg_cli.session",
    "blend": "mpg_cli.api",
    "generate": "mpg_cli.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
