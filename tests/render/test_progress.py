"""Progress of a batch: counts, one line per minute without a terminal, a bar on one."""

from __future__ import annotations

import pytest

from mpg_cli.batch.line_engine import LineDone, LineFailed
from mpg_cli.batch.lines import BadLine, Line
from mpg_cli.engine.events import Finished, Notice, Progress, Sized
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.render import progress as module
from mpg_cli.render.progress import MAX_SHOWN_ERRORS, BatchProgress
from mpg_cli.sampling.params import Sampling
from tests.support.replies import reply, streams, written


def done(number: int = 1) -> LineDone:
    finished = next(event for event in reply(["Aye"]) if isinstance(event, Finished))
    return LineDone(Line(number, str(number), "0", Prompting("a"), Sampling()), finished)


def failed(number: int, message: str = "the prompt is empty") -> LineFailed:
    return LineFailed(BadLine(number, str(number), "0", "x", message), "x", message)


def test_counts_and_the_summary() -> None:
    to = streams()
    shown = BatchProgress(to, 5)
    for event in (Sized(8, "enough"), Progress(7, 2), done(), failed(2), Notice("by the way")):
        shown.show(event)
    shown.skip()
    shown.close()
    totals = shown.totals
    assert (totals.done, totals.failed, totals.skipped, totals.tokens, totals.batch_size) == (1, 1, 1, 7, 8)
    assert totals.stats.acceptance_rate == pytest.approx(done().finished.stats.acceptance_rate)
    assert "1 answered · 1 failed · 1 skipped · 7 tokens" in shown.summary()
    text = written(to.stderr)
    assert "8 prompts in a batch: enough" in text
    assert "line 2: the prompt is empty" in text
    assert "mpg: by the way" in text
    assert written(to.stdout) == ""


def test_only_the_first_errors_are_listed() -> None:
    to = streams()
    shown = BatchProgress(to, None)
    for number in range(MAX_SHOWN_ERRORS + 10):
        shown.show(failed(number))
    assert written(to.stderr).count("the prompt is empty") == MAX_SHOWN_ERRORS
    assert written(to.stderr).count("in the output only") == 1
    assert shown.totals.failed == MAX_SHOWN_ERRORS + 10


def test_a_log_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    to = streams()
    shown = BatchProgress(to, 1000)
    for _ in range(300):  # five minutes
        now += 1.0
        shown.show(Progress(10, 4))
    lines = written(to.stderr).splitlines()
    assert len(lines) == 5
    assert lines[0] == "mpg: 0 of 1000 answered · 600 tokens · 10 tokens/s"
    quiet = streams()
    silent = BatchProgress(quiet, 10, quiet=True)
    now += 100
    silent.show(failed(1))
    assert written(quiet.stderr) == ""


def test_a_bar_on_a_terminal_leaves_only_the_messages() -> None:
    to = streams(stderr_tty=True)
    shown = BatchProgress(to, 2)
    shown.show(failed(1, "odd\x1b[2J [bold]markup"))
    shown.show(done(2))
    shown.close()
    assert "line 1: odd[2J [bold]markup" in written(to.stderr)
    assert "2/2" in written(to.stderr)
    assert written(to.stderr).endswith("\x1b[2K") or written(to.stderr).endswith("\n\x1b[1A\x1b[2K")
