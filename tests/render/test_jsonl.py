"""JSON: one object a reply or an event, one a line, in ASCII."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from mpg_cli.engine.events import Notice, Round
from mpg_cli.render.commentary import Commentary
from mpg_cli.render.jsonl import EventsRenderer, JsonRenderer
from tests.support.replies import reply, round_, streams, written

FIELDS = [
    *("text", "token_ids", "persona", "experts", "model", "revision", "target", "rule", "drafter"),
    *("chunk_size", "sampling", "sampling_from", "seed", "sequence", "finish_reason", "usage", "stats"),
]
NASTY = 'é "\x1b[31m\u2028\ud800\n日本'


def test_one_object_a_sample_with_the_fields_of_the_contract() -> None:
    to = streams()
    events = [Notice("hello"), *reply(["a", NASTY], sequence=0), *reply(["b"], sequence=1)]
    JsonRenderer(to.stdout, Commentary(to, stats=False, seed=False)).render(events)
    first, second = (json.loads(line) for line in written(to.stdout).splitlines())
    assert list(first) == FIELDS
    assert first["text"] == "a" + NASTY
    assert first["experts"][0] == {"name": "INTJ", "kind": "adapter", "weight": 0.7}
    assert first["usage"] == {"prompt_tokens": 9, "completion_tokens": 6}
    assert first["stats"]["acceptance_rate"] == 4 / 6
    assert (second["text"], second["sequence"], second["seed"]) == ("b", 1, 42)
    assert written(to.stderr) == "mpg: hello\n"


def test_output_is_ascii_without_control_characters() -> None:
    to = streams()
    JsonRenderer(to.stdout, Commentary(to, stats=False, seed=False)).render(reply([NASTY]))
    (line,) = written(to.stdout).split("\n")[:-1]
    assert line.isascii()
    assert line.isprintable()


def test_events_carry_type_and_schema() -> None:
    to = streams()
    EventsRenderer(to.stdout).render([Notice("n"), *reply(["a"])])
    objects = [json.loads(line) for line in written(to.stdout).splitlines()]
    assert [o["type"] for o in objects] == ["notice", "started", "round", "text", "finished"]
    assert {o["schema"] for o in objects} == {1}
    assert objects[2]["contributions"] == [[0.5, -0.25]] * 3
    assert written(to.stderr) == ""


def test_infinities_become_null() -> None:
    to = streams()
    event: Round = replace(round_(0, threshold=True), log_ratios=((-math.inf, math.nan, 0.0, 1.0),))
    EventsRenderer(to.stdout).render([event])
    assert json.loads(written(to.stdout))["log_ratios"] == [[None, None, 0.0, 1.0]]
