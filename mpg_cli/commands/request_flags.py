"""From the flags that commands share to a request, by their names in the command's context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from mpg_cli.commands import blending, values
from mpg_cli.request import GenerateRequest, ModelChoice, Prompting, Sampling
from mpg_cli.turns import check_text


def read_request(
    ctx: typer.Context, prompting: Prompting, expressions: list[str], adapters: list[str]
) -> GenerateRequest:
    """The request of these personas and adapters with the model, sampling and scheme of the flags.

    Raises UsageError and its kin.
    """
    given: dict[str, Any] = ctx.params
    directories = [Path(folder) for folder in given["persona_dir"] or ()]
    blend = blending.read_blend(expressions, directories, given["strength"], adapters_given=bool(adapters))
    weighed = values.adapters(adapters, given["strength"])
    names = [expert.persona.name for expert in blend.experts] if blend else []
    blending.check_weights(given["target"], blend, weighed)
    scheme = blending.read_scheme(
        ctx,
        drafter=values.drafter(given["drafter"], [*names, *(path.resolve().name for path, _ in weighed)]),
        **{name: given[name] for name in ("target", "rule", "chunk_size", *blending.PAPER_FLAGS)},
    )
    return GenerateRequest(
        model=ModelChoice(given["model"], given["revision"], given["device"], given["dtype"]),
        prompting=prompting,
        sampling=Sampling(
            stop=tuple(check_text("--stop", text) for text in given["stop"] or ()),
            **{name: given[name] for name in _SAMPLING},
        ),
        scheme=scheme,
        blend=blend,
        adapters=weighed,
        seed=given["seed"],
    )


_SAMPLING = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")
