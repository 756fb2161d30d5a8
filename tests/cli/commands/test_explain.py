"""`mpg explain` and `mpg generate --explain` from the command line, on a tiny model."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.forked import Mpg
from tests.support.screen import drain, open_terminal

PLAIN = [*("Hello", "-p", "bold+calm:0.5", "--seed", "7", "--max-tokens", "20"), *("-q",)]


RULES = {
    "exact": ["--chunk-size", "3"],
    "block": ["--rule", "block", "--chunk-size", "3", "--drafter", "reference"],
    "threshold": ["--rule", "threshold", "--chunk-size", "3", "--candidates", "2"],
    "token-by-token": ["--drafter", "none"],
    "mixture": ["--target", "mixture"],
}


@pytest.mark.parametrize("rule", RULES)
def test_json_on_a_pipe_agrees_with_generate(in_world: Cli, rule: str) -> None:
    code, out, err = in_world("explain", *PLAIN, *RULES[rule])
    assert (code, err) == (0, "")
    found = json.loads(out)
    code, out, _ = in_world("generate", *PLAIN, *RULES[rule], "--format", "events")
    rounds = [e for e in map(json.loads, out.splitlines()) if e["type"] == "round"]
    finished = json.loads(out.splitlines()[-1])
    tokens = found["tokens"]
    assert [t["id"] for t in tokens] == found["token_ids"] == finished["token_ids"]
    assert "".join(t["text"] for t in tokens) == found["text"] == finished["text"]
    contributions = [own for r in rounds for own in r["contributions"]][: len(tokens)]
    assert [list(t["contributions"].values()) for t in tokens] == contributions
    assert list(tokens[0]["contributions"]) == ["bold", "calm"] == [e["name"] for e in found["experts"]]
    last = rounds[-1]
    committed = sum(len(r["contributions"]) for r in rounds)
    kept_the_end = len(contributions) < committed and last["accepted"] == len(last["tokens"])
    assert sum(t["origin"] == "accepted" for t in tokens) == finished["stats"]["accepted"] - kept_the_end
    assert found["unit"] == ("share" if rule == "mixture" else "nats")
    if rule == "token-by-token":
        assert {t["origin"] for t in tokens} == {"bonus"}
    for t in tokens:
        assert ("rejected" in t) == (t["origin"] == "corrected")
    for sentence in found["sentences"]:
        own = tokens[sentence["first"] : sentence["end"]]
        total = sum(t["contributions"]["bold"] for t in own)
        assert sentence["contributions"]["bold"] == pytest.approx(total)
    assert sum(s["end"] - s["first"] for s in found["sentences"]) == len(tokens)


def test_the_fields_of_generate_come_first(in_world: Cli) -> None:
    _, one, _ = in_world("explain", *PLAIN)
    _, other, _ = in_world("generate", *PLAIN, "--format", "json")
    explained, plain = json.loads(one), json.loads(other)
    assert list(explained) == [*plain, "unit", "tokens", "sentences"]
    del explained["stats"], plain["stats"]
    assert {name: explained[name] for name in plain} == plain


def test_generate_carries_it_in_its_objects(in_world: Cli) -> None:
    _, out, _ = in_world("generate", *PLAIN, "--explain", "--format", "json")
    _, own, _ = in_world("explain", *PLAIN)
    explanation = json.loads(out)["explanation"]
    assert explanation == {name: json.loads(own)[name] for name in ("unit", "tokens", "sentences")}
    _, out, _ = in_world("generate", *PLAIN, "--explain", "--format", "events")
    assert json.loads(out.splitlines()[-1])["explanation"] == explanation
    _, out, _ = in_world("generate", *PLAIN, "--format", "events")
    assert "explanation" not in json.loads(out.splitlines()[-1])


def test_generate_explains_on_stderr_and_stdout_keeps_the_reply(in_world: Cli) -> None:
    _, plain, _ = in_world("generate", *PLAIN)
    code, out, err = in_world("generate", *PLAIN, "--explain")
    assert (code, out) == (0, plain)
    assert err.startswith("[a bold 1]  [b calm 0.5]\n")
    assert re.search(r"^  a bold .*[+-]\d+\.\d\d$", err, re.MULTILINE)


def test_the_page_is_written_whole_beside_the_output(in_world: Cli, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    code, out, err = in_world("explain", *PLAIN[:-1], "-n", "2", "--html", str(page))
    assert code == 0
    assert f"mpg: wrote {page}" in err
    assert len(out.splitlines()) == 2
    html = page.read_text(encoding="utf-8")
    count = sum(len(json.loads(line)["tokens"]) for line in out.splitlines())
    assert len(re.findall(r'<span class="t ', html)) == count
    assert html.endswith("</html>\n")
    assert list(tmp_path.iterdir()) == [page]


def test_signs_on_request(in_world: Cli) -> None:
    code, out, _ = in_world("explain", *PLAIN, "--format", "terminal")
    assert code == 0
    assert out.startswith("[a bold 1]")
    assert "\x1b" not in out


def test_a_conversation_shows_its_last_turn(in_world: Cli, tmp_path: Path) -> None:
    turns = [{"role": r, "content": f"turn <{i}>"} for i, r in enumerate(["user", "assistant", "user"])]
    (tmp_path / "talk.json").write_text(json.dumps(turns))
    page = tmp_path / "why.html"
    options = ["-p", "bold", "--max-tokens", "3", "--messages", str(tmp_path / "talk.json")]
    assert in_world("explain", *options, "--html", str(page))[0] == 0
    assert "turn &lt;2&gt;</p>" in page.read_text()


@pytest.mark.parametrize(
    "argv, message",
    [
        (["-p", "pirate", "Hi", "--html", "."], "--html . is a directory"),
        (["-p", "pirate", "Hi", "--html", "nowhere/x.html"], "--html nowhere/x.html cannot be written"),
        (
            ["-p", "pirate", "Hi", "--format", "live"],
            "unknown format 'live' (choose from auto,",
        ),
        (["-p", "nobody", "Hi"], "nobody"),
        (["Hi"], "a persona is missing"),
        (["-p", "pirate", ""], "the prompt is empty"),
        (["-p", "pirate", "Hi", "--candidates", "2"], "--candidates belongs to --rule threshold"),
    ],
)
def test_wrong_usage_loads_nothing(cli: Cli, argv: list[str], message: str) -> None:
    code, out, err = cli("explain", *argv)
    assert (code, out) == (2, "")
    assert err.startswith("mpg: error: ")
    assert message in err
    assert not list(Path().glob("*.part"))


def test_a_failed_run_keeps_the_page_that_was_there(in_world: Cli, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    page.write_text("older")
    code, _, err = in_world("explain", "Hello " * 100, "-p", "bold", "--html", str(page))
    assert code == 1
    assert "the prompt has" in err
    assert page.read_text() == "older"
    assert list(tmp_path.iterdir()) == [page]


def test_an_interruption_explains_what_is_there(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "why.html"
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    command = [
        *("explain", "Hello", "-p", "bold+calm", "--seed", "7", "--chunk-size", "3", "--html", str(page)),
        *("--model", str(world / "base"), "--persona-dir", str(world), "--device", "cpu"),
    ]
    master, slave = open_terminal(columns=80)
    mpg = Mpg(command, to={1: slave, 2: slave}, interrupt=8)
    os.close(slave)
    output = drain(master)
    assert mpg.wait(60) == 128 + signal.SIGINT
    assert "bold 1" in output
    assert "interrupted" in output
    assert "\x1b[38;5;" in output, "in colour on a terminal"
    assert "<dd>interrupted</dd>" in page.read_text()


def test_a_reader_that_has_gone_leaves_the_page(world: Path, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    command = [
        *("explain", "Hello", "-p", "bold", "-q", "--html", str(page)),
        *("--model", str(world / "base"), "--persona-dir", str(world), "--device", "cpu", "-n", "2"),
    ]
    reader, stdout = os.pipe()
    os.close(reader)
    done = Mpg(command, to={1: stdout})
    os.close(stdout)
    assert (done.wait(60), done.output()) == (0, "")
    assert page.read_text().endswith("</html>\n")


def test_help_explains_the_output(cli: Cli) -> None:
    code, out, _ = cli("explain", "--help")
    assert code == 0
    for said in ("--html", "--persona", "--rule", "log-ratio contribution", "nats", "Examples:"):
        assert said in out
