"""One `mpg batch`: reading, answering, writing."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import resume_key
from mpg_cli.errors import ExitCode, MpgError, UsageError
from mpg_cli.io import signals
from mpg_cli.io.lines import raw_lines
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import visible

if TYPE_CHECKING:
    from mpg_cli.batch.lines import BadLine, Line, LineReader
    from mpg_cli.batch.log import BatchLog
    from mpg_cli.batch.runner import Runner
    from mpg_cli.personas.registry import Blend, Registry
    from mpg_cli.render.progress import BatchProgress

LISTED = 20  # bad lines that --strict lists


class Blends:
    """Persona expressions of lines as blends, each resolved once."""

    def __init__(self, defaults: Request, directories: list[Path], strength: float) -> None:
        self._defaults, self._directories, self._strength = defaults, directories, strength
        self._registry: Registry | None = None
        self._known: dict[str, Blend] = {}

    def __call__(self, persona: str | None) -> Blend | None:
        """The blend of an expression, of the command where there is none. Raises PersonaError and others."""
        from mpg_cli.errors import PersonaError
        from mpg_cli.personas import expression, registry

        if persona is None:
            if self._defaults.blend is None and not self._defaults.adapters:
                raise PersonaError("it names no persona, and neither does the command")
            self._check_drafter(self._defaults.blend)
            return self._defaults.blend
        if persona not in self._known:
            self._registry = self._registry or registry.load_default(self._directories)
            blend = registry.resolve(expression.parse(persona), self._registry, self._strength)
            if self._defaults.scheme.target == "mixture" and blend.negative:
                raise PersonaError(f"a mixture has no negative weights, {blend.negative[0]} has one")
            self._check_drafter(blend)
            self._known[persona] = blend
        return self._known[persona]

    def _check_drafter(self, blend: Blend | None) -> None:
        """A drafter that is one persona has to be in every blend."""
        from mpg_cli.errors import PersonaError

        kind, _, name = self._defaults.scheme.drafter.partition(":")
        names = [expert.persona.name.lower() for expert in blend.experts] if blend else []
        names += [place.name.lower() for place, _ in self._defaults.adapters]
        if kind == "persona" and name.strip().lower() not in names:
            raise PersonaError(f"the drafter {name} is not in its blend")


class BatchRun:
    """One `mpg batch`: reading, answering, writing."""

    def __init__(
        self,
        *,
        defaults: Request,
        blends: Blends,
        input_: Path,
        input_format: Literal["jsonl", "text"],
        output: Path | None,
        batch_size: int | None,
        max_experts: int | None,
        strict: bool,
        quiet: bool,
    ) -> None:
        self._defaults, self._blends = defaults, blends
        self._input, self._format, self._output = input_, input_format, output
        self._batch_size, self._max_experts = batch_size, max_experts
        self._strict, self._quiet = strict, quiet
        self._streams = Streams.current()

    def perform(self, *, force_restart: bool, retry_errors: bool, as_json: bool) -> ExitCode:
        """Answer all lines; the exit code."""
        from mpg_cli.batch.log import open_log

        with ExitStack() as stack:
            source = self._open_input(stack)
            if self._strict:
                source = self._seekable(source, stack)
            raw = self._open_feed(source, stack)
            if self._strict:
                self._check_lines(source)
            log, seed = None, self._defaults.seed
            if seed is None:
                seed = secrets.randbelow(2**32)
            if self._output is not None:
                log = stack.enter_context(
                    open_log(
                        self._output,
                        self._config(seed),
                        drawn=() if self._defaults.seed is not None else ("seed",),
                        restart=force_restart,
                        retry_errors=retry_errors,
                    )
                )
                seed = int(log.config["seed"])
            return self._answer(source, raw, log, seed, as_json)

    def _answer(
        self,
        source: BinaryIO,
        raw: Iterator[bytes | None],
        log: BatchLog | None,
        seed: int,
        as_json: bool,
    ) -> ExitCode:
        from dataclasses import replace

        from mpg_cli.render.progress import BatchProgress

        if self._defaults.seed is None:
            self._say(f"seed {seed}")
        defaults = replace(self._defaults, seed=seed)
        with self._streams.status(f"loading {defaults.model.name}", shown=not self._quiet) as status:
            from mpg_cli.batch.runner import Runner
            from mpg_cli.engine.scheduler import Scheduler  # torch loads here
            from mpg_cli.engine.session import open_drafter
            from mpg_cli.models.prepare import load_prepared

            loaded = load_prepared(defaults.model, status.update)
            smaller = open_drafter(defaults, loaded, status.update)
            signals.check()
        for text in loaded.notices:
            self._say(text)
        scheduler = Scheduler(
            loaded, batch_size=self._batch_size, max_experts=self._max_experts, smaller=smaller
        )
        runner = Runner(scheduler, defaults, self._blends)
        if self._strict:
            self._check_lengths(runner, source)
        if source.isatty():
            what = "a prompt" if self._format == "text" else 'an object such as {"prompt": "Hello"}'
            self._say(f"type {what} on each line; Ctrl-D ends")
        progress = BatchProgress(self._streams, _count(source), quiet=self._quiet, typed=source.isatty())
        # Ctrl-C lets the running lines end, SIGTERM does not wait for them.
        graceful = signals.Graceful(lambda reason: runner.stop(now=graceful.exit_code is ExitCode.TERMINATED))
        try:
            with graceful:
                lines = self._open_lines(raw, log, progress)
                self._write(runner.run(lines), log, progress)
        finally:
            progress.close()
        return self._end(progress, log, graceful.exit_code, as_json)

    def _write(self, events: Iterator[Any], log: BatchLog | None, progress: BatchProgress) -> None:
        """Every record as soon as it is there."""
        from mpg_cli.batch.runner import LineDone, LineFailed
        from mpg_cli.render.jsonl import write_line
        from mpg_cli.render.records import record_of

        for event in events:
            if isinstance(event, LineDone | LineFailed):
                record = record_of(event)
                if log is None:
                    write_line(self._streams.stdout, record)
                else:
                    log.write(record)
            progress.show(event)

    def _end(
        self, progress: BatchProgress, log: BatchLog | None, ended_by: ExitCode | None, as_json: bool
    ) -> ExitCode:
        if as_json:
            self._streams.stderr.write(json.dumps(progress.totals.as_json()) + "\n")
        elif not self._quiet:
            self._streams.say(progress.summary())
        if ended_by is not None:
            if log is not None:
                self._say("interrupted; the same command goes on where it stopped")
            return ended_by
        totals = progress.totals
        if not (totals.done or totals.failed or totals.skipped):
            self._say("INPUT has no lines")
        elif log is not None:
            log.forget_unmet()
        failed = totals.failed + (log.failed if log else 0)
        if failed and not as_json:
            lines = "1 line" if failed == 1 else f"{failed} lines"
            self._say(f"{lines} failed; --retry-errors tries again")
        return ExitCode.FAILURE if failed else ExitCode.OK

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._streams.say(f"mpg: {text}")

    # -- reading -----------------------------------------------------------------------------------

    def _open_input(self, stack: ExitStack) -> BinaryIO:
        if str(self._input) == "-":
            return self._streams.stdin.buffer
        path = Path(os.path.expanduser(self._input))
        try:
            source = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise UsageError(f"INPUT {path} cannot be read: {error.strerror}") from None
        if self._output is not None and self._output.exists() and os.path.samefile(path, self._output):
            raise UsageError("INPUT and --output are the same file", hint="choose another output")
        return source

    def _reader(self) -> LineReader:
        from mpg_cli.batch.lines import LineReader

        return LineReader(self._defaults, self._format, self._checks())

    def _checks(self) -> Callable[[str | None], None]:
        def check(persona: str | None) -> None:
            self._blends(persona)

        return check

    def _open_feed(self, source: BinaryIO, stack: ExitStack) -> Iterator[bytes | None]:
        """The raw lines; those of a pipe or a terminal from now on, while the model loads."""
        from mpg_cli.batch.feed import Feed, has_to_wait
        from mpg_cli.batch.kinds import begun, known

        name = "stdin" if str(self._input) == "-" else visible(str(self._input))
        if has_to_wait(source):
            feed = iter(stack.enter_context(Feed(source)))
            try:
                return feed if source.isatty() else begun(known(feed, name, self._format))
            except OSError as error:
                raise UsageError(f"{name} cannot be read: {error.strerror}") from None
        place = source.tell()
        next(known(raw_lines(source), name, self._format), None)
        source.seek(place)
        return raw_lines(source)

    def _open_lines(
        self, raw: Iterator[bytes | None], log: BatchLog | None, progress: BatchProgress
    ) -> Iterator[Line | BadLine | None]:
        """The lines that no earlier run has answered; None where none has come yet."""
        try:
            for line in self._reader().read(raw):
                if line is not None and log is not None and log.done(line.id, line.digest):
                    progress.skip()
                else:
                    yield line
        except OSError as error:
            raise MpgError(
                f"INPUT cannot be read any further: {error.strerror}",
                hint="with --output the same command goes on where it stopped",
            ) from None

    def _seekable(self, source: BinaryIO, stack: ExitStack) -> BinaryIO:
        """The whole input, which can be read twice; stdin is spooled."""
        from mpg_cli.batch.feed import has_to_wait

        if not has_to_wait(source):
            return source
        spool = stack.enter_context(tempfile.SpooledTemporaryFile(2**24))  # noqa: SIM115
        for raw in raw_lines(source):
            spool.write(raw)
        spool.seek(0)
        return cast(BinaryIO, spool)

    def _check_lines(self, source: BinaryIO) -> None:
        """With --strict: no line may be wrong."""
        from mpg_cli.batch.lines import BadLine

        bad = [line for line in self._reader().read(raw_lines(source)) if isinstance(line, BadLine)]
        source.seek(0)
        self._refuse([f"line {line.number}: {line.message}" for line in bad])

    def _check_lengths(self, runner: Runner, source: BinaryIO) -> None:
        """With --strict: every prompt has to leave room for a reply."""
        from mpg_cli.batch.lines import Line

        problems = []
        lines = (line for line in self._reader().read(raw_lines(source)) if isinstance(line, Line))
        for line in lines:
            try:
                runner.check(line)
            except MpgError as error:
                problems.append(f"line {line.number}: {error.message}")
        source.seek(0)
        self._refuse(problems)

    def _refuse(self, problems: list[str]) -> None:
        if problems:
            more = [f"… and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
            told = "\n".join(f"  {text}" for text in [*problems[:LISTED], *more])
            raise UsageError(
                f"{len(problems)} bad lines, nothing was done:\n{told}",
                hint="correct them, or leave out --strict: then they become error records",
            )

    def _config(self, seed: int) -> dict[str, Any]:
        """What determines the replies, for the file beside the output."""
        return {**resume_key(self._defaults, seed), "input_format": self._format}


def _count(source: BinaryIO) -> int | None:
    """How many lines a file has; None for a pipe."""
    from mpg_cli.batch.feed import has_to_wait

    if has_to_wait(source):
        return None
    place, count = source.tell(), 0
    while block := source.read(2**20):
        count += block.count(b"\n")
    source.seek(place)
    return count
