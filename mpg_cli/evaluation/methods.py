"""The compared methods: ways to combine several personas in one model, each a source of replies.

base          the model alone
single:NAME   one persona of the blend, at weight 1
prompts       no adapter; the system prompts of all personas joined
merged        one model with the weighted sum of all adapters added to its weights
merged 1/K    the same with the weights divided by the number of personas
mixture       p = sum of w_i pi_i, token by token
threshold     the product, by the rule of the paper
exact         the product, by the exact rule: ours
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mpg_cli.engine.request import Request
from mpg_cli.evaluation.replies import Source
from mpg_cli.models.experts import Expert
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.fold import fold
from mpg_cli.personas.registry import Blend, BlendExpert
from mpg_cli.personas.schema import Persona
from mpg_cli.sampling.params import RuleName, Scheme, TargetName

OURS = "exact"
PROMPT = "joined prompts"  # name of the expert with the joined prompts


@dataclass(frozen=True)
class Method:
    """A name and a factory of its source; called late, because a merged model copies the weights."""

    name: str
    source: Callable[[], Source]


def methods(
    loaded: LoadedModel,
    experts: Sequence[Expert],
    request: Request,
    notice: Callable[[str], None] = lambda message: None,
) -> list[Method]:
    """All methods for the blend of a request, ours last; the scheme of the request sets the drafter of ours.

    `notice` gets the reason of each method that is left out.
    """
    return list(_methods(loaded, experts, request, notice))


def _methods(
    loaded: LoadedModel,
    experts: Sequence[Expert],
    request: Request,
    notice: Callable[[str], None],
) -> Iterator[Method]:
    yield Method("base", lambda: Source(loaded, prompted(request, None)))
    for name in [expert.name for expert in experts]:
        yield Method(f"single:{name}", lambda name=name: Source(loaded, single(request, name)))  # type: ignore[misc]
    if prompt := joined_prompt([(e.persona_prompt, e.weight) for e in experts]):
        yield Method("prompts", lambda: Source(loaded, prompted(request, prompt)))
    else:
        notice("prompts: left out, no persona of the blend has a system prompt")
    if why := _unmergeable(experts):
        notice(f"merged: left out, {why}")
    else:
        weights = [expert.weight for expert in experts]
        shares = [weight / len(weights) for weight in weights]
        yield Method("merged", lambda: merged(loaded, experts, weights, request))
        if len(weights) > 1:
            yield Method("merged 1/K", lambda: merged(loaded, experts, shares, request))
    if any(expert.weight < 0 for expert in experts):
        notice("mixture: left out, it allows no negative weights")
    else:
        yield Method("mixture", lambda: Source(loaded, blended(request, "mixture", "exact")))
    yield Method("threshold", lambda: Source(loaded, blended(request, "product", "threshold")))
    yield Method(OURS, lambda: Source(loaded, blended(request, "product", "exact")))


def blended(request: Request, target: TargetName, rule: RuleName) -> Request:
    """The request with another target and rule; the drafter is kept if the rule supports it."""
    scheme = request.scheme
    not_loaded = scheme.chunk_size == 0 and scheme.drafter.startswith("model:")
    if rule == "threshold" and (not_loaded or scheme.drafter == "lookup"):
        scheme = replace(scheme, drafter="merged")
    chunk = None if rule == "threshold" and scheme.chunk_size == 0 else scheme.chunk_size
    scheme = replace(scheme, target=target, rule=rule, chunk_size=chunk).effective
    return replace(request, scheme=scheme)


def token_by_token(request: Request, target: TargetName = "product") -> Request:
    """Token-by-token decoding: the text that the exact rule must reproduce."""
    return replace(request, scheme=Scheme(target, drafter="none"))


def single(request: Request, name: str, weight: float = 1.0) -> Request:
    """One expert of the blend alone; at weight 1 it is that expert's own distribution."""
    for expert in request.blend.experts if request.blend else ():
        if expert.persona.name == name:
            blend = Blend(name, (BlendExpert(expert.persona, weight),))
            return replace(request, blend=blend, adapters=(), scheme=Scheme(drafter="none"))
    place = next(place for place, _ in request.adapters if place.name == name)
    return replace(request, blend=None, adapters=((place, weight),), scheme=Scheme(drafter="none"))


def merged(
    loaded: LoadedModel, experts: Sequence[Expert], weights: Sequence[float], request: Request
) -> Source:
    """One model whose weights are W + sum of w_i s_i B_i A_i; the prompts of prompt experts are joined."""
    row = [(e.adapter, w) for e, w in zip(experts, weights, strict=True) if e.adapter is not None]
    prompt = joined_prompt([(e.prompt, w) for e, w in zip(experts, weights, strict=True)])
    return Source(replace(loaded, model=fold(loaded.model, row)), prompted(request, prompt))


def joined_prompt(prompts: Sequence[tuple[str | None, float]]) -> str | None:
    """The prompts of positive weight, a blank line between them; None for none."""
    return "\n\n".join(text for text, weight in prompts if text and weight > 0) or None


def prompted(request: Request, prompt: str | None) -> Request:
    """No expert, or one that is a system prompt at weight 1."""
    blend = None
    if prompt is not None:
        persona = Persona(PROMPT, Path(PROMPT), 0, prompt=prompt, use="prompt")
        blend = Blend(PROMPT, (BlendExpert(persona, 1.0),))
    return replace(request, blend=blend, adapters=(), scheme=Scheme(drafter="none"))


def _unmergeable(experts: Sequence[Expert]) -> str | None:
    """Why the experts cannot be merged; None if they can."""
    other = [expert.name for expert in experts if expert.checkpoint is not None]
    if other:
        return f"{', '.join(other)} is a checkpoint, not an adapter"
    if all(expert.adapter is None for expert in experts):
        return "no persona of the blend is an adapter"
    return None
