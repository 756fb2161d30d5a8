"""Whether a trained persona is heard: replies to held-out prompts with and without its adapter, judged.

Accuracy on pairs does not say it: a margin of many nats over a whole reply may leave each of its words as
unlikely as before.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import torch

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Failed, Finished
from mpg_cli.engine.request import Request
from mpg_cli.errors import MpgError
from mpg_cli.io import signals
from mpg_cli.io.terminal import clean
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.sampling.params import Sampling, Scheme
from mpg_cli.training.rows import Turn

if TYPE_CHECKING:
    from mpg_cli.training.settings import Settings

Conversation = tuple[Turn, ...]  # the last turn is the user's

LENGTH = 96  # tokens of a sampled reply
SHARE = 0.5  # of the replies that show a persona that is heard
RISE = 0.2  # over the share without the adapter, or half of what is left above that
SHOWN = 2  # replies that are printed


class Judge(Protocol):
    """Decides of replies whether they show the persona; `words` says what the judge is, for the user."""

    @property
    def words(self) -> str: ...

    def __call__(self, replies: Sequence[str]) -> Sequence[bool]: ...


@dataclass(frozen=True)
class Hearing:
    """What to sample and how to judge it; `judge` is a text where there is none: the reason."""

    prompts: tuple[Conversation, ...]
    judge: Judge | str
    template_args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Heard:
    """The share of replies that show the persona, without and with its adapter; None without a judge.

    `judge` describes the judge, or says why there is none. `examples` are prompts with replies.
    """

    prompts: int
    before: float | None
    after: float | None
    judge: str
    examples: tuple[tuple[str, str], ...]

    @property
    def audible(self) -> bool | None:
        """None where nothing was judged."""
        if self.before is None or self.after is None:
            return None
        return self.after >= SHARE and self.after - self.before >= min(RISE, (1 - self.before) / 2)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for `--format json` and the manifest."""
        return {
            "prompts": self.prompts,
            "before": self.before,
            "after": self.after,
            "audible": self.audible,
            "judge": self.judge,
            "examples": [{"prompt": prompt, "reply": reply} for prompt, reply in self.examples],
        }

    def lines(self) -> list[str]:
        """Lines of the summary: the shares, and the examples."""
        if not self.prompts:
            return ["no rows were held out, so no replies were sampled"]
        if self.before is None or self.after is None:
            first = f"replies are not judged: {self.judge}"
        else:
            first = (
                f"heard in {self.after:.0%} of {self.prompts} replies, "
                f"in {self.before:.0%} without the adapter ({self.judge})"
            )
        return [first, *(example(prompt, reply) for prompt, reply in self.examples)]


def advice(heard: Heard, settings: Settings) -> str | None:
    """What to change where the persona is not heard; None where it is, or where nobody knows."""
    if heard.audible is not False:
        return None
    if settings.method == "sft" or settings.loss == "sft":
        change = "more steps (--epochs, or a smaller --batch-size) or a higher --learning-rate"
    elif settings.imitation:
        change = "more imitation (--imitation, or a smaller --batch-size), a higher --imitation-rate"
        change += ", a higher --rank, or --contrast 0" if settings.contrast else ", or --sft"
    else:
        change = "to imitate the chosen replies (--imitation 3 --contrast 3), more --epochs, or --sft"
    return (
        f"the persona is not heard: {heard.after:.0%} of the replies show it, {heard.before:.0%} without the "
        f"adapter; try {change}, or use it at a weight of 1.5 (--strength {1.5 * settings.strength:g} trains "
        "it so that this is weight 1)"
    )


class Listener:
    """A model that is ready to reply with adapters or without; `with Listener.load(model) as listener`.

    Replies without an adapter are sampled once for equal prompts.
    """

    def __init__(self, engine: Engine, model: ModelOptions) -> None:
        self._engine, self._model = engine, model
        self._plain: dict[str, list[str]] = {}

    @classmethod
    def load(cls, model: ModelOptions, report: Callable[[str], None] = lambda text: None) -> Listener:
        """Load the model as for `mpg generate`. Raises ModelError."""
        gc.collect()  # the trainers are full of cycles, which hold the model that was trained
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if model.device.startswith("cuda:"):
            model = replace(model, device="cuda")  # training has hidden the others, see base_model
        return cls(Engine.load(model, report), model)

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._engine.close()

    def listen(self, adapter: Path, hearing: Hearing) -> Heard:
        """Sample replies with the adapter of this folder and without, and judge them. Raises MpgError."""
        count = len(hearing.prompts)
        if not count:
            return Heard(0, None, None, "no prompts were held out", ())
        spoken = self._replies(hearing, adapter)
        examples = tuple(
            (prompt[-1].content, reply) for prompt, reply in zip(hearing.prompts, spoken, strict=True)
        )[:SHOWN]
        if isinstance(hearing.judge, str):
            return Heard(count, None, None, hearing.judge, examples)
        key = repr((hearing.prompts, sorted(hearing.template_args.items())))
        if key not in self._plain:
            self._plain[key] = self._replies(hearing, None)
        before, after = (sum(hearing.judge(texts)) / count for texts in (self._plain[key], spoken))
        return Heard(count, before, after, hearing.judge.words, examples)

    def _replies(self, hearing: Hearing, adapter: Path | None) -> list[str]:
        """A reply to each prompt; the same random numbers with and without the adapter."""
        found: dict[int | str, str] = {}
        requests = [
            Request(
                model=self._model,
                prompting=_prompting(prompt, hearing.template_args),
                sampling=Sampling(max_tokens=LENGTH),
                scheme=Scheme(),
                adapters=((AdapterPlace(adapter), 1.0),) if adapter is not None else (),
                seed=0,
                sequence_id=at,
            )
            for at, prompt in enumerate(hearing.prompts)
        ]
        for event in self._engine.run(iter(requests)):
            signals.check()
            if isinstance(event, Failed):
                raise MpgError(f"a reply cannot be sampled: {event.error.message}", hint=event.error.hint)
            if isinstance(event, Finished):
                found[event.sequence] = event.text
        return [found[at] for at in range(len(requests))]


def _prompting(prompt: Conversation, template_args: Mapping[str, Any]) -> Prompting:
    system = "".join(turn.content for turn in prompt if turn.role == "system") or None
    turns = [turn for turn in prompt if turn.role != "system"]
    if len(turns) == 1:
        return Prompting(turns[0].content, system=system, template_args=template_args)
    messages = tuple({"role": turn.role, "content": turn.content} for turn in turns)
    return Prompting(messages=messages, system=system, template_args=template_args)


def example(prompt: str, reply: str) -> str:
    """A prompt and a reply to it, for the terminal."""
    return f"  > {clean(prompt)}\n    " + "\n    ".join(clean(reply).strip().splitlines())
