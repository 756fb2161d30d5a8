"""`mpg` as a library: load a model with a blend, get replies or their events, change the blend.

A front end like the commands: defaults, checks and messages are those of `mpg generate`. Torch loads with
the first model. Whatever a caller can get wrong is an `MpgError` (`mpg_cli.errors`) with `message` and
`hint`, which call a value by its flag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mpg_cli.cli.commands import blending, values
from mpg_cli.engine.events import Event, Finished
from mpg_cli.engine.messages import check_text, check_turns
from mpg_cli.engine.request import Request
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import DEFAULT_MODEL, ModelOptions
from mpg_cli.personas import expression
from mpg_cli.personas.registry import Blend, load_default, resolve
from mpg_cli.sampling.params import Sampling, Scheme

if TYPE_CHECKING:
    from mpg_cli.engine.session import Session

Prompt = (
    str | Sequence[Mapping[str, str]]
)  # a text, or messages {"role", "content"} that end with a user turn, or with the reply's beginning after it
Folder = str | PathLike[str]

_UNSAID = Prompting("-")  # until a reply is asked for


def blend(persona: str, *, persona_dirs: Sequence[Folder] = (), strength: float = 1.0) -> Blend:
    """The experts and weights of a persona expression such as `INTJ+pirate:0.5`.

    Raises ExpressionError where it does not parse, PersonaError for unknown or broken personas, UsageError
    for a folder that is not there or where every weight is zero.
    """
    registry = load_default([Path(folder) for folder in persona_dirs])
    return resolve(expression.parse(persona), registry, strength)


class Speaker:
    """A loaded model that speaks as a blend. `load` makes one; it is for one thread at a time.

    As a context manager it gives the memory of its adapters back at the end.
    """

    def __init__(self, session: Session, request: Request, persona_dirs: Sequence[Folder]) -> None:
        self._session, self._request, self._persona_dirs = session, request, tuple(persona_dirs)

    @property
    def persona(self) -> str:
        """The blend as one expression."""
        return self._session.persona

    @property
    def model(self) -> str:
        """The model's id, or the name of its folder."""
        return self._session.loaded.id

    def events(
        self,
        prompt: Prompt,
        *,
        system: str | None = None,
        seed: int | None = None,
        sampling: Sampling | None = None,
        samples: int = 1,
        sequence_id: int | str | None = None,
        explain: bool = False,
        prefill: str = "",
    ) -> Iterator[Event]:
        """What happens while replies are sampled: Started, then Round and Text in turn, then Finished.

        Notice may come anywhere. A round is a draft and its check, so events come while the reply grows; a
        consumer that stops reading stops the sampling. With `explain` each Finished has an `explanation`.
        Without a seed one is drawn, Started says which. A reply begins with `prefill` and goes on from there.

        Raises UsageError at once for values out of range; ContextError, while iterating, if the prompt leaves
        no room; NumericsError if a model yields NaN.
        """
        request = replace(
            self._request,
            prompting=_prompting(prompt, system, prefill),
            seed=seed,
            sampling=sampling or Sampling(),
            samples=samples,
            sequence_id=sequence_id,
        )
        self._session.resume()
        events = self._session.replies(request)
        if not explain:
            return events
        from mpg_cli.engine.explained import explained

        return explained(events, self._session.loaded.tokenizer)

    def reply(
        self,
        prompt: Prompt,
        *,
        system: str | None = None,
        seed: int | None = None,
        sampling: Sampling | None = None,
        sequence_id: int | str | None = None,
        explain: bool = False,
        prefill: str = "",
    ) -> Finished:
        """One reply in full: text, token ids, finish reason, statistics. Arguments and errors as `events`."""
        events = self.events(
            prompt,
            system=system,
            seed=seed,
            sampling=sampling,
            sequence_id=sequence_id,
            explain=explain,
            prefill=prefill,
        )
        [finished] = [event for event in events if isinstance(event, Finished)]
        return finished

    def change(self, persona: str | Blend, *, strength: float = 1.0) -> None:
        """Speak as another blend from now on. What stays the same is neither loaded nor read again.

        Adapters given to `load` leave the blend. `strength` is for an expression; a Blend has its weights.
        Raises ExpressionError, PersonaError, UsageError, AdapterError, ModelError; the blend is then what it
        was.
        """
        request = _blended(self._request, persona, (), self._persona_dirs, strength)
        self._session.change(request)
        self._request = request

    def stop(self) -> None:
        """End the reply under way after its next round; its finish reason is "interrupted".

        May be called from another thread or a signal handler.
        """
        self._session.stop()

    def close(self) -> None:
        """Give up the memory of the adapters; the speaker cannot be used any more."""
        self._session.close()

    def __enter__(self) -> Speaker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def load(
    persona: str | Blend | None = None,
    *,
    model: str = DEFAULT_MODEL,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    compile: bool = False,
    adapters: Sequence[str] = (),
    persona_dirs: Sequence[Folder] = (),
    strength: float = 1.0,
    scheme: Scheme | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> Speaker:
    """Load a model (id of the Hugging Face hub, or a folder) and the experts of a blend.

    `persona` is an expression or what `blend` returned; `adapters` are LoRAs beside it or in its place, as
    `--adapter` takes them: `PATH[:WEIGHT]`, or `OWNER/NAME[/FOLDER][@REVISION][:WEIGHT]` of the hub. `scheme`
    says target, rule, drafter and chunk size. `compile` compiles the model: a minute or two at the first
    reply, then faster. `report` is told what takes time.

    Raises UsageError and its kinds before any weights load; ModelError and AdapterError where model or
    experts cannot be loaded or do not fit.
    """
    request = Request(
        model=ModelOptions(model, revision, device, dtype, compile),
        prompting=_UNSAID,
        sampling=Sampling(),
        scheme=scheme or Scheme(),
    )
    request = _blended(request, persona, adapters, persona_dirs, strength)
    from mpg_cli.engine.session import Session  # torch and transformers

    return Speaker(Session.open(request, report), request, persona_dirs)


def generate(
    prompt: Prompt,
    persona: str | Blend,
    *,
    model: str = DEFAULT_MODEL,
    system: str | None = None,
    seed: int | None = None,
    sampling: Sampling | None = None,
    scheme: Scheme | None = None,
    prefill: str = "",
) -> Finished:
    """Load the model, reply once, return text, token ids and statistics. For many replies use `load`.

    Raises what `load` and `Speaker.reply` raise.
    """
    with load(persona, model=model, scheme=scheme) as speaker:
        return speaker.reply(prompt, system=system, seed=seed, sampling=sampling, prefill=prefill)


def _blended(
    request: Request,
    persona: str | Blend | None,
    adapters: Sequence[str],
    persona_dirs: Sequence[Folder],
    strength: float,
) -> Request:
    """The request with another blend, checked as the commands check it."""
    found = persona if isinstance(persona, Blend) else None
    if isinstance(persona, str):
        found = blend(persona, persona_dirs=persona_dirs, strength=strength)
    if persona is None and not adapters:
        blending.read_blend([], [], strength, adapters_given=False)  # says what is missing
    places = values.adapters(adapters, strength)
    scheme = request.scheme
    blending.check_weights(scheme.target, found, places)
    names = [expert.persona.name for expert in found.experts] if found else []
    drafter = values.drafter(scheme.drafter, [*names, *(place.name for place, _ in places)])
    return replace(request, blend=found, adapters=places, scheme=replace(scheme, drafter=drafter))


def _prompting(prompt: Prompt, system: str | None, prefill: str) -> Prompting:
    """What is said, with the checks of files and flags: it may come from anywhere."""
    system = None if system is None else check_text("the system text", system)
    prefill = check_text("the prefill", prefill)
    if isinstance(prompt, str):
        return Prompting(check_text("the prompt", prompt), system=system, prefill=prefill)
    turns = check_turns([dict(turn) for turn in prompt], "the messages")
    return Prompting(messages=turns, system=system, prefill=prefill)
