"""Messages on stderr around a reply: notices, sample separators, seed, statistics."""

from __future__ import annotations

from dataclasses import dataclass

from mpg_cli.engine.events import Finished, Started
from mpg_cli.engine.request import Request
from mpg_cli.explain.attribution import Explanation
from mpg_cli.io.terminal import Streams
from mpg_cli.options.output import NoticeOptions
from mpg_cli.render.tally import Tally, detail_lines, summary_words


@dataclass(frozen=True)
class Commentary:
    """Writes the requested messages to stderr."""

    streams: Streams
    stats: bool
    quiet: bool = False
    verbose: bool = False
    samples: int = 1
    seed: bool = True  # report the seed if no statistics do
    explain: bool = False  # print explanations; JSON output includes them instead
    drawn: bool = False  # the seed is random: report it even with --quiet

    @classmethod
    def of(
        cls,
        streams: Streams,
        notices: NoticeOptions,
        request: Request,
        *,
        machine: bool,
        explain: bool = False,
    ) -> Commentary:
        """The commentary for the options; `machine` if stdout has JSON, which includes the seed."""
        return cls(
            streams,
            stats=notices.shown(streams.stderr_tty and not machine),
            quiet=notices.quiet and not notices.verbose,
            verbose=notices.verbose,
            samples=1 if machine else request.samples,
            seed=not machine,
            explain=explain,
            drawn=request.seed is None,
        )

    def notice(self, message: str) -> None:
        """Print a notice unless --quiet."""
        if not self.quiet:
            self.streams.message(f"mpg: {message}")

    def begin(self, started: Started) -> None:
        """Print the separator before one of several samples."""
        if self.samples > 1:
            self.streams.message(f"--- {started.sequence}")

    def end(self, finished: Finished, tally: Tally) -> None:
        """Print the explanation of a reply, if any, and its statistics or seed."""
        if finished.explanation is not None and self.explain:
            self._explain(finished.explanation, finished)
        if self.stats and not self.quiet:
            self.streams.message(summary_words(finished), dim=True)
            if self.verbose:
                self.streams.message("\n".join(detail_lines(finished, tally)), dim=True)
        elif self.seed and (self.drawn or not self.quiet):
            self.streams.message(f"seed {finished.seed}")

    def _explain(self, explanation: Explanation, finished: Finished) -> None:
        from mpg_cli.render.explain_terminal import write_explanation

        err = self.streams
        write_explanation(err.stderr, explanation, finished.spec.experts, tty=err.stderr_tty, color=err.color)
