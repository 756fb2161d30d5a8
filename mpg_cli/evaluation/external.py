"""The external judge: a model behind an OpenAI-compatible endpoint.

The key is read from the environment and sent in one header only. Torch-free.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mpg_cli.errors import MpgError, UsageError
from mpg_cli.evaluation.judging import Exhibit, Judgement, Keep, Report, digest
from mpg_cli.io import signals
from mpg_cli.io.text import visible

KEY = "MPG_JUDGE_KEY"
PATH = "/chat/completions"
CONCURRENCY = 4  # requests
TIMEOUT = 60.0  # seconds a request
TRIES = 5
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds between tries, doubled each time
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 529)
MOST_BYTES = 1 << 20  # of an answer
SHOWN = 300  # characters of an answer that a message shows

QUESTION = """\
You judge whether a text is written in the style of a persona.

Persona: {persona}
{description}
The text answers this prompt:
<prompt>
{prompt}
</prompt>
{reference}The text:
<text>
{text}
</text>

How strongly does the text show this persona? Answer with one whole number from 0 (not at all) to 10
(fully), and nothing else."""

_NUMBER = re.compile(r"(?:score\s*[:=]\s*)?(10|\d)(?:\s*/\s*10)?\.?", re.IGNORECASE)
_WORDS = {"yes": 1.0, "no": 0.0}
_THINKING = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class ExternalJudge:
    """Scores by the answers of a model: a tenth of its number from 0 to 10; yes is 1 and no is 0."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        environ: Mapping[str, str] = os.environ,
        timeout: float = TIMEOUT,
        first_wait: float = FIRST_WAIT,
    ) -> None:
        """Raises UsageError for an invalid URL or key."""
        self._url, self._model = endpoint(url), model
        self._key = environ.get(KEY, "").strip()
        if not self._key.isascii() or not all(map(str.isprintable, self._key)):
            raise UsageError(f"{KEY} must be printable ASCII characters")
        self._timeout, self._first_wait = timeout, first_wait
        self._opener = urllib.request.build_opener(_NoRedirect())
        host = urlsplit(self._url).netloc
        self.about: dict[str, Any] = {
            "kind": "external",
            "url": self._url,
            "model": model,
            "digest": digest(QUESTION),
        }
        self.words = f"{visible(model, 60)} at {visible(host, 60)}"

    def check(self, personas: Iterable[str]) -> None:
        """Every persona can be judged."""

    def judge(self, exhibits: Sequence[Exhibit], keep: Keep, report: Report) -> list[float]:
        """Send the questions, a few at a time. Raises MpgError with the answer of the server; earlier
        judgements are kept."""
        scores = [0.0] * len(exhibits)
        waiting: SimpleQueue[int] = SimpleQueue()
        answers: SimpleQueue[tuple[int, tuple[float, str] | MpgError]] = SimpleQueue()
        stopped = threading.Event()
        for at in range(len(exhibits)):
            waiting.put(at)

        def work() -> None:
            with contextlib.suppress(Empty):
                while not stopped.is_set():
                    at = waiting.get_nowait()
                    try:
                        answers.put((at, self._query(exhibits[at], stopped)))
                    except MpgError as error:
                        answers.put((at, error))
                    except Exception as error:  # the main thread waits for an answer
                        shown = self._shown(f"{type(error).__name__}: {error}")
                        answers.put((at, MpgError(f"the judge {self.words} failed: {shown}")))

        for _ in range(min(CONCURRENCY, len(exhibits))):  # daemons, so that Ctrl-C need not join them
            threading.Thread(target=work, daemon=True).start()
        try:
            for count in range(1, len(exhibits) + 1):
                at, answer = self._next(answers)
                if isinstance(answer, MpgError):
                    raise answer
                scores[at], text = answer
                keep(Judgement(exhibits[at].id, exhibits[at].persona, scores[at], text))
                report(count / len(exhibits))
        finally:
            stopped.set()
        return scores

    @staticmethod
    def _next(answers: SimpleQueue[Any]) -> Any:
        """The next answer; signals are handled while none comes."""
        while True:
            signals.check()
            with contextlib.suppress(Empty):
                return answers.get(timeout=0.5)

    def _query(self, one: Exhibit, stopped: threading.Event) -> tuple[float, str]:
        """Score and answer for one persona in one reply; tried again where that may help."""
        body = json.dumps(
            {
                "model": self._model,
                "messages": [{"role": "user", "content": question(one)}],
                "temperature": 0,
            }
        ).encode()
        pause, problem = self._first_wait, ""
        for turn in range(TRIES):
            if turn:
                if stopped.wait(pause):
                    raise MpgError("the judge was stopped")
                pause = min(2 * pause, LONGEST_WAIT)
            try:
                answer = self._post(body)
            except _Transient as error:
                problem, pause = error.message, max(pause, min(error.wait, LONGEST_WAIT))
                continue
            score = parse(answer)
            if score is not None:
                return score, answer
            problem = f"did not answer with a number from 0 to 10, yes or no: {visible(answer, SHOWN)}"
            if turn:  # at temperature 0 another answer would be the same
                break
        raise MpgError(
            f"the judge {self.words} {problem}",
            hint="use --output FILE to keep finished work; the same command then resumes",
        )

    def _post(self, body: bytes) -> str:
        """The answer of the model. Raises _Transient for an error worth a retry, MpgError for others."""
        headers = {"Content-Type": "application/json", "User-Agent": "mpg"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, body, headers)
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                raw = response.read(MOST_BYTES)
        except urllib.error.HTTPError as error:
            shown = f"answered {error.code}: {self._shown(_rest(error))}"
            if error.code in RETRIED:
                raise _Transient(shown, _seconds(error.headers.get("Retry-After"))) from None
            hint = f"set {KEY} to the key of the server" if error.code in (401, 403) else None
            raise MpgError(f"the judge {self.words} {shown}", hint=hint) from None
        except (OSError, ValueError) as error:  # no connection, a timeout
            reason = getattr(error, "reason", error)
            raise _Transient(f"cannot be reached: {self._shown(str(reason))}") from None
        except http.client.HTTPException as error:  # no HTTP, or half of it
            shown = self._shown(f"{type(error).__name__}: {error}")
            raise _Transient(f"gave a broken answer: {shown}") from None
        try:
            content = json.loads(raw)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise MpgError(f"the judge {self.words} gave no completion: {self._shown(raw)}") from None
        return content if isinstance(content, str) else ""

    def _shown(self, raw: bytes | str) -> str:
        """The start of an answer, on one line; the key is removed in case the server repeats it."""
        text = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
        if self._key:
            text = text.replace(self._key, "…")
        return visible(" ".join(text.split()), SHOWN) or "nothing"


