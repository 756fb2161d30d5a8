"""Progress of a run: means over the last steps, a bar on a terminal, few lines on a pipe."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from mpg_cli.io.terminal import Streams
from mpg_cli.render.training import Progress
from mpg_cli.training.watch import Figures, Watch


def streams(*, tty: bool) -> Streams:
    return replace(Streams.current({}), stderr=io.StringIO(), stderr_tty=tty, movable=tty, color=tty)


def shown(*, tty: bool, quiet: bool = False, steps: int = 50) -> str:
    target = streams(tty=tty)
    with Progress(target, quiet=quiet) as progress:
        watch = Watch(progress)
        progress.step(0, steps, None)
        for step in range(1, steps + 1):
            watch.step(step, steps, Figures(1 / step, 0.5, 0.25))
        progress.stage("testing [b]")
    assert isinstance(target.stderr, io.StringIO)
    return target.stderr.getvalue()


def test_a_pipe_gets_a_line_now_and_then() -> None:
    lines = shown(tty=False).splitlines()
    assert lines[0] == "step 1/50: loss 1.000, reward margin 0.25, accuracy 0.50"
    assert lines[-1] == "mpg: testing [b]"
    assert lines[-2].startswith("step 50/50: loss 0.02")
    assert len(lines) <= 14
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_a_bar() -> None:
    text = shown(tty=True)
    assert "50/50" in text
    assert "loss 0.022, margin 0.25, accuracy 0.50" in text
    assert "testing [b]" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is shown again


def test_what_comes_before_the_steps_and_a_wish_to_stop_are_shown_on_a_terminal() -> None:
    target = streams(tty=True)
    assert isinstance(target.stderr, io.StringIO)
    with Progress(target, quiet=False) as progress:
        progress.stage("preparing the data")
        progress._bar.refresh()
        assert "preparing the data" in target.stderr.getvalue()
        assert "mpg: " not in target.stderr.getvalue()  # in the bar, not above it
        watch = Watch(progress)
        watch.step(1, 50, Figures(1.0))
        watch.stop("interrupted")
        watch.step(2, 50, Figures(1.0))
    _, stopping, last = target.stderr.getvalue().rpartition("stopping")
    assert stopping
    assert "2/50" in last


@pytest.mark.parametrize("tty", [True, False])
def test_quiet_shows_nothing(tty: bool) -> None:
    assert shown(tty=tty, quiet=True) == ""


def test_the_lines_of_several_runs_and_phases_say_which_they_are() -> None:
    target = streams(tty=False)
    assert isinstance(target.stderr, io.StringIO)
    with Progress(target, quiet=False, label="E, 1 of 2") as progress:
        watch = Watch(progress)
        for step in range(1, 51):
            watch.step(step, 50, Figures(1.0))
        watch.phase("training the preference")
        watch.step(1, 50, Figures(0.5))
    *_, phase, last = target.stderr.getvalue().splitlines()
    assert phase == "mpg: training the preference"
    assert last == "E, 1 of 2: step 1/50: loss 0.500"


def test_figures_are_means_of_the_last_ten() -> None:
    with Progress(streams(tty=False), quiet=True) as progress:
        watch = Watch(progress)
        assert watch.recent() is None
        for step in range(20):
            watch.step(step, 20, Figures(float(step), None if step % 2 else 1.0))
    assert watch.recent() == Figures(14.5, 1.0, None)
