"""The progress of an evaluation on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from mpg_cli.evaluation.log import check_output
from mpg_cli.evaluation.study import Study
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.render.bar import Bar


@contextmanager
def under_way(study: Study, streams: Streams, *, quiet: bool) -> Iterator[Study]:
    """The study with its progress shown on stderr, and its notices after the end."""
    if study.output is not None:
        check_output(study.output)
    notices: list[str] = []
    with (
        streams.status(f"loading {study.request.model.name}", shown=not quiet) as status,
        ExitStack() as stack,
    ):
        bar = Bar(streams, shown=not quiet)
        started = False

        def show(what: str, share: float) -> None:
            nonlocal started
            if not started:
                status.update("")
                stack.enter_context(bar)
                started = True
            bar.show(what, share)

        try:
            yield replace(study, load=status.update, notice=notices.append, show=show)
        except BaseException:
            stack.close()
            if study.output is not None and signals.received() is not None and not quiet:
                streams.message("mpg: interrupted; run the same command again to resume")
            raise
    if not quiet:
        for notice in dict.fromkeys(notices):
            streams.message(f"mpg: {notice}")
