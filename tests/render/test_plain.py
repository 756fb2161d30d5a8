"""Plain text: the reply to stdout as it is, everything else to stderr."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from mpg_cli.engine.events import Event, Notice, Started, Text
from mpg_cli.render.commentary import Commentary
from mpg_cli.render.plain import PlainRenderer
from tests.support.replies import SPEC, reply, streams, written

HOSTILE = "[/foo] [link=http://x]:smile: \x1b[31mred\x9b2J \u202eevil\x07"


def drawn(
    events: Iterator[Event] | list[Event], *, tty: bool = False, **wanted: bool | int
) -> tuple[str, str]:
    to = streams(stderr_tty=tty)
    commentary = Commentary(to, **{"stats": False, **wanted})  # type: ignore[arg-type]
    PlainRenderer(to.stdout, commentary, tty=tty).render(events)
    return written(to.stdout), written(to.stderr)


def test_stdout_is_the_reply_and_one_newline() -> None:
    out, err = drawn(reply(["Hel", "lo\n", "  world"]))
    assert out == "Hello\n  world\n"
    assert err == "seed 42\n"


def test_a_pipe_gets_the_text_as_it_is() -> None:
    out, _ = drawn(reply([HOSTILE, "日本\r\n"]))
    assert out == HOSTILE + "日本\r\n\n"


def test_a_terminal_gets_no_control_characters() -> None:
    out, _ = drawn(reply([HOSTILE]), tty=True)
    assert out == "[/foo] [link=http://x]:smile: [31mred2J evil\n"


def test_every_piece_is_flushed_as_it_comes() -> None:
    to = streams()
    seen = []

    class Flushed(io.StringIO):
        def flush(self) -> None:
            seen.append(self.getvalue())

    PlainRenderer(Flushed(), Commentary(to, stats=False)).render(reply(["a", "b"]))
    assert seen == ["a", "ab", "ab\n"]


def test_statistics_go_to_stderr() -> None:
    out, err = drawn(reply(["Hello", " you"]), stats=True)
    assert out == "Hello you\n"
    assert "67% accepted (4 of 6 evaluated)" in err
    assert "3.00 tokens per pass" in err
    assert "tokens/s" in err
    assert "seed 42" in err
    assert len(err.splitlines()) == 1


def test_verbose_adds_rounds_seconds_and_contributions() -> None:
    _, err = drawn(reply(["Hello", " you"]), stats=True, verbose=True)
    assert "by tokens accepted 0: 0, 1: 0, 2: 2" in err
    assert "draft 0.02, score 0.04" in err
    assert "INTJ +0.50, pirate -0.25 (nats per token)" in err
    assert "kappa" not in err


def test_the_threshold_rule_shows_its_bias() -> None:
    _, err = drawn(reply(["Hello", " you"], threshold=True), stats=True, verbose=True)
    assert "m 0.40, 100% clipped" in err
    assert "0.1 0.2 0.3 0.4" in err
    assert "bias" in err


def test_quiet_silences_notices_and_statistics() -> None:
    out, err = drawn([Notice("something"), *reply(["x"])], stats=True, quiet=True)
    assert (out, err) == ("x\n", "")


def test_notices_go_to_stderr_cleaned() -> None:
    out, err = drawn([Notice("a \x1b[2Jname")], stats=False)
    assert (out, err) == ("", "mpg: a [2Jname\n")


def test_samples_are_separated_on_stderr() -> None:
    events = [*reply(["a"], sequence=0), *reply(["b"], sequence=1)]
    out, err = drawn(events, samples=2)
    assert out == "a\nb\n"
    assert err == "--- 0\nseed 42\n--- 1\nseed 42\n"


def test_an_interrupted_reply_is_marked() -> None:
    out, err = drawn(reply(["so f"], finish_reason="interrupted"), stats=True)
    assert out == "so f\n"
    assert "interrupted" in err


def test_an_error_in_mid_reply_ends_the_line() -> None:
    def broken() -> Iterator[Event]:
        yield Started(SPEC)
        yield Text(0, "so f")
        raise ValueError("broken")

    to = streams()
    with pytest.raises(ValueError, match="broken"):
        PlainRenderer(to.stdout, Commentary(to, stats=True)).render(broken())
    assert written(to.stdout) == "so f\n"


def test_dim_only_on_a_terminal_with_colour() -> None:
    for stderr_tty, color in ((True, True), (True, False), (False, True)):
        to = streams(stderr_tty=stderr_tty, color=color)
        PlainRenderer(to.stdout, Commentary(to, stats=True)).render(reply(["x"]))
        assert ("\x1b[2m" in written(to.stderr)) == (stderr_tty and color)