class _Transient(Exception):
    """A transient error: retry after at least `wait` seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.message, self.wait = message, wait


def endpoint(url: str) -> str:
    """The URL of chat completions below a base URL such as http://localhost:8000/v1. Raises UsageError."""
    try:
        parts = urlsplit(url.strip())
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fine = False
    if not fine:
        hint = "as in --judge-url http://localhost:8000/v1"
        raise UsageError(f"--judge-url {visible(url, 100)} is not an HTTP URL", hint=hint)
    if parts.username or parts.password:
        raise UsageError(
            "--judge-url must not contain a user name or password", hint=f"put the key into {KEY}"
        )
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(PATH) else path + PATH, fragment=""))


def question(one: Exhibit) -> str:
    """The prompt of the judge."""
    described = f"Who that is: {one.description}\n" if one.description else ""
    reference = ""
    if one.reference:
        reference = f"A reference answer in that style:\n<reference>\n{one.reference}\n</reference>\n"
    return QUESTION.format(
        persona=one.persona, description=described, prompt=one.prompt, reference=reference, text=one.text
    )


def parse(answer: str) -> float | None:
    """0 to 1 from `7`, `7/10`, `Score: 7`, `yes` or `no`; None for anything else."""
    text = _THINKING.sub("", answer).strip().strip("*").strip()
    if match := _NUMBER.fullmatch(text):
        return int(match[1]) / 10
    return _WORDS.get(text.lower().rstrip("."))


def _rest(error: urllib.error.HTTPError) -> bytes:
    """The body of an error response; empty if the connection broke, as the status is enough."""
    try:
        return error.read(MOST_BYTES)
    except (OSError, ValueError, http.client.HTTPException):
        return b""


def _seconds(header: str | None) -> float:
    try:
        return max(0.0, float(header or 0))
    except ValueError:  # a date
        return 0.0
