"""One run of `mpg batch`: input lines to the engine, records to the output, progress to the terminal."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mpg_cli.batch.blends import Blends
from mpg_cli.batch.lines import BadLine, Line, LineReader
from mpg_cli.batch.source import Source
from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import resume_key
from mpg_cli.errors import ExitCode, MpgError
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.commands import BatchOptions
from mpg_cli.sampling.params import OWN

if TYPE_CHECKING:
    from mpg_cli.batch.log import BatchLog
    from mpg_cli.render.progress import BatchProgress


class BatchRun:
    """One run of `mpg batch`."""

    def __init__(self, defaults: Request, blend: BlendOptions, options: BatchOptions, *, quiet: bool) -> None:
        self._defaults, self._blends = defaults, Blends(defaults, blend)
        self._options, self._format, self._output = options, options.input_format, options.output_file
        self._quiet = quiet
        self._streams = Streams.current()

    def perform(self) -> ExitCode:
        """Process all lines and return the exit code."""
        from mpg_cli.batch.log import open_log

        with ExitStack() as stack:
            source = Source(self._options.input, self._format, self._streams.stdin.buffer, stack)
            if self._output is not None:
                source.differs_from(self._output)
            if self._options.strict:
                source.spool()
            raw = source.lines()
            if self._options.strict:
                source.check_lines(self._reader())
            log, seed = None, self._defaults.seed
            if seed is None:
                seed = secrets.randbelow(2**32)
            if self._output is not None:
                open_values = [key for key in OWN if getattr(self._defaults.sampling, key) is None]
                log = stack.enter_context(
                    open_log(
                        self._output,
                        {**resume_key(self._defaults, seed), "input_format": self._format},
                        drawn=(*open_values, *(() if self._defaults.seed is not None else ("seed",))),
                        restart=self._options.force_restart,
                        retry_errors=self._options.retry_errors,
                    )
                )
                seed = int(log.config["seed"])
            return self._process(source, raw, log, seed)

    def _process(
        self,
        source: Source,
        raw: Iterator[bytes | None],
        log: BatchLog | None,
        seed: int,
    ) -> ExitCode:
        from mpg_cli.render.progress import BatchProgress

        if self._defaults.seed is None:
            self._notice(f"seed {seed}")
        defaults = replace(self._defaults, seed=seed)
        with self._streams.status(f"loading {defaults.model.name}", shown=not self._quiet) as status:
            from mpg_cli.batch.line_engine import LineEngine
            from mpg_cli.engine.engine import Engine  # torch loads here
            from mpg_cli.engine.sequence import law_of

            options = self._options
            engine = Engine.load(
                defaults.model,
                status.update,
                batch_size=options.batch_size,
                max_experts=options.max_experts,
            )
            engine.prepare_drafter(defaults.scheme)
            signals.check()
        for text in engine.new_notices():
            self._notice(text)
        if log is not None:
            law = law_of(engine.loaded, defaults)
            log.settle({key: getattr(law, key) for key in OWN})
        lines = LineEngine(engine, defaults, self._blends)
        if self._options.strict:
            source.check_lengths(self._reader(), lines.check)
        if source.is_terminal:
            what = "a prompt" if self._format == "text" else 'an object such as {"prompt": "Hello"}'
            self._notice(f"type {what} on each line; Ctrl-D ends")
        progress = BatchProgress(self._streams, source.count(), quiet=self._quiet, typed=source.is_terminal)
        # Ctrl-C lets the running lines end, SIGTERM does not wait for them.
        graceful = signals.Graceful(lambda reason: lines.stop(now=graceful.exit_code is ExitCode.TERMINATED))
        try:
            with graceful:
                self._write(lines.run(self._open_lines(raw, log, progress)), log, progress)
        finally:
            progress.close()
        return self._end(progress, log, graceful.exit_code)

    def _write(self, events: Iterator[Any], log: BatchLog | None, progress: BatchProgress) -> None:
        """Write each record as soon as it is complete."""
        from mpg_cli.batch.line_engine import LineDone, LineFailed
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

    def _end(self, progress: BatchProgress, log: BatchLog | None, ended_by: ExitCode | None) -> ExitCode:
        as_json = self._options.format == "json"
        if as_json:
            self._streams.stderr.write(json.dumps(progress.totals.as_json()) + "\n")
        elif not self._quiet:
            self._streams.message(progress.summary())
        if ended_by is not None:
            if log is not None:
                self._notice("interrupted; run the same command again to resume")
            return ended_by
        totals = progress.totals
        if not (totals.done or totals.failed or totals.skipped):
            self._notice("INPUT has no lines")
        elif log is not None:
            log.forget_absent()
        failed = totals.failed + (log.failed if log else 0)
        if failed and not as_json:
            lines = "1 line" if failed == 1 else f"{failed} lines"
            self._notice(f"{lines} failed; use --retry-errors to try again")
        return ExitCode.FAILURE if failed else ExitCode.OK

    def _notice(self, text: str) -> None:
        if not self._quiet:
            self._streams.message(f"mpg: {text}")

    def _reader(self) -> LineReader:
        return LineReader(self._defaults, self._format, self._blends)

    def _open_lines(
        self, raw: Iterator[bytes | None], log: BatchLog | None, progress: BatchProgress
    ) -> Iterator[Line | BadLine | None]:
        """Lines without a reply from an earlier run; None while the next line has not arrived."""
        try:
            for line in self._reader().read(raw):
                if line is not None and log is not None and log.done(line.id, line.digest):
                    progress.skip()
                else:
                    yield line
        except OSError as error:
            raise MpgError(
                f"INPUT cannot be read to the end: {error.strerror}",
                hint="with --output, run the same command again to resume",
            ) from None
