"""`mpg batch` from the command line, on the tiny model of the batch tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli


@pytest.fixture
def run(in_world: Cli, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs it with the model and personas of the world; exit code, stdout lines, stderr."""
    monkeypatch.setenv("MPG_MAX_TOKENS", "6")

    def call(*argv: str, stdin: bytes = b"") -> tuple[int, list[dict[str, Any]], str]:
        code, out, err = in_world("batch", *argv, stdin=stdin)
        return code, [json.loads(line) for line in out.splitlines()], err

    return call


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_stdin_to_stdout(run: Any) -> None:
    code, out, err = run(
        "-", "-p", "bold", "--seed", "3", stdin=lines({"prompt": "a"}, {"id": "x", "prompt": "b"})
    )
    assert code == 0
    assert {record["id"] for record in out} == {"1", "x"}
    one = next(record for record in out if record["id"] == "x")
    assert {"text", "token_ids", "experts", "finish_reason", "usage", "stats", "acceptance", "input"} <= set(
        one
    )
    assert (one["seed"], one["persona"], one["sequence"]) == (3, "bold", "x")
    assert "2 answered" in err


def test_an_adapter_of_the_hub_is_not_a_folder_of_its_name(
    run: Any, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run resumes only with the adapter that it started with."""
    import os

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copytree(world / "bold", "someone/bold")
    Path("in.jsonl").write_bytes(lines({"prompt": "a"}))
    command = ["in.jsonl", "-o", "out.jsonl", "--seed", "3", "--adapter"]
    assert run(*command, "someone/bold")[0] == 0
    assert run(*command, "./someone/bold")[0] == 0  # the same
    os.rename("someone", "moved")
    code, _, err = run(*command, "someone/bold")
    assert code == 2
    assert "adapters" in err


def test_a_file_is_resumed_and_errors_are_tried_again(run: Any, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(lines({"prompt": "a"}, {"prompt": ""}, {"prompt": "c", "persona": "nobody"}) + b"{\n")
    command = [str(source), "-o", str(out), "-p", "bold"]
    code, _, err = run(*command)
    assert code == 1
    assert "line 2: the prompt is empty" in err
    assert "3 lines failed" in err
    records = {record["id"]: record for record in map(json.loads, out.read_text().splitlines())}
    assert {id_: r["error"]["code"] for id_, r in records.items() if "error" in r} == {
        "2": "empty_prompt",
        "3": "bad_persona",
        "(line 4)": "invalid_json",
    }
    assert records["(line 4)"]["line"] == 4
    before = out.read_bytes()
    code, _, err = run(*command)
    assert (code, out.read_bytes()) == (1, before)
    assert "4 skipped" in err
    mended = lines({"prompt": "a", "top_p": None}, {"prompt": "now"}, {"prompt": "c", "persona": "nobody"})
    source.write_bytes(mended + b"{\n")  # a corrected line needs no flag, for nothing was answered
    code, _, err = run(*command)
    assert (code, "1 answered" in err, "2 lines failed" in err) == (1, True, True)
    ids = {json.loads(line)["id"] for line in out.read_text().splitlines()}
    assert ids == {"1", "2", "3", "(line 4)"}
    source.write_bytes(lines({"prompt": "a"}, {"prompt": "now"}, {"prompt": "c", "persona": "calm"}))
    code, _, err = run(*command, "--retry-errors")
    assert code == 0, err
    assert sorted(json.loads(line)["id"] for line in out.read_text().splitlines()) == ["1", "2", "3"]


def test_once_every_line_is_corrected_no_error_is_left(run: Any, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    good = lines({"id": 0, "prompt": "a"}, {"id": "c", "prompt": "b"})
    source.write_bytes(good + b'{"id": "g", "prompt" "c"}\n' + lines({"id": "c", "prompt": "d"}))
    command = [str(source), "-o", str(out), "-p", "bold", "--seed", "1"]
    code, _, err = run(*command)
    assert (code, "2 lines failed" in err) == (1, True)
    code, _, err = run(*command)
    assert (code, "4 skipped" in err) == (1, True)
    source.write_bytes(b"")  # as of a pipe that broke: nothing is known of any line
    assert run(*command)[0] == 1
    source.write_bytes(good + lines({"id": "g", "prompt": "c"}, {"id": "c2", "prompt": "d"}))
    code, _, err = run(*command)
    assert code == 0, err
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == ["0", "c", "g", "c2"]
    assert run(*command)[0] == 0


def test_what_changes_the_replies_is_refused(run: Any, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(lines({"prompt": "a"}))
    assert run(str(source), "-o", str(out), "-p", "bold", "--seed", "1")[0] == 0
    code, _, err = run(str(source), "-o", str(out), "-p", "bold:0.5", "--seed", "1")
    assert code == 2
    assert "a different persona.bold: 1.0, now 0.5" in err
    scaled = run(str(source), "-o", str(out), "-p", "bold", "--seed", "1", "--scale", "0.5")
    assert scaled == (2, [], err)
    assert "\nhint: set by --persona and --scale; run the same command to resume" in err
    # The way there may change under the exact rule.
    more = ["--drafter", "reference", "--chunk-size", "2", "--batch-size", "2"]
    assert run(str(source), "-o", str(out), "-p", "bold", "--seed", "1", *more)[0] == 0
    assert run(str(source), "-o", str(out), "-p", "bold:0.5", "--force-restart")[0] == 0


def test_strict_stops_before_any_work(run: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    wrong = lines({"prompt": "a"}, {"prompt": "b", "temprature": 1}, {"id": "1", "prompt": "c"})
    code, _, err = run("-", "-o", str(out), "-p", "bold", "--strict", stdin=wrong)
    assert code == 2
    assert "2 bad lines" in err
    assert "line 2: unknown field 'temprature'; did you mean temperature?" in err
    assert "line 3: the id 1 is that of an earlier line" in err
    assert not out.exists()
    code, _, err = run("-", "-p", "bold", "--strict", stdin=lines({"prompt": "a"}, {"prompt": "long " * 60}))
    assert code == 2
    assert "line 2: the prompt has" in err
    code, found, _ = run("-", "-p", "bold", "--strict", stdin=lines({"prompt": "a"}))
    assert (code, len(found)) == (0, 1)


def test_input_and_output_are_different_files(run: Any, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(lines({"prompt": "a"}))
    code, _, err = run(str(source), "-o", str(source), "-p", "bold")
    assert code == 2
    assert "are the same file" in err
    assert source.read_bytes() == lines({"prompt": "a"})


def test_text_lines_and_a_summary_for_machines(run: Any, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("How are you?\n\nWhat now?\n")
    code, out, err = run(str(source), "-p", "bold", "--input-format", "text", "--format", "json", "-q")
    assert code == 0
    assert {record["id"] for record in out} == {"1", "3"}
    summary = json.loads(err.splitlines()[-1])
    assert (summary["done"], summary["failed"], summary["batch_size"]) == (2, 0, 32)
    assert summary["tokens"] > 0


@pytest.mark.parametrize("strict", [[], ["--strict"]], ids=str)
def test_a_file_of_another_kind_is_refused_and_nothing_is_lost(
    run: Any, tmp_path: Path, strict: list[str]
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    good = lines({"prompt": "a"}, {"prompt": "b"})
    listed = json.dumps([{"prompt": "a"}], indent=1).encode()
    command = [str(source), "-o", str(out), "-p", "bold", *strict]
    for raw, kind in ((good.decode().encode("utf-16"), "UTF-16"), (listed, "a JSON list")):
        source.write_bytes(raw)
        for _ in range(2):
            code, _, err = run(*command)
            assert (code, out.exists()) == (2, False)
            assert (f"{source} is {kind}" in err, err.count("error")) == (True, 1)
        code, replies, err = run("-", "-p", "bold", *strict, stdin=raw)
        assert (code, replies, f"stdin is {kind}" in err) == (2, [], True)
    source.write_bytes(good)
    assert run(*command)[0] == 0
    answered = out.read_bytes()
    source.write_bytes(listed)
    assert run(*command)[0] == 2
    assert out.read_bytes() == answered
    source.write_bytes(good)
    code, _, err = run(*command)
    assert (code, "2 skipped" in err, out.read_bytes()) == (0, True, answered)


def test_an_empty_file_is_reported(run: Any, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"\n")
    code, out, err = run(str(tmp_path / "in.jsonl"), "-p", "bold")
    assert (code, out) == (0, [])
    assert "INPUT has no lines" in err


def test_an_output_with_stop_texts_and_biases_is_gone_on_with(run: Any, tmp_path: Path) -> None:
    """Its sidecar holds them as JSON does: lists where there were tuples."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(lines({"prompt": "a"}))
    asked = (str(source), "-o", str(out), "-p", "bold", "--seed", "1", "--stop", "x", "--logit-bias", "7:1")
    assert run(*asked)[0] == 0
    config = json.loads(out.with_name("out.jsonl.mpg.json").read_text())["config"]
    assert (config["stop"], config["logit_bias"]) == (["x"], [[7, 1.0]])
    code, _, err = run(*asked)
    assert (code, "1 skipped" in err) == (0, True)


def test_penalties_of_lines_count(run: Any) -> None:
    """A bias that leaves one token, and a stop token id that ends there."""
    asked: dict[str, Any] = {"prompt": "a", "logit_bias": {"7": 100}, "temperature": 0}
    forced, ended = {"id": "forced", **asked}, {"id": "ended", **asked, "stop_token_ids": [7]}
    code, out, err = run("-", "-p", "bold", stdin=lines(forced, ended))
    assert code == 0, err
    found = {record["id"]: (record["token_ids"], record["finish_reason"]) for record in out}
    assert found["forced"] == ([7] * 6, "length")
    assert found["ended"] == ([], "stop")


def test_a_reply_continues_a_last_assistant_turn(run: Any) -> None:
    """An own record has the whole text, one of OpenAI's what is new, as everywhere."""
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "word"}]
    theirs = {"custom_id": "x", "method": "POST", "url": "/v1/chat/completions"}
    one = lines({"id": "x", "messages": said})
    other = lines({**theirs, "body": {"model": "m", "messages": said, "continue_final_message": True}})
    (own,) = run("-", "-p", "bold", "--seed", "1", stdin=one)[1]
    (openai,) = run("-", "-p", "bold", "--seed", "1", stdin=other)[1]
    assert own["text"].startswith("word")
    assert own["text"] == "word" + openai["response"]["body"]["choices"][0]["message"]["content"]


