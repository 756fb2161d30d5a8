"""Whether a persona is heard: replies with and without its adapter, shares, and what to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mpg_cli.options.model import ModelOptions
from mpg_cli.training.heard import Heard, Hearing, Listener, advice
from mpg_cli.training.rows import Turn
from mpg_cli.training.settings import Choices, resolve
from tests.support.adapters import tiny_adapter
from tests.support.models import BYTES, save_chat_model, tiny_model

PROMPTS = tuple((Turn("user", text),) for text in ("Hi", "Who are you?", "Where to?"))


@dataclass
class Recorder:
    """A judge that finds the persona in replies that it has not met before, and remembers all of them."""

    words: str = "a test"
    met: list[list[str]] = field(default_factory=list)

    def __call__(self, replies: Sequence[str]) -> list[bool]:
        known = [text for texts in self.met for text in texts]
        self.met.append(list(replies))
        return [text not in known and bool(known) for text in replies]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_chat_model(folder / "base")
    tiny_adapter(folder / "bold", "llama", seed=1, r=4, base=tiny_model("llama", 0, **BYTES), size=0.6)
    return folder


def test_replies_with_and_without_the_adapter_are_judged(place: Path) -> None:
    judge = Recorder()
    asked = (
        *PROMPTS,
        (Turn("system", "Be brief."), Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")),
    )
    with Listener.load(ModelOptions(str(place / "base"), device="cpu")) as listener:
        heard = listener.listen(place / "bold", Hearing(asked, judge))
        again = listener.listen(place / "bold", Hearing(asked, Recorder()))
    assert (heard.prompts, heard.before, heard.judge) == (4, 0.0, "a test")
    plain, spoken = judge.met
    assert heard.after == sum(text not in plain for text in spoken) / 4 > 0
    assert [prompt for prompt, _ in heard.examples] == ["Hi", "Who are you?"]
    assert [reply for _, reply in heard.examples] == spoken[:2]
    assert again.examples == heard.examples


def test_without_a_judge_the_replies_are_shown_and_the_reason_is_said(place: Path) -> None:
    with Listener.load(ModelOptions(str(place / "base"), device="cpu")) as listener:
        heard = listener.listen(place / "bold", Hearing(PROMPTS, "nobody knows"))
        none = listener.listen(place / "bold", Hearing((), Recorder()))
    assert (heard.before, heard.after, heard.audible) == (None, None, None)
    assert heard.lines()[0] == "replies are not judged: nobody knows"
    assert len(heard.lines()) == 3
    assert none.lines() == ["no rows were held out, so no replies were sampled"]


def heard(before: float, after: float) -> Heard:
    return Heard(10, before, after, "a test", (("Hi\x1b[2J", "Arr!\nMatey."),))


def test_the_lines_have_both_shares_and_the_replies() -> None:
    assert heard(0.1, 0.9).lines() == [
        "heard in 90% of 10 replies, in 10% without the adapter (a test)",
        "  > Hi[2J\n    Arr!\n    Matey.",
    ]


@pytest.mark.parametrize(
    ("before", "after", "audible"),
    [(0.0, 0.9, True), (0.1, 0.4, False), (0.9, 0.94, False), (0.9, 1.0, True), (0.3, 0.5, True)],
)
def test_a_persona_is_heard_in_half_of_the_replies_and_above_the_base(
    before: float, after: float, audible: bool
) -> None:
    assert heard(before, after).audible is audible
    settings = resolve(Choices(), 600_000_000, None)
    assert (advice(heard(before, after), settings) is None) is audible


def test_the_advice_is_about_what_was_done() -> None:
    quiet, size = heard(0.0, 0.1), 600_000_000
    words = {
        "--imitation-rate": Choices(),
        "--imitation 3": Choices(imitation=0),
        "--learning-rate": Choices(sft=True),
    }
    for change, choices in words.items():
        text = advice(quiet, resolve(choices, size, None))
        assert text is not None
        assert text.startswith(
            "the persona is not heard: 10% of the replies show it, 0% without the adapter; try "
        )
        assert change in text
        assert "a weight of 1.5 (--strength 1.5 trains" in text
    assert advice(Heard(3, None, None, "why", ()), resolve(Choices(), size, None)) is None
