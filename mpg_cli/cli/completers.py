"""Shell completion of option values and arguments. Torch-free.

A completer gets the context (the options before the cursor) and the incomplete word. It never raises: an
error would end up in the middle of the user's command line. Shells evaluate parts of their suggestions, so
only safe characters are returned.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mpg_cli.personas.registry import Registry

Suggestion = tuple[str, str]  # a value, and what it is
Completer = Callable[[typer.Context, str], list[Suggestion]]

_WORD = re.compile(r"[A-Za-z0-9._/-]+")
# The complete terms of an expression, including the last +.
_COMPLETE_TERMS = re.compile(r"(?:[A-Za-z0-9_+:. -]*\+)?[ ]*(?=[A-Za-z0-9_-]*$)")
_UNSAFE = re.compile(r"[^\w ,.;()/-]")
_LONGEST = 70  # characters of a description


def _quiet(complete: Callable[[typer.Context, str], Iterable[Suggestion]]) -> Completer:
    """A completer that filters by the incomplete word (ignoring case) and returns nothing on errors."""

    @wraps(complete)
    def completer(ctx: typer.Context, incomplete: str) -> list[Suggestion]:
        try:
            found = list(complete(ctx, incomplete))
        except Exception:
            return []
        size, start = len(incomplete), incomplete.lower()
        return [(incomplete + v[size:], _plain(h)) for v, h in found if v.lower().startswith(start)]

    return completer


@_quiet
def expression(ctx: typer.Context, incomplete: str) -> Iterable[Suggestion]:
    """Persona names at the end of an expression: `INTJ:0.7+pi` to `INTJ:0.7+pirate`."""
    done = _COMPLETE_TERMS.match(incomplete)
    if done is None or re.search(r":\s*\+\s*$", done.group()):  # a sign, not the next term
        return []
    return [(done.group() + name, about) for name, about in _names(ctx)]


@_quiet
def persona(ctx: typer.Context, incomplete: str) -> Iterable[Suggestion]:
    """The name of one persona."""
    return _names(ctx)


@_quiet
def tag(ctx: typer.Context, incomplete: str) -> Iterable[Suggestion]:
    """The tags of all personas."""
    tags = {tag for persona in _registry(ctx).personas for tag in persona.tags}
    return [(tag, "") for tag in sorted(tags) if _WORD.fullmatch(tag)]


@_quiet
def model(ctx: typer.Context, incomplete: str) -> Iterable[Suggestion]:
    """Models that have a name, those in the hub cache and those of Ollama; the shell completes folders."""
    from mpg_cli.config.named_models import AUTO

    return [*_models(), (AUTO, "smollm2 if it is here, else mpg-tiny")]


@_quiet
def model_to_get(ctx: typer.Context, incomplete: str) -> Iterable[Suggestion]:
    """The model that has a name."""
    from mpg_cli.config.named_models import SMOLLM2, SMOLLM2_REPO

    return [(SMOLLM2, SMOLLM2_REPO)]


@_quiet
def model_to_remove(ctx: typer.Context, incomplete: str) -> Iterable[Suggestion]:
    """The models that were downloaded or converted."""
    from mpg_cli.models.load.removal import removable

    return [(name, "") for name in removable()]


@_quiet
def drafter(ctx: typer.Context, incomplete: str) -> Iterable[Suggestion]:
    """Drafters by name, the personas of the blend, local models."""
    from mpg_cli.sampling.params import DRAFTERS

    plain = [name for name in DRAFTERS if name != "auto" or ctx.info_name != "tune"]

    named = [(f"persona:{name}", about) for name, about in _names(ctx) if _in_blend(ctx, name)]
    return [*((name, "") for name in plain), *named, *((f"model:{m}", about) for m, about in _models())]


def choice(*values: str) -> Completer:
    """A completer for a fixed set of values."""

    @_quiet
    def one(ctx: typer.Context, incomplete: str) -> Iterable[Suggestion]:
        return [(value, "") for value in values]

    return one


@_quiet
def config_key(ctx: typer.Context, incomplete: str) -> Iterable[Suggestion]:
    """Keys of the config file."""
    from mpg_cli.cli.option_table import options

    return [(one.name, one.help) for one in options().values() if one.in_config]


@_quiet
def config_value(ctx: typer.Context, incomplete: str) -> Iterable[Suggestion]:
    """Values of the option that the preceding key names."""
    from mpg_cli.cli.option_table import options

    option = options()[str(ctx.params.get("key") or "")]
    if isinstance(option.complete, str) and option.complete:
        completer: Completer = globals()[option.complete]
        return completer(ctx, incomplete)
    words = ("true", "false") if option.kind is bool else option.complete or option.choices
    return [(word, "") for word in words]


def _registry(ctx: typer.Context) -> Registry:
    """The personas on the search path, with the folders of the command line or the environment first."""
    from mpg_cli.personas import registry

    given: str | Sequence[str | Path] = ctx.params.get("persona_dir") or ()
    named = [given] if isinstance(given, str) else list(given)
    if not named:
        named = [folder for folder in os.environ.get("MPG_PERSONA_DIR", "").split(os.pathsep) if folder]
    return registry.load_default([Path(os.path.expanduser(folder)) for folder in named])


def _names(ctx: typer.Context) -> list[Suggestion]:
    return [(persona.name, persona.description) for persona in _registry(ctx).personas]


def _in_blend(ctx: typer.Context, name: str) -> bool:
    """Whether the persona is an expert of the blend on the command line; true if there is no valid blend."""
    from mpg_cli.errors import MpgError
    from mpg_cli.personas import expression, registry

    given = ctx.params.get("persona") or []
    try:
        terms = [term for text in given for term in expression.parse(text)]
        blend = registry.resolve(terms, _registry(ctx)) if terms else None
    except MpgError:
        blend = None
    return blend is None or name in {expert.persona.name for expert in blend.experts}


def _models() -> list[Suggestion]:
    from huggingface_hub import constants

    from mpg_cli.config.named_models import BUNDLED, SMOLLM2, SMOLLM2_REPO, smollm2
    from mpg_cli.models.load import ollama

    found = [(BUNDLED, "bundled")]
    if smollm2() is not None:
        found.append((SMOLLM2, SMOLLM2_REPO))
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*")):
        name = folder.name.removeprefix("models--").replace("--", "/")
        if _WORD.fullmatch(name) and any(folder.glob("snapshots/*/config.json")):
            found.append((name, "in the cache"))
    return [*found, *((name, "of Ollama") for name in ollama.names())]


def _plain(text: str) -> str:
    """A description without characters that a shell or a terminal would interpret."""
    return " ".join(_UNSAFE.sub("", text).split())[:_LONGEST]
