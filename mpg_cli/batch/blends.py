"""Resolve the persona expressions of input lines to blends. Torch-free."""

from __future__ import annotations

from mpg_cli.engine.request import Request
from mpg_cli.errors import PersonaError
from mpg_cli.options.blend import BlendOptions
from mpg_cli.personas import expression, registry
from mpg_cli.personas.registry import Blend, Registry


class Blends:
    """Resolves each distinct persona expression once; `options` are the command's blend options."""

    def __init__(self, defaults: Request, options: BlendOptions) -> None:
        self._defaults, self._options = defaults, options
        self._registry: Registry | None = None
        self._known: dict[str, Blend] = {}

    def __call__(self, persona: str | None) -> Blend | None:
        """The blend of an expression; None: the command's blend. Raises PersonaError, ExpressionError."""
        if persona is None:
            if self._defaults.blend is None and not self._defaults.adapters:
                raise PersonaError("neither the line nor the command names a persona")
            self._check_drafter(self._defaults.blend)
            return self._defaults.blend
        if persona not in self._known:
            self._registry = self._registry or registry.load_default(self._options.persona_dirs)
            blend = registry.resolve(expression.parse(persona), self._registry, self._options.scale)
            if self._defaults.scheme.target == "mixture" and blend.negative:
                raise PersonaError(f"--target mixture does not allow negative weights: {blend.negative[0]}")
            self._check_drafter(blend)
            self._known[persona] = blend
        return self._known[persona]

    def _check_drafter(self, blend: Blend | None) -> None:
        """Raise PersonaError where the drafter is a persona that the blend does not contain."""
        kind, _, name = self._defaults.scheme.drafter.partition(":")
        names = [expert.persona.name.lower() for expert in blend.experts] if blend else []
        names += [place.name.lower() for place, _ in self._defaults.adapters]
        if kind == "persona" and name.strip().lower() not in names:
            raise PersonaError(f"the blend of the line does not contain the drafter {name}")