def test_openai_lines_get_openai_records(run: Any) -> None:
    body = {"model": "x", "messages": [{"role": "user", "content": "Hi"}]}
    asked = {"method": "POST", "url": "/v1/chat/completions"}
    good, bad = (
        {"custom_id": n, **asked, "body": {**body, **more}} for n, more in (("a", {}), ("b", {"n": 3}))
    )
    code, out, _ = run("-", "-p", "bold", stdin=lines(good, bad))
    assert code == 1
    failed, done = sorted(out, key=lambda record: record["error"] is None)
    assert (failed["custom_id"], failed["error"]["code"], failed["response"]) == ("b", "unsupported", None)
    assert done["custom_id"] == "a"
    answer = done["response"]["body"]
    assert done["response"]["status_code"] == 200
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert (
        answer["usage"]["total_tokens"]
        == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    )
    assert answer["mpg"]["persona"] == "bold"


@pytest.mark.parametrize(
    "argv, message",
    [
        (["nowhere.jsonl", "-p", "pirate"], "INPUT nowhere.jsonl cannot be read: No such file"),
        (["-", "-p", "pirate", "--batch-size", "0"], "--batch-size 0 must be between 1 and 4096"),
        (["-", "-p", "pirate", "--max-experts", "0"], "--max-experts"),
        (["-", "-p", "pirrate"], "did you mean pirate?"),
        (["-", "-p", "pirate", "--candidates", "2"], "--candidates belongs to --rule threshold"),
        (["-", "-p", "pirate", "-o", "no/such/file"], "cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_refused(cli: Cli, argv: list[str], message: str) -> None:
    code, out, err = cli("batch", *argv)
    assert code == 2, err
    assert message in err
    assert out == ""


def test_a_token_that_the_model_lacks_is_reported_by_its_field(run: Any) -> None:
    code, out, _ = run("-", "-p", "bold", stdin=lines({"prompt": "a", "logit_bias": {"5000": 1}}))
    (record,) = out
    assert code == 1
    assert record["error"]["message"].startswith("logit_bias 5000 is not a token id")
    assert "is not a token id of" in record["error"]["message"]


def test_a_run_does_not_mix_the_sampling_of_two_versions_of_the_model(
    run: Any, world: Path, tmp_path: Path
) -> None:
    says = world / "base" / "generation_config.json"
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(lines({"prompt": "a"}, {"prompt": "b", "temperature": 0.3}))
    command = [str(source), "-o", str(out), "-p", "bold", "--seed", "1"]
    before = says.read_text()
    try:
        says.write_text(json.dumps({"temperature": 0.5, "min_p": 0.1}))
        assert run(*command)[0] == 0
        records = {r["id"]: r for r in map(json.loads, out.read_text().splitlines())}
        assert [records[id_]["sampling"]["temperature"] for id_ in "12"] == [0.5, 0.3]
        assert [records[id_]["sampling_from"]["temperature"] for id_ in "12"] == [
            *("generation_config.json", "line")
        ]
        assert run(*command)[0] == 0
        assert run(*command, "--temperature", "0.5", "--top-k", "0")[0] == 0  # the same in effect
        says.write_text(json.dumps({"temperature": 0.9, "min_p": 0.1}))
        code, _, err = run(*command)
        assert code == 2
        assert "a different temperature: 0.5, now 0.9" in err
        assert run(*command, "--temperature", "0.5")[0] == 0
        assert "a different min_p: 0.1, now 0" in run(*command, "--temperature", "0.5", "--min-p", "0")[2]
    finally:
        says.write_text(before)
