"""`mpg personas`: what personas there are, what they are made of, whether their files are right."""

from __future__ import annotations

import typer

from mpg_cli import options
from mpg_cli.commands import personas_import
from mpg_cli.render.terminal import Streams

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

personas = typer.Typer(
    help="See, check, make and import personas.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)

personas.command("import", epilog=personas_import.EPILOG, context_settings=CONTEXT)(personas_import.import_)


@personas.command("list", context_settings=CONTEXT)
def list_personas(persona_dir: options.PersonaDir = None) -> None:
    """List the personas there are."""
    from mpg_cli.personas import registry

    out = Streams.current().stdout
    for persona in registry.load_default(persona_dir or []).personas:
        out.write(f"{persona.name}\t{persona.description}\n")


@personas.callback(invoke_without_command=True)
def _group(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
