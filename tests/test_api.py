"""The public names, on the bundled model."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import mpg_cli
from mpg_cli.api import Speaker
from mpg_cli.errors import ExpressionError, PersonaError, UsageError
from mpg_cli.sampling.params import Sampling, Scheme

ROOT = Path(__file__).parents[1]


def test_generate_replies_in_the_blend() -> None:
    greedy = Sampling(max_tokens=12, temperature=0)
    reply = mpg_cli.generate("How should I spend my weekend?", "pirate", sampling=greedy)
    assert reply.text
    drafted = mpg_cli.generate(
        "How should I spend my weekend?",
        mpg_cli.blend("Pirate"),
        sampling=greedy,
        scheme=Scheme(drafter="merged", chunk_size=3),
    )
    assert drafted.text == reply.text
    assert drafted.stats.passes < 12 == reply.usage.completion_tokens


def test_errors() -> None:
    with pytest.raises(ExpressionError):
        mpg_cli.blend("pirate:")
    with pytest.raises(PersonaError):
        mpg_cli.blend("nobody-of-that-name")
    with pytest.raises(AttributeError):
        mpg_cli.nothing  # noqa: B018


def test_importing_the_package_is_light() -> None:
    code = "import sys, mpg_cli; print({'torch', 'transformers', 'yaml', 'typer'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def blocks_of(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_the_examples_of_the_pages_run_as_they_stand(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = blocks_of(page)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)  # the documentation's own code
        if "print(" in block:
            assert capsys.readouterr().out.strip()


def test_the_examples_are_typed_as_they_stand(tmp_path: Path) -> None:
    example = tmp_path / "example.py"
    example.write_text("\n".join(blocks_of("docs/api.md")), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", str(example)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_the_page_names_what_is_exported() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    table = page.split("## All names")[1]
    assert set(mpg_cli.__all__) - {"__version__"} <= set(re.findall(r"\w+", table))
    for name in mpg_cli.__all__:
        assert getattr(mpg_cli, name)


@pytest.fixture(scope="module")
def speaker() -> mpg_cli.Speaker:
    return mpg_cli.load("INTJ+pirate", model="mpg-tiny")


def test_events_come_in_order_and_end_in_the_reply(speaker: mpg_cli.Speaker) -> None:
    events = list(speaker.events("How do I make tea?", seed=1, samples=2))
    kinds = [event.type for event in events if not isinstance(event, mpg_cli.Notice)]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert kinds.count("finished") == 2
    texts: dict[object, str] = {}
    for event in events:
        if isinstance(event, mpg_cli.Text):
            texts[event.sequence] = texts.get(event.sequence, "") + event.text
        if isinstance(event, mpg_cli.Finished):
            assert event.text == texts[event.sequence]
    again = speaker.reply("How do I make tea?", seed=1, sequence_id=1)
    assert again.text == texts[1]


def test_the_blend_can_change_and_change_back(speaker: mpg_cli.Speaker) -> None:
    def said() -> str:
        return speaker.reply("How do I make tea?", seed=1).text

    before = said()
    speaker.change("zen")
    assert speaker.persona == "zen"
    other = said()
    speaker.change(mpg_cli.blend("INTJ+pirate"))
    assert (
        said()
        == before
        != other
        == mpg_cli.generate("How do I make tea?", "zen", model="mpg-tiny", seed=1).text
    )


def test_a_change_that_fails_leaves_the_blend(speaker: mpg_cli.Speaker) -> None:
    with pytest.raises(PersonaError):
        speaker.change("nobody-of-that-name")
    with pytest.raises(UsageError, match="comes to"):
        speaker.change("pirate", scale=11)
    assert speaker.persona == "INTJ+pirate"
    assert speaker.reply("Hello", seed=1).text


def test_messages_are_read_and_checked(speaker: mpg_cli.Speaker) -> None:
    asked = [{"role": "user", "content": "How do I make tea?"}]
    assert speaker.reply(asked, seed=1).text == speaker.reply("How do I make tea?", seed=1).text
    for wrong in ([], [{"role": "assistant", "content": "Hello"}], [{"role": "user", "text": "Hello"}]):
        with pytest.raises(UsageError):
            speaker.events(wrong)
    for wrong_text in ("", "\ud800"):
        with pytest.raises(UsageError):
            speaker.events(wrong_text)


def test_a_stop_keeps_what_is_there_and_ends_with_the_reply(speaker: mpg_cli.Speaker) -> None:
    seen = []
    for event in speaker.events("How do I make tea?", seed=1):
        seen.append(event)
        if isinstance(event, mpg_cli.Round):
            speaker.stop()
    end = seen[-1]
    assert isinstance(end, mpg_cli.Finished)
    assert end.finish_reason == "interrupted"
    assert speaker.reply("How do I make tea?", seed=1).finish_reason == "stop"


def test_adapters_are_experts_as_on_the_command_line() -> None:
    adapters = mpg_cli.blend("pirate").experts[0].persona.adapters
    entry = next(entry for entry in adapters if entry.base == "mpg-tiny")
    folder = entry.resolved_path()
    with mpg_cli.load(model="mpg-tiny", adapters=[f"{folder}:0.8"]) as speaker:
        assert speaker.persona == "pirate:0.8"
        text = speaker.reply("How do I make tea?", seed=1).text
    assert text == mpg_cli.generate("How do I make tea?", "pirate:0.8", model="mpg-tiny", seed=1).text


@pytest.mark.parametrize(
    "asked, says",
    [
        ({}, "a persona is missing"),
        ({"persona": "pirate", "scale": 0}, "every weight is zero"),
        ({"persona": "pirate:-1", "scheme": Scheme(target="mixture")}, "not allow negative weights"),
        ({"persona": "pirate", "scheme": Scheme(drafter="persona:bard")}, "not in the blend"),
        ({"persona": "pirate", "drafter": "mergd"}, "unknown drafter 'mergd' .choose from auto, merged"),
        ({"persona": "pirate", "device": "gpu"}, "unknown device 'gpu' .choose from auto, cuda"),
        ({"persona": "pirate", "persona_dirs": ["/nowhere"]}, "no such folder"),
        ({"persona": "pirate", "persona_dirs": "/nowhere"}, "no such folder"),
        ({"persona": "pirate", "drafer": "none"}, "no option 'drafer'; did you mean drafter?"),
        ({"persona": "pirate", "candidates": 4}, "candidates belongs to rule threshold"),
        ({"persona": "pirate", "compile": "yes"}, "compile must be True or False, not 'yes'"),
    ],
)
def test_mistakes_are_reported_before_anything_loads(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        mpg_cli.load(**asked)


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "mpg_cli" / "py.typed").is_file()


def test_a_bias_may_be_a_mapping_and_a_reply_may_be_begun() -> None:
    assert Sampling(logit_bias={7: 1.5}).logit_bias == ((7, 1.5),)  # type: ignore[arg-type]
    for wrong in ({5.5: 1.0}, {True: 1.0}, {-1: 1.0}):
        with pytest.raises(UsageError, match="is not a token id"):
            Sampling(logit_bias=wrong)  # type: ignore[arg-type]
    greedy = Sampling(max_tokens=5, temperature=0)
    reply = mpg_cli.generate("Hello", "pirate", sampling=greedy, prefill="Ahoy, ")
    assert reply.text.startswith("Ahoy, ")
    assert len(reply.token_ids) == reply.usage.completion_tokens <= 5


def test_options_are_keywords_over_those_of_a_value(speaker: mpg_cli.Speaker) -> None:
    said = speaker.reply("Hello", seed=3, temperature=0, max_tokens=5).token_ids
    warm = Sampling(temperature=2.0, max_tokens=5)
    assert speaker.reply("Hello", seed=3, sampling=warm, temperature=0).token_ids == said
    assert len(said) <= 5
    text = speaker.reply("Hello", seed=3, temperature=0, max_tokens=20).text
    stop = text[len(text) // 2 :][:2]
    for one_or_more in (stop, [stop], ("never said", stop)):
        ended = speaker.reply("Hello", seed=3, temperature=0, max_tokens=20, stop=one_or_more)
        assert ended.text == text[: text.index(stop)]


def test_options_show_in_the_signature_and_the_docstring() -> None:
    parameters = inspect.signature(mpg_cli.load).parameters
    assert parameters["model"].default == "auto"
    assert {"device", "adapters", "persona_dirs", "scale", "drafter", "threshold_window"} <= set(parameters)
    assert not {"options", "personas", "temperature"} & set(parameters)
    of_reply = inspect.signature(mpg_cli.Speaker.reply).parameters
    assert of_reply["temperature"].annotation == float | None
    assert {"seed", "stop_token_ids", "template_args", "system"} <= set(of_reply)
    assert not {"samples", "prompt_file", "drafter"} & set(of_reply)
    assert "samples" in inspect.signature(mpg_cli.Speaker.events).parameters
    assert {*parameters, *of_reply} - {"self", "report"} == set(
        inspect.signature(mpg_cli.generate).parameters
    )
    assert "min_p: Drop tokens less likely than P" in (mpg_cli.Speaker.reply.__doc__ or "")


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"tempreature": 1}, "reply.. has no option 'tempreature'; did you mean temperature?"),
        ({"temperature": "hot"}, "temperature must be a number, not 'hot'"),
        ({"top_p": 7}, "top_p 7 must be above 0 and at most 1"),
        ({"stop": 7}, "stop must be text, not 7"),
        ({"stop_token_ids": [1.5]}, "stop_token_ids must be a whole number, not 1.5"),
        ({"seed": -1}, "seed -1 must be between 0"),
        ({"sequence_id": 1.5}, "sequence_id must be a whole number or text"),
        ({"logit_bias": [3]}, "logit_bias must be a mapping"),
        ({"template_args": "thinking"}, "is not KEY=VALUE"),
        ({"samples": 2}, "no option 'samples'"),
    ],
    ids=str,
)
def test_a_wrong_option_of_a_reply_is_reported_by_its_name(
    speaker: mpg_cli.Speaker, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        speaker.reply("Hello", **wrong)


# Values that an option refuses; for the other options see the test.
WRONG: dict[str, tuple[Any, ...]] = {
    "model": (5, "", "/nowhere"),
    "revision": (5, "main"),
    "device": (5, "gpu", "cuda:99"),
    "persona": (5, "pirate:", "nobody-of-that-name", "pirate:11"),
    "adapters": (5, "", "/nowhere", "/nowhere:nan", "/nowhere:1e3", "/nowhere:11"),
    "persona_dirs": (5, "/nowhere", [b"x"]),
    "drafter": (5, "mergd", "persona:bard", "model:"),
    "sequence_id": (1.5, ""),
    "system": (5, "\ud800"),
    "prefill": (5, "\ud800"),
    "template_args": (5, "x", {5: 1}, {"messages": 1}),
    "logit_bias": (5, [3], "x", {5.5: 1.0}, {-1: 1.0}, {1: 101}, {10**9: 1.0}),
    "stop": (5, "", {"x": 1}),
    "stop_token_ids": (5.5, [-1], 10**9, ["x"]),
    "max_tokens": (0, "x"),
    "prompt": (5, "", b"x", [], [{"role": object()}], [{"role": "user", "content": b"x"}]),
}


def refused(call: Any, *arguments: Any, **keywords: Any) -> str:
    """The message and the hint of the error that a call, or reading the events that it returns, raises."""

    def run() -> None:
        result = call(*arguments, **keywords)
        if isinstance(result, Iterator):
            list(result)

    with pytest.raises(mpg_cli.MpgError) as caught:
        run()
    return f"{caught.value.message}\n{caught.value.hint}"


@pytest.mark.parametrize(
    "function, name",
    [
        (function, name)
        for function in (mpg_cli.blend, mpg_cli.load, Speaker.events, Speaker.reply, Speaker.change)
        for name in inspect.signature(function).parameters
        if name != "self"
    ],
)
def test_a_wrong_value_of_any_parameter_is_refused_without_naming_a_flag(
    speaker: Speaker, function: Any, name: str
) -> None:
    first = () if function in (mpg_cli.blend, mpg_cli.load) else (speaker,)
    needed = {"prompt": "Hello"} if "prompt" in inspect.signature(function).parameters else {"persona": "zen"}
    for value in WRONG.get(name, (object(), float("nan"), -(2**70))):
        message = refused(function, *first, **{**needed, name: value})
        assert not re.search(r"--[a-z]", message)


@pytest.mark.parametrize(
    "asked, says",
    [
        ({"rule": "threshold", "drafter": "lookup"}, "drafter lookup cannot be used with rule threshold"),
        ({"drafter": "none", "chunk_size": 4}, "drafter none.*chunk_size|chunk_size.*drafter none"),
        ({"persona": "pirate:-1", "target": "mixture"}, "target mixture does not allow negative weights"),
        ({"adapters": "/nowhere:5", "scale": 3}, "the weight of adapters '/nowhere' comes to 15"),
        ({"model": str(ROOT), "revision": "main"}, "^revision needs a model of the hub"),
    ],
)
def test_options_that_exclude_each_other_are_named_by_keyword(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(mpg_cli.MpgError, match=says) as caught:
        mpg_cli.load(**{"persona": "pirate", **asked})
    assert "--" not in f"{caught.value.message} {caught.value.hint}"


def test_options_of_a_reply_that_exclude_each_other_are_named_by_keyword(speaker: Speaker) -> None:
    for asked, says in (
        ({"raw": True, "template_args": {"a": 1}}, "raw skips the chat template that template_args is for"),
        ({"sequence_id": 1, "samples": 2}, "sequence_id selects one sample and conflicts with samples above"),
    ):
        assert refused(speaker.events, "Hello", **asked).startswith(says)


def test_notices_name_options_by_keyword(speaker: mpg_cli.Speaker) -> None:
    events = speaker.events("Hello", seed=1, max_tokens=10**6, stop="\n")
    notices = [event.message for event in events if isinstance(event, mpg_cli.Notice)]
    assert any(text.startswith("max_tokens 1000000 is more than the context leaves") for text in notices)


def test_a_folder_of_personas_is_given_alone_or_in_a_list(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("name: own\nprompt: You are kind.\n", encoding="utf-8")
    for folders in (str(tmp_path), tmp_path, [tmp_path], (str(tmp_path),)):
        assert mpg_cli.blend("own", persona_dirs=folders).expression == "own"


def test_a_closed_speaker_refuses_to_reply() -> None:
    speaker = mpg_cli.load("INTJ+pirate")
    begun, early = speaker.events("Hello", prefill="Ahoy"), speaker.events("Hello")
    assert isinstance(next(begun), mpg_cli.Started)
    speaker.close()
    speaker.close()
    speaker.stop()
    for call in (
        lambda: begun,
        lambda: early,
        lambda: speaker.reply("Hello"),
        lambda: speaker.change("zen"),
    ):
        assert refused(call) == "the model is closed\nload it again"
    assert speaker.persona == "INTJ+pirate"


@pytest.mark.parametrize("kind", [None, mpg_cli.Started, mpg_cli.Text, mpg_cli.Round])
def test_a_change_of_the_blend_is_for_later_replies(speaker: mpg_cli.Speaker, kind: Any) -> None:
    expected = speaker.reply("Hello", seed=2, max_tokens=12)
    events = speaker.events("Hello", seed=2, max_tokens=12)
    if kind is not None:
        next(event for event in events if isinstance(event, kind))
    speaker.change("zen")
    [end] = [event for event in events if isinstance(event, mpg_cli.Finished)]
    assert (end.text, end.spec.persona) == (expected.text, "INTJ+pirate")
    assert speaker.reply("Hello", seed=2, max_tokens=12).spec.persona == "zen"
    speaker.change("INTJ+pirate")


def test_replies_may_be_read_in_turns(speaker: mpg_cli.Speaker) -> None:
    """Beside one that is never read to its end."""
    expected = [speaker.reply(text, seed=3, max_tokens=15).text for text in ("Hello", "Bye")]
    streams = [speaker.events(text, seed=3, max_tokens=15) for text in ("Hello", "Bye", "Never mind")]
    pieces = ["", "", ""]
    while sum(_advance(stream, pieces, n) for n, stream in enumerate(streams[:2])):
        _advance(streams[2], pieces, 2)
    assert pieces[:2] == expected


def _advance(stream: Iterator[mpg_cli.Event], pieces: list[str], place: int) -> bool:
    """Whether there was another event; its text is added."""
    event = next(stream, None)
    if isinstance(event, mpg_cli.Text):
        pieces[place] += event.text
    return event is not None


def test_replies_may_be_read_in_threads(speaker: mpg_cli.Speaker) -> None:
    prompts = [f"Tell me about {thing}." for thing in ("tea", "rain", "the sea", "cats", "snow", "bread")]

    def reply(prompt: str) -> str:
        return speaker.reply(prompt, seed=4, max_tokens=20).text

    alone = list(map(reply, prompts))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reply, prompts)) == alone


def test_a_stop_from_another_thread_ends_all_samples(speaker: mpg_cli.Speaker) -> None:
    ends = []
    for event in speaker.events("How do I make tea?", seed=1, samples=3):
        if isinstance(event, mpg_cli.Round) and not ends:
            stopping = Thread(target=speaker.stop)
            stopping.start()
            stopping.join()
        if isinstance(event, mpg_cli.Finished):
            ends.append(event)
    assert [(end.sequence, end.finish_reason) for end in ends] == [(n, "interrupted") for n in range(3)]
    assert all(end.token_ids for end in ends)


def test_threads_may_load_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        texts = pool.map(lambda _: mpg_cli.generate("Hello", "pirate", seed=1, max_tokens=3).text, range(4))
        assert len(set(texts)) == 1


def test_thresholds_of_another_rule_are_refused_in_a_scheme_too() -> None:
    scheme = mpg_cli.Scheme(threshold=mpg_cli.Threshold(candidates=2))
    with pytest.raises(mpg_cli.MpgError, match="belong to rule threshold, not to exact"):
        mpg_cli.load("pirate", scheme=scheme)
