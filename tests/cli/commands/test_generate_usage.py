"""`mpg generate`: flags become a request, and wrong usage is refused before anything loads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.sampling.params import Threshold
from tests.support.cli import Cli

SHORT = ("--max-tokens", "4")

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def test_defaults(cli: Cli) -> None:
    request = cli.request("-p", "pirate", "hello")
    assert request.prompting.prompt == "hello"
    assert request.prompting.messages is None
    assert request.model.name == "mpg-tiny"
    assert request.sampling.max_tokens is None
    assert request.scheme.chunk_size is None
    assert request.scheme.threshold == Threshold()
    assert (request.seed, request.samples, request.sequence_id) == (None, 1, None)
    assert request.blend is not None
    assert [(e.persona.name, e.weight) for e in request.blend.experts] == [("pirate", 1.0)]


def test_all_flags_arrive(cli: Cli) -> None:
    request = cli.request(
        *("-p", "Pirate:0.5", "--persona", "poet", "--scale", "2", "--adapter", "a/b:c:0.5"),
        *("--system", "Be kind.", "--template-arg", "enable_thinking=false", "--template-arg", "n=3"),
        *("--template-arg", "style=short", "--model", "some/model", "--revision", "abc"),
        *("--device", "cuda:1", "--dtype", "bfloat16", "--rule", "threshold", "--threshold", "fixed:1.5"),
        *(
            "--threshold-window",
            "32",
            "--candidates",
            "4",
            "--ahead",
            "2",
            "--drafter",
            "persona:POET",
            "--chunk-size",
            "8",
        ),
        *("--max-tokens", "9", "--temperature", "0", "--top-k", "5", "--top-p", "0.9", "--min-p", "0.1"),
        *("--repetition-penalty", "1.1", "--stop", "x y", "--stop", "\n", "--seed", "7", "hello"),
        *("--sequence-id", "3"),
    )
    assert request.blend is not None
    assert [(e.persona.name, e.weight) for e in request.blend.experts] == [("pirate", 1.0), ("poet", 2.0)]
    assert request.adapters == ((AdapterPlace(Path("a/b:c")), 1.0),)
    assert request.prompting.system == "Be kind."
    assert request.prompting.template_args == {"enable_thinking": False, "n": 3, "style": "short"}
    assert (request.model.name, request.model.revision) == ("some/model", "abc")
    assert (request.model.device, request.model.dtype) == ("cuda:1", "bfloat16")
    assert request.scheme.rule == "threshold"
    assert request.scheme.threshold == Threshold("fixed:1.5", window=32, candidates=4, ahead=2)
    assert (request.scheme.drafter, request.scheme.chunk_size) == ("persona:poet", 8)
    sampling = request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_k) == (9, 0.0, 5)
    assert (sampling.top_p, sampling.min_p, sampling.repetition_penalty) == (0.9, 0.1, 1.1)
    assert sampling.stop == ("x y", "\n")
    assert (request.seed, request.sequence_id) == (7, 3)


@pytest.mark.parametrize(
    ("argument", "value"), [("3", 3), ('"3"', "3"), ("line-7", "line-7"), ("-1", "-1"), ("true", "true")]
)
def test_sequence_ids_are_as_in_json(cli: Cli, argument: str, value: int | str) -> None:
    assert cli.request("-p", "pirate", f"--sequence-id={argument}", "hi").sequence_id == value


@pytest.mark.parametrize(
    ("argument", "value"),
    [("max", Threshold()), ("0.95", Threshold("0.95")), ("fixed:0", Threshold("fixed:0"))],
)
def test_thresholds(cli: Cli, argument: str, value: Threshold) -> None:
    request = cli.request("-p", "pirate", "--rule", "threshold", "--threshold", argument, "hi")
    assert request.scheme.threshold == value


def test_stdin_is_the_prompt_for_a_dash_or_without_one(cli: Cli) -> None:
    for dash in (["-"], []):
        request = cli.request("-p", "pirate", *dash, stdin="Grüße\nzwei\n\n".encode())
        assert request.prompting.prompt == "Grüße\nzwei\n"


def test_stdin_is_left_alone_when_there_is_a_prompt(cli: Cli) -> None:
    assert cli.request("-p", "pirate", "hello", stdin=b"\xff").prompting.prompt == "hello"


def test_a_prompt_file_keeps_its_lines(cli: Cli) -> None:
    Path("p.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert cli.request("-p", "pirate", "--prompt-file", "p.txt").prompting.prompt == "one\r\ntwo"


def test_messages_come_from_a_file_or_stdin(cli: Cli) -> None:
    Path("m.json").write_text(json.dumps(MESSAGES))
    from_file = cli.request("-p", "pirate", "--messages", "m.json")
    from_stdin = cli.request("-p", "pirate", "--messages", "-", stdin=json.dumps(MESSAGES).encode())
    assert from_file.prompting.messages == tuple(MESSAGES)
    assert from_file.prompting == from_stdin.prompting


def test_only_adapters_need_no_persona(cli: Cli) -> None:
    request = cli.request("--adapter", "x", "--adapter", "x:0.5", "--drafter", "persona:X", "hi")
    assert request.blend is None
    assert request.adapters == ((AdapterPlace(Path("x")), 1.5),)
    assert request.scheme.drafter == "persona:x"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--temperature", "-1"], "--temperature -1 must be 0 or more"),
        (["--temperature", "nan"], "--temperature nan must be 0 or more"),
        (["--temperature", "inf"], "--temperature inf must be 0 or more"),
        (["--temperature", "warm"], "invalid value for '--temperature': "),
        (["--top-p", "0"], "--top-p 0 must be above 0 and at most 1"),
        (["--top-p", "1.5"], "--top-p 1.5 must be above 0 and at most 1"),
        (["--min-p", "-0.1"], "--min-p -0.1 must be between 0 and 1"),
        (["--top-k", "-1"], "--top-k -1 must be 0 or more"),
        (["--repetition-penalty", "0"], "--repetition-penalty 0 must be above 0"),
        (["--max-tokens", "0"], "--max-tokens 0 must be at least 1"),
        (["-n", "0"], "--samples 0 must be at least 1"),
        (["--seed", "-1"], "--seed -1 must be between 0"),
        (["--stop", ""], "--stop is empty"),
        (["--chunk-size", "-1"], "--chunk-size -1 must be between 0 and 64"),
        (["--chunk-size", "65"], "--chunk-size 65 must be between 0 and 64"),
        (["--chunk-size", "big"], "--chunk-size 'big' must be auto or a whole number"),
        (["--threshold", "max"], "--threshold belongs to --rule threshold"),
        (["--threshold-window", "64"], "--threshold-window belongs to --rule threshold"),
        (["--rule", "threshold", "--threshold", "2"], "--threshold '2' is not a threshold"),
        (["--rule", "threshold", "--threshold", "fixed:-1"], "--threshold 'fixed:-1' is not a threshold"),
        (["--rule", "threshold", "--threshold-window", "0"], "--threshold-window 0 must be between 1 and"),
        (["--rule", "greedy"], "unknown rule 'greedy' (choose from exact, threshold, block)"),
        (["--target", "sum"], "unknown target 'sum' (choose from product, mixture, merged)"),
        (
            ["--drafter", "beam"],
            "unknown drafter 'beam' (choose from auto, merged, folded, reference, lookup, none, "
            "persona:NAME, model:PATH)",
        ),
        (["--drafter", "model:"], "names no model\nhint: as in --drafter model:FOLDER"),
        (["--drafter", "lookup", "--rule", "threshold"], "it cannot propose every token"),
        (["--candidates", "4"], "--candidates belongs to --rule threshold"),
        (["--rule", "block", "--ahead", "2"], "--ahead belongs to --rule threshold"),
        (["--rule", "threshold", "--candidates", "0"], "--candidates 0 must be between 1 and 64"),
        (["--rule", "threshold", "--ahead", "99"], "--ahead 99 must be between 1 and 16"),
        (["--drafter", "refrence"], "did you mean reference?"),
        (["--drafter", "persona:poet"], "the blend has pirate"),
        (["--drafter", "none", "--chunk-size", "4"], "--chunk-size conflicts with --drafter none"),
        (["--scale", "nan"], "--scale nan must be a finite number"),
        (["--scale", "0"], "every weight is zero"),
        (["--scale", "11"], "beyond ±10"),
        (["--adapter", "x:nan"], "weight must be a finite number"),
        (["--adapter", ":2"], "has no path"),
        (["--adapter", "x:11"], "beyond ±10"),
        (["--template-arg", "thinking"], "is not KEY=VALUE"),
        (["--template-arg", "a=1", "--template-arg", "a=2"], "--template-arg a is given twice"),
        (["--raw", "--template-arg", "a=1"], "--raw skips the chat template"),
        (["--device", "tpu"], "unknown device 'tpu' (choose from auto, cuda, cuda:N, mps, cpu)"),
        (["--dtype", "int8"], "unknown dtype 'int8' (choose from auto, bfloat16, float16, float32)"),
        (["--model", ""], "--model is empty"),
        (["--sequence-id", "1", "-n", "2"], "--sequence-id selects one sample"),
        (["--format", "live"], "--format live is not possible: stdout is not a terminal"),
        (["--persona-dir", "nowhere"], "nowhere: no such folder"),
        (["--tempreture", "1"], "no such option: --tempreture"),
        (["another"], "unexpected extra argument"),
        (["-p", "pirate:"], "the weight of pirate is missing\n  pirate:\n         ^"),
        (["-p", "poett"], "did you mean poet?"),
        (["-p", "poet:-1", "--target", "mixture"], "--target mixture does not allow negative weights: poet"),
        (["--adapter", "x:-1", "--target", "mixture"], "--target mixture does not allow negative weights: x"),
        (["--output", "."], "--output . is a directory"),
        (["--output", "no/such/file"], "--output no/such/file cannot be written: No such file"),
        (["--output", "x", "--format", "live"], "--output is a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_flags_are_refused(cli: Cli, argv: list[str], message: str) -> None:
    assert message in cli.refused("-p", "pirate", "hello", *argv)


@pytest.mark.parametrize(
    ("argv", "stdin", "message"),
    [
        ([""], b"", "the prompt is empty"),
        ([" \n"], b"", "the prompt is empty"),
        (["-"], b"\n", "the prompt is empty"),
        ([], b"", "the prompt is empty"),
        (["-"], b"ok\n\xff\xfe", "stdin is not UTF-8 text: byte 0xff in line 2"),
        (["--prompt-file", "nowhere.txt"], b"", "--prompt-file nowhere.txt cannot be read: No such file"),
        (["--prompt-file", "."], b"", "--prompt-file . cannot be read: Is a directory"),
        (["hello", "--prompt-file", "x"], b"", "the prompt is given twice: PROMPT and --prompt-file"),
        (["hello", "--messages", "x"], b"", "the prompt is given twice: PROMPT and --messages"),
        (["--messages", "-", "--raw"], b'[{"role":"user","content":"x"}]', "--raw skips the chat template"),
        (["--messages", "-"], b"[1", "--messages is not JSON"),
        (["--messages", "-"], b"[" * 100_000, "--messages is"),
        (["--messages", "-"], b"{}", "--messages must be a list of messages"),
        (
            ["--messages", "-"],
            b'{"messages":[{"role":"user","content":"x"}],"temperature":0}',
            "--messages has the field 'temperature' in addition to the messages",
        ),
        (
            ["--messages", "-"],
            b'{"messages":[],"note":1}',
            "--messages has the field 'note' in addition",
        ),
        (["--messages", "-"], b'{"messages":[]}', "--messages must be a list of messages"),
        (["--messages", "-"], b"[]", "--messages must be a list of messages"),
        (["--messages", "-"], b"[7]", "--messages[0] must be an object"),
        (["--messages", "-"], b'[{"role":"user"}]', "--messages[0].content must be text, not null"),
        (["--messages", "-"], b'[{"role":"me","content":""}]', "--messages[0].role must be system, user"),
        (["--messages", "-"], b'[{"role":"user","content":"x","nme":"y"}]', "unknown key 'nme'"),
        (["--messages", "-"], b'[{"role":"user","content":"\\ud800"}]', "is not UTF-8 text"),
        (["--messages", "-"], b'[{"role":"user","content":" "}]', "the last user turn of --messages is"),
        (["--messages", "-"], b'[{"role":"assistant","content":"x"}]', "must have role user, not assistant"),
        (["caf\udce9"], b"", "the prompt is not UTF-8 text"),
        (["--system", "\udce9", "x"], b"", "--system is not UTF-8 text"),
    ],
)
def test_wrong_prompts_are_refused(cli: Cli, argv: list[str], stdin: bytes, message: str) -> None:
    assert message in cli.refused("-p", "pirate", *argv, stdin=stdin)


def test_a_missing_persona_has_a_hint(cli: Cli) -> None:
    err = cli.refused("hello")
    assert err == (
        "mpg: error: a persona is missing\n"
        "hint: add --persona NAME, for instance -p pirate, or --adapter PATH\n"
    )


def test_an_unreadable_output_is_refused(cli: Cli) -> None:
    Path("out.txt").write_text("old")
    Path("out.txt").chmod(0o400)
    if os.access("out.txt", os.W_OK):
        pytest.skip("nothing is unreadable to this user")
    assert "Permission denied" in cli.refused("-p", "pirate", "hello", "--output", "out.txt")


def test_an_adapter_is_known_by_its_folder_and_weights_add_as_decimals(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpg_cli.personas.blending import read_adapters as adapters

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a:1").mkdir()
    assert adapters(["a:0.5", f"{tmp_path}/a:0.25"], 2.0) == ((AdapterPlace(Path("a")), 1.5),)
    assert adapters(["a:0.1", "a:0.2", "a:-0.3"], 1.0) == ()
    assert adapters(["a:1"], 1.0) == ((AdapterPlace(Path("a:1")), 1.0),)


def test_flag_before_environment_before_file_before_default(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "config" / "mpg" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("model: from/file\ntop-k: 7\nstop: [a, b]\npersona: pirate\nthreshold: 0.5\n")
    cli.monkeypatch.setenv("MPG_MODEL", "from/environment")
    cli.monkeypatch.setenv("MPG_TOP_P", "0.25")
    cli.monkeypatch.setenv("MPG_MIN_P", "")
    request = cli.request("hello", "--top-k", "9", "--format", "json")
    assert request.model.name == "from/environment"
    assert request.sampling.top_k == 9
    assert request.sampling.top_p == 0.25
    assert request.sampling.stop == ("a", "b")
    assert request.scheme.rule == "exact"  # a threshold in the file waits for its rule
    cli.monkeypatch.delenv("MPG_MODEL")
    cli.monkeypatch.setenv("MPG_PERSONA", "poet + pirate:2")
    cli.monkeypatch.setenv("MPG_STOP", "one stop")
    request = cli.request("hello")
    assert (request.model.name, request.sampling.top_k) == ("from/file", 7)
    assert request.sampling.stop == ("one stop",)
    assert request.blend is not None
    assert request.blend.expression == "poet+pirate:2"


def test_an_error_names_the_variable_or_file_behind_it(cli: Cli, tmp_path: Path) -> None:
    cli.monkeypatch.setenv("MPG_TOP_P", "7")
    assert "hint: set by MPG_TOP_P" in cli.refused("-p", "pirate", "hello")
    assert "MPG_TOP_P" not in cli.refused("-p", "pirate", "hello", "--top-p=8")
    cli.monkeypatch.delenv("MPG_TOP_P")
    cli.monkeypatch.setenv("MPG_TOP_K", "many")
    assert "hint: set by MPG_TOP_K" in cli.refused("-p", "pirate", "hello")
    cli.monkeypatch.delenv("MPG_TOP_K")
    config = tmp_path / "config" / "mpg" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("drafter: persona:poet\n")
    assert f"hint: set by {config}" in cli.refused("-p", "pirate", "hello")


@pytest.mark.parametrize(
    "name, value, code",
    [
        ("MPG_MODEL", "/nowhere/at/all", 1),
        ("MPG_MODEL", "smollm2", 2),
        ("MPG_MODEL", "missing.gguf", 1),
        ("MPG_DEVICE", "cuda:99", 1),
        ("MPG_DRAFTER", "model:/nowhere/at/all", 1),
        ("MPG_ADAPTER", "/nowhere/at/all", 1),
        ("MPG_PERSONA", "nobody", 2),
        ("MPG_PERSONA", "pirate:x", 2),
    ],
)
def test_an_error_of_a_value_names_its_origin_without_a_flag_in_the_message(
    cli: Cli, name: str, value: str, code: int
) -> None:
    option = name[4:].lower()
    argv = ["generate", "hello", *(() if option in ("persona", "adapter") else ("-p", "pirate"))]
    assert "set by" not in cli(*argv, f"--{option}", value)[2]
    cli.monkeypatch.setenv(name, value)
    found, out, err = cli(*argv)
    assert (found, out) == (code, "")
    assert f"hint: set by {name}; " in err


def test_an_error_of_a_model_or_a_drafter_names_the_config_file(cli: Cli) -> None:
    config = Path(os.environ["XDG_CONFIG_HOME"], "mpg", "config.yaml")
    config.parent.mkdir(parents=True)
    for option in ("model: /nowhere/at/all", "drafter: model:/nowhere/at/all"):
        config.write_text(f"{option}\n")
        assert f"hint: set by {config}; " in cli("generate", "hello", "-p", "pirate")[2]


@pytest.mark.parametrize("given", [("-p", "nobody"), ("-qpnobody",), ("--persona=nobody",)])
def test_an_option_of_one_letter_is_no_variable(cli: Cli, given: tuple[str, ...]) -> None:
    cli.monkeypatch.setenv("MPG_PERSONA", "pirate")
    assert "set by" not in cli.refused("hello", *given)
