"""`mpg personas`: what personas there are, what they are made of, whether their files are right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mpg_cli.cli import completers, options
from mpg_cli.cli.commands import personas_check, personas_import, personas_new
from mpg_cli.errors import UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.options.model import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpg_cli.personas.registry import Problem, Registry
    from mpg_cli.personas.schema import Persona

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

personas = typer.Typer(
    help="See, check, make and import personas.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)

LIST_EPILOG = """\b
Examples:
  mpg personas list
  mpg personas list --tag character --model Qwen/Qwen3-0.6B
  mpg personas list | cut -f 1
\b
On a pipe a line is: name, experts, parts, tags, file, hidden by, description, with tabs between. A persona's
experts are those for the model, the one that it becomes first: adapter, checkpoint or prompt."""

SHOW_EPILOG = """\b
Examples:
  mpg personas show pirate
  mpg personas show INTJ
  mpg personas show INTJ:0.5+pirate --format json
\b
A weight in a tree is that beside the name; after = it is multiplied out from the top."""

Tag = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TAG", help="Only personas with this tag; repeat for several.", autocompletion=completers.tag
    ),
]
ListFormat = Annotated[
    Literal["auto", "table", "plain", "json"],
    typer.Option(
        "--format",
        metavar="auto|table|plain|json",
        help="auto: table on a terminal, plain on a pipe.",
    ),
]
ShowFormat = Annotated[
    Literal["auto", "tree", "plain", "json"],
    typer.Option(
        "--format", metavar="auto|tree|plain|json", help="auto: tree on a terminal, plain on a pipe."
    ),
]


@personas.callback(invoke_without_command=True)
def _group(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@personas.command("list", epilog=LIST_EPILOG, context_settings=CONTEXT)
def list_(
    model: options.Model = DEFAULT_MODEL,
    tag: Tag = None,
    persona_dir: options.PersonaDir = None,
    format_: ListFormat = "auto",
) -> None:
    """List personas, and the experts that they have for a model."""
    from mpg_cli.personas import overview, registry
    from mpg_cli.personas.base import find_base
    from mpg_cli.render.catalogue import Catalogue, write_catalogue

    streams = Streams.current()
    known = registry.load_default(persona_dir or [])
    rows = tuple(overview.rows(known, find_base(model), _tagged(known, known.personas, tag or [])))
    shadowed = tuple((one, _hidden_by(known, one)) for one in _tagged(known, known.shadowed, tag or []))
    broken = [row.problem for row in rows if row.problem is not None]
    catalogue = Catalogue(
        model=model,
        rows=rows,
        shadowed=shadowed,
        problems=(*(problem.message for problem in known.problems), *broken),
        searched=known.directories,
    )
    if format_ == "auto":
        format_ = "table" if streams.stdout_tty else "plain"
    write_catalogue(streams, catalogue, format_)
    for message in catalogue.problems:
        for line in message.splitlines():
            streams.say(f"mpg: {line}")


@personas.command("show", epilog=SHOW_EPILOG, context_settings=CONTEXT)
def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|EXPR",
            help="A persona, or an expression as for generate.",
            show_default=False,
            autocompletion=completers.expression,
        ),
    ],
    model: options.Model = DEFAULT_MODEL,
    persona_dir: options.PersonaDir = None,
    format_: ShowFormat = "auto",
) -> None:
    """Show a persona in full; composites and expressions as a tree."""
    from mpg_cli.personas import expression, overview, registry
    from mpg_cli.personas.base import find_base
    from mpg_cli.render.portrait import Portrait, write_portrait

    streams = Streams.current()
    known = registry.load_default(persona_dir or [])
    terms = expression.parse(what)
    nodes = overview.tree(terms, known)
    blend = registry.resolve(terms, known)
    base = find_base(model)
    single = known.get(terms[0].name) if len(terms) == 1 and terms[0].weight == 1 else None
    portrait = Portrait(
        expression=blend.expression,
        model=model,
        nodes=nodes,
        experts=tuple((expert.persona.name, expert.weight) for expert in blend.experts),
        available={one.name: overview.available(one, base) for one in known.personas if one.parts is None},
        persona=single,
    )
    if format_ == "auto":
        format_ = "tree" if streams.stdout_tty else "plain"
    write_portrait(streams, portrait, format_)


personas.command("check", epilog=personas_check.EPILOG, context_settings=CONTEXT)(personas_check.check)
personas.command("new", epilog=personas_new.EPILOG, context_settings=CONTEXT)(personas_new.new)
personas.command("import", epilog=personas_import.EPILOG, context_settings=CONTEXT)(personas_import.import_)


def _tagged(known: Registry, found: Sequence[Persona], tags: Sequence[str]) -> list[Persona]:
    """Those with all of the tags. Raises UsageError for a tag that no persona has."""
    wanted = {tag.lower() for tag in tags}
    there = {tag.lower(): tag for one in (*known.personas, *known.shadowed) for tag in one.tags}
    for tag in tags:
        if tag.lower() not in there:
            from mpg_cli.io.text import did_you_mean, visible

            close = did_you_mean(tag, there.values()) or f"; there are {', '.join(sorted(there.values()))}"
            raise UsageError(f"no persona has the tag '{visible(tag, 60)}'{visible(close)}")
    return [one for one in found if wanted <= {tag.lower() for tag in one.tags}]


def _hidden_by(known: Registry, shadowed: Persona) -> Path:
    """The file that is found before the one of the same name."""
    name = shadowed.name.lower()
    first: Sequence[Persona | Problem] = (
        *(one for one in known.personas if one.name.lower() == name),
        *(problem for problem in known.problems if name in problem.names),
    )
    return first[0].file
