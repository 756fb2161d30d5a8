"""Option groups as parameters of a command: a dataclass in the signature becomes all of its flags.

    @with_groups
    def generate(ctx: typer.Context, prompt: PromptOptions, sampling: Sampling) -> None: ...

Typer sees the options, the command receives the groups, built and checked. `Pick` selects options of a group:
`Annotated[PromptOptions, Pick(without=("raw",))]`.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from functools import wraps
from typing import Annotated, Any, get_args, get_origin

import typer

from mpg_cli.cli import completers
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.option import Option, build, options_of


@dataclass(frozen=True)
class Pick:
    """Selects options of a group for a command, by `Option.key`, and overrides their defaults and helps."""

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    helps: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: type) -> Iterator[Option]:
        """The options, in the order of the group."""
        for one in options_of(kind):
            if (not self.only or one.key in self.only) and one.key not in self.without:
                if one.key in self.defaults:
                    own = self.defaults[one.key]
                    one = dataclasses.replace(one, default=own, text=None, shown="")
                yield dataclasses.replace(one, help=self.helps.get(one.key, one.help))


SearchPath = Annotated[BlendOptions, Pick(only=("persona_dir",))]
ModelName = Annotated[ModelOptions, Pick(only=("model",))]


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a signature for Typer: each group replaced by its options."""
    own = inspect.signature(command, eval_str=True).parameters
    groups = {name: found for name, p in own.items() if (found := _group(p.annotation)) is not None}
    shown: list[inspect.Parameter] = []
    for name, parameter in own.items():
        if name in groups:
            shown += map(_parameter, groups[name][1])
        else:
            shown.append(parameter.replace(kind=parameter.KEYWORD_ONLY))

    @wraps(command)
    def run(**given: Any) -> None:
        built = {
            name: build(kind, {one.key: given.pop(one.key) for one in options})
            for name, (kind, options) in groups.items()
        }
        command(**given, **built)

    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return run


def given(ctx: typer.Context, key: str) -> bool:
    """Whether the option was given on the command line."""
    source = ctx.get_parameter_source(key)
    return source is not None and source.name == "COMMANDLINE"


def origin(ctx: typer.Context, key: str) -> str:
    """Who set an option that is not at its default: "option", "environment" or "config file"."""
    if given(ctx, key):
        return "option"
    return "environment" if os.environ.get(f"MPG_{key.upper()}") else "config file"


def chosen(ctx: typer.Context, key: str) -> bool:
    """Whether command line, environment or config file set the option."""
    source = ctx.get_parameter_source(key)
    return source is not None and source.name != "DEFAULT"


def _group(annotation: Any) -> tuple[type, tuple[Option, ...]] | None:
    """The group that annotates a parameter, and its options; None for any other annotation."""
    pick = Pick()
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        pick = next((note for note in notes if isinstance(note, Pick)), pick)
    if not (isinstance(annotation, type) and dataclasses.is_dataclass(annotation)):
        return None
    return annotation, tuple(pick.of(annotation))


def _parameter(one: Option) -> inspect.Parameter:
    """The Typer parameter of an option or argument; the group itself checks choices."""
    default = one.default if one.text is None else one.text
    kind: Any = one.kind
    if one.many:
        kind, default = list[kind], default if default is MISSING else list(default) or None
    if default is None:
        kind = kind | None
    again = one.many and bool(one.flag) and "repeat" not in one.help
    help = f"{one.help.rstrip('.')}; repeatable." if again else one.help
    how: dict[str, Any] = {"help": help, "autocompletion": _completer(one.complete)}
    if one.kind is not bool:
        how["metavar"] = one.metavar
    if one.shown:
        how["show_default"] = one.shown
    note: Any
    if one.flag:
        note = typer.Option(one.flag, *([one.short] if one.short else []), **how)
    else:
        note = typer.Argument(**how | {"show_default": False})
    return inspect.Parameter(
        one.key,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[kind, note],
    )


def _completer(how: str | tuple[str, ...]) -> Any:
    if not how:
        return None
    return completers.choice(*how) if isinstance(how, tuple) else getattr(completers, how)
