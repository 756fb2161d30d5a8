"""The application: its commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, cast

import typer

from mpg_cli import __version__
from mpg_cli.cli import completion
from mpg_cli.cli.lazy_group import Lazy, bypass_pydantic, command_group, show_help
from mpg_cli.config.precedence import Defaults
from mpg_cli.errors import FLAG, ExitCode, MpgError, RangeError, UsageError, is_out_of_memory
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams, discard

# Typer bundles its own Click since 0.26 and exports only this one of its exceptions.
_ClickUsageError = cast(type[Exception], typer.BadParameter.__base__)
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
_PYDANTIC = r"Value error, |Input should (?=be a valid)|, unable to parse .*"  # compiled on first use

# A command's module is imported when the command is called; the summary is its line in the help.
COMMANDS = {
    "generate": Lazy("mpg_cli.cli.commands.generate:generate", "Reply to a prompt as a blend of personas."),
    "explain": Lazy(
        "mpg_cli.cli.commands.explain:explain", "Reply, and show which persona shaped which token."
    ),
    "batch": Lazy("mpg_cli.cli.commands.batch:batch", "Reply to every prompt of a file."),
    "compare": Lazy(
        "mpg_cli.cli.commands.compare:compare", "Reply to a prompt as several blends, side by side."
    ),
    "chat": Lazy("mpg_cli.cli.commands.chat:chat", "Chat with a blend of personas, turn by turn."),
    "tune": Lazy("mpg_cli.cli.commands.tune:tune", "Find the fastest drafter and chunk size for a blend."),
    "eval": Lazy("mpg_cli.cli.commands.eval:app", "Evaluate a blend."),
    "train": Lazy("mpg_cli.cli.commands.train:train", "Train a persona from preferences."),
    "models": Lazy("mpg_cli.cli.commands.models:models", "List, show, get and remove models."),
    "personas": Lazy("mpg_cli.cli.commands.personas:personas", "List, check, create and import personas."),
    "doctor": Lazy("mpg_cli.cli.commands.doctor:doctor", "Check the installation."),
    "config": Lazy("mpg_cli.cli.commands.config:app", "Show and change the defaults of options."),
}

app = command_group(
    COMMANDS,
    name="mpg",
    help="Blend several personas while a language model decodes.",
    epilog='Start with: mpg generate -p pirate "How do I make tea?"',
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"mpg {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    show_help(ctx)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mpg` with these arguments and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    streams = Streams.current()
    try:
        signals.raise_on_signals()
        code = _run(arguments)
        streams.stdout.flush()
        return code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except signals.Terminated:
        return ExitCode.TERMINATED
    except BrokenPipeError:
        discard(sys.stdout)
        return ExitCode.OK
    except Exception as error:
        return signals.received() or _failure(streams, error)


def _run(argv: list[str]) -> int:
    command: Any = typer.main.get_command(app)
    bypass_pydantic(command)
    if os.environ.get("_MPG_COMPLETE"):
        completion.complete(command, argv)
    if argv and argv[0] in ("--show-completion", "--install-completion"):
        completion.patch_zsh_script()
    defaults = _defaults(command, argv)
    try:
        with command.make_context("mpg", argv, default_map=defaults.by_command) as context:
            gc.enable()  # off since the start, see __main__
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except _ClickUsageError as error:
        raise _usage_error(error, defaults, argv) from None
    except MpgError as error:
        if origin := defaults.origin(_flags(error), argv):
            error.hint = f"set by {origin}" + (f"; {error.hint}" if error.hint else "")
        raise
    return ExitCode.OK


def _defaults(command: Any, argv: list[str]) -> Defaults:
    """Defaults from environment and config file; --help, config and doctor work with an invalid file too."""
    if not argv or argv[0].startswith("-") or argv[0] == "config":
        return Defaults()
    from mpg_cli.config.paths import config_file

    if not any(name.startswith("MPG_") for name in os.environ) and not os.path.exists(config_file()):
        return Defaults()
    from mpg_cli.cli import option_table  # imports all option groups and YAML
    from mpg_cli.config.file import Config

    try:
        return option_table.sources().defaults(command, argv)
    except UsageError:
        if argv[0] == "doctor":
            return option_table.sources(Config(config_file())).defaults(command, argv)
        if {"-h", "--help"} & set(argv):
            return Defaults()
        raise


def _flags(error: MpgError) -> list[str]:
    """The options that an error may be due to: the first one in its message, and its own."""
    named = None if isinstance(error, RangeError) else FLAG.search(error.message)
    return [*([named.group()] if named else []), error.setting]


def _usage_error(error: Any, defaults: Defaults, argv: list[str]) -> UsageError:
    """Click's usage error as a UsageError."""
    message = re.sub(_PYDANTIC, "", error.format_message()).replace(": be a", ": must be a").rstrip(".")
    origin = defaults.origin(re.findall(r"--[a-z][a-z-]*", message)[:1], argv)
    path = error.ctx.command_path if error.ctx is not None else "mpg"
    hint = f"set by {origin}" if origin else f"see {path} --help"
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def _failure(streams: Streams, error: Exception) -> ExitCode:
    """Report the error on stderr and return its exit code."""
    traced = _print_traceback_in_debug_mode()
    if isinstance(error, MpgError):
        _report(streams, f"error: {error.message}", error.hint)
        return error.exit_code
    if is_out_of_memory(error):
        hint = "use a smaller model, --dtype bfloat16, fewer personas or a shorter text"
        _report(streams, "error: not enough memory", hint)
        return ExitCode.FAILURE
    if isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS:
        discard(sys.stdout)
        _report(streams, f"error: the output cannot be written: {error.strerror}", None)
        return ExitCode.FAILURE
    advice = "" if traced else "; set MPG_DEBUG=1 for the traceback"
    _report(streams, f"internal error: {type(error).__name__}: {error}{advice}", None)
    return ExitCode.FAILURE


def _print_traceback_in_debug_mode() -> bool:
    """With MPG_DEBUG=1 print the traceback of the current exception; whether it was printed."""
    debug = os.environ.get("MPG_DEBUG") == "1"
    if debug:
        import traceback

        traceback.print_exc()
    return debug


def _report(streams: Streams, message: str, hint: str | None) -> None:
    with contextlib.suppress(OSError):  # stderr is closed
        streams.message(f"mpg: {message}")
        if hint:
            streams.message(f"hint: {hint}")
