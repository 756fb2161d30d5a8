"""The public names, on the bundled model."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mpg_cli
from mpg_cli.errors import ExpressionError, PersonaError, UsageError
from mpg_cli.sampling.params import Sampling, Scheme

ROOT = Path(__file__).parents[1]


def test_generate_replies_in_the_blend() -> None:
    greedy = Sampling(max_tokens=12, temperature=0)
    reply = mpg_cli.generate("How should I spend my weekend?", "pirate", sampling=greedy)
    assert reply.text
    token_by_token = mpg_cli.generate(
        "How should I spend my weekend?",
        mpg_cli.blend("Pirate"),
        sampling=greedy,
        scheme=Scheme(chunk_size=0),
    )
    assert token_by_token.text == reply.text
    assert token_by_token.stats.passes > reply.stats.passes


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
    return mpg_cli.load("INTJ+pirate")


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
    assert said() == before != other == mpg_cli.generate("How do I make tea?", "zen", seed=1).text


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
    [entry] = mpg_cli.blend("pirate").experts[0].persona.adapters
    folder = entry.resolved_path()
    with mpg_cli.load(adapters=[f"{folder}:0.8"]) as speaker:
        assert speaker.persona == "pirate:0.8"
        text = speaker.reply("How do I make tea?", seed=1).text
    assert text == mpg_cli.generate("How do I make tea?", "pirate:0.8", seed=1).text


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
        ({"persona": "pirate", "candidates": 4}, "belongs to --rule threshold"),
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
    assert parameters["model"].default == "mpg-tiny"
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


def test_thresholds_of_another_rule_are_refused_in_a_scheme_too() -> None:
    scheme = mpg_cli.Scheme(threshold=mpg_cli.Threshold(candidates=2))
    with pytest.raises(mpg_cli.MpgError, match="belong to rule threshold, not to exact"):
        mpg_cli.load("pirate", scheme=scheme)
