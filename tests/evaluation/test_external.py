"""The external judge against a real server: requests, parsing of answers, retries and errors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from mpg_cli.errors import MpgError, UsageError
from mpg_cli.evaluation.external import ExternalJudge, endpoint, parse
from mpg_cli.evaluation.judging import Exhibit, Judgement
from tests.support.judge_server import Answer, garbling, stub

KEY = "sk-very-secret"


def exhibits(count: int) -> list[Exhibit]:
    return [
        Exhibit(str(n), f"Question {n}?", f"Reply {n}.", "pirate", "An old captain.") for n in range(count)
    ]


def judge(url: str, **environ: str) -> ExternalJudge:
    return ExternalJudge(url, "judge-1", environ=environ, timeout=5, first_wait=0.01)


def run(own: ExternalJudge, count: int) -> tuple[list[float], list[Judgement]]:
    kept: list[Judgement] = []
    return own.judge(exhibits(count), kept.append, lambda share: None), kept


def test_every_reply_is_judged_and_scores_come_in_order() -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        asked = body["messages"][0]["content"]
        return 200, next(str(n) for n in range(9) if f"Reply {n}." in asked)

    with stub(answer) as server:
        scores, kept = run(judge(server.url, MPG_JUDGE_KEY=KEY), 9)
    assert scores == [n / 10 for n in range(9)]
    assert {own.id: own.score for own in kept} == {str(n): n / 10 for n in range(9)}
    assert set(server.paths) == {"/v1/chat/completions"}
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    asked = server.requests[0]
    assert asked["model"] == "judge-1"
    assert asked["temperature"] == 0
    assert all(text in asked["messages"][0]["content"] for text in ("pirate", "An old captain.", "Question"))


def test_without_a_key_there_is_no_header() -> None:
    with stub(lambda number, body: (200, "yes")) as server:
        assert run(judge(server.url), 1)[0] == [1.0]
    assert "Authorization" not in server.headers[0]


def test_a_busy_server_is_retried() -> None:
    with stub(lambda number, body: (200, "7") if number > 3 else (503, "busy")) as server:
        assert run(judge(server.url), 1)[0] == [0.7]
    assert len(server.requests) == 4


def test_a_server_that_stays_busy_is_given_up_with_its_words() -> None:
    with stub(lambda number, body: (429, "slow down")) as server, pytest.raises(MpgError) as raised:
        run(judge(server.url), 1)
    assert "answered 429: slow down" in raised.value.message
    assert len(server.requests) == 5


def test_a_refusal_is_final_and_never_shows_the_key() -> None:
    with (
        stub(lambda number, body: (401, f"bad key {KEY}\x1b[31m")) as server,
        pytest.raises(MpgError) as raised,
    ):
        run(judge(server.url, MPG_JUDGE_KEY=KEY), 1)
    assert "answered 401: bad key …" in raised.value.message
    assert KEY not in raised.value.message
    assert "\x1b" not in raised.value.message
    assert "MPG_JUDGE_KEY" in (raised.value.hint or "")
    assert len(server.requests) == 1


def test_prose_is_not_a_score_and_is_shown() -> None:
    said = "It is quite piratey, 8 of 10"
    with stub(lambda number, body: (200, said)) as server, pytest.raises(MpgError, match=said):
        run(judge(server.url), 1)
    assert len(server.requests) == 2  # once more, in case it was chance


def test_a_redirect_is_not_followed() -> None:
    with stub(lambda number, body: (307, "moved")) as server, pytest.raises(MpgError, match="answered 307"):
        run(judge(server.url, MPG_JUDGE_KEY=KEY), 1)
    assert server.paths == ["/v1/chat/completions"]


def test_an_answer_that_is_no_completion() -> None:
    with stub(lambda number, body: (299, {"choices": []})) as server, pytest.raises(MpgError) as raised:
        run(judge(server.url), 1)
    assert "gave no completion" in raised.value.message


def test_judgements_before_a_failure_are_kept() -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        return (400, "no more") if "Reply 5." in body["messages"][0]["content"] else (200, "3")

    kept: list[Judgement] = []
    with stub(answer) as server, pytest.raises(MpgError, match="no more"):
        judge(server.url).judge(exhibits(6), kept.append, lambda share: None)
    assert 1 <= len(kept) <= 5
    assert all(own.score == 0.3 for own in kept)


def test_an_unreachable_server_is_an_error() -> None:
    with stub(lambda number, body: (200, "1")) as server:
        url = server.url
    with pytest.raises(MpgError, match="cannot be reached"):
        run(judge(url), 1)


def failure(own: ExternalJudge, asked: Sequence[Exhibit] | None = None) -> MpgError:
    """What it fails with; a judge that never comes back fails the test, not the machine."""
    raised: list[MpgError] = []

    def ask() -> None:
        try:
            own.judge(asked or exhibits(2), lambda kept: None, lambda share: None)
        except MpgError as error:
            raised.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(20)
    assert raised, "no answer and no error"
    return raised[0]


BROKEN = {
    "BadStatusLine": b"garbage\x1b[31m\r\n\r\n",
    "IncompleteRead": b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"cho',
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_is_reported_without_hanging(kind: str) -> None:
    with garbling(BROKEN[kind]) as server:
        error = failure(judge(server.url))
    assert f"gave a broken answer: {kind}" in error.message
    assert "\x1b" not in error.message


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_is_retried(kind: str) -> None:
    with garbling(BROKEN[kind], times=2) as server:
        assert run(judge(server.url), 1)[0] == [0.7]
    assert len(server.requests) == 3


@pytest.mark.parametrize("status, tries", [(503, 5), (403, 1)])
def test_an_error_that_breaks_off_counts_by_its_status(status: int, tries: int) -> None:
    raw = b"HTTP/1.1 %d No\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nbus" % status
    with garbling(raw) as server:
        error = failure(judge(server.url))
        assert len(server.requests) >= tries
    assert f"answered {status}" in error.message


class Unprintable(str):
    """A text that the program cannot handle, whatever the reason."""

    def __format__(self, spec: str) -> str:
        raise RuntimeError(f"a mistake with {KEY}")


def test_whatever_goes_wrong_is_an_error_and_no_endless_wait() -> None:
    with stub(lambda number, body: (200, "7")) as server:
        error = failure(judge(server.url, MPG_JUDGE_KEY=KEY), [Exhibit("1", "?", Unprintable(), "pirate")])
    assert "failed: RuntimeError: a mistake with …" in error.message


@pytest.mark.parametrize(
    "said, score",
    [
        ("7", 0.7),
        ("10", 1.0),
        (" 0. ", 0.0),
        ("8/10", 0.8),
        ("Score: 3", 0.3),
        ("**5**", 0.5),
        ("Yes.", 1.0),
        ("no", 0.0),
        ("<think>Maybe 9?</think>\n4", 0.4),
        ("11", None),
        ("-3", None),
        ("7.5", None),
        ("7 out of 10", None),
        ("yes and no", None),
        ("", None),
    ],
)
def test_what_counts_as_an_answer(said: str, score: float | None) -> None:
    assert parse(said) == score


@pytest.mark.parametrize(
    "url",
    ["localhost:8000", "ftp://host/v1", "file:///etc/passwd", "http://", "http://h:x/", "http://u:p@host/v1"],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="--judge-url"):
        endpoint(url)


def test_the_path_of_chat_completions_is_added_once() -> None:
    assert (
        endpoint("https://h/v1/")
        == endpoint("https://h/v1/chat/completions")
        == "https://h/v1/chat/completions"
    )
