"""`mpg` as a library: load a model with a blend, generate replies or their events, change the blend.

Options, defaults and checks are those of `mpg generate`; `help(mpg_cli.load)` lists them. Torch is imported
with the first model. Invalid input raises an `MpgError` (`mpg_cli.errors`) with `message` and `hint`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mpg_cli.engine.events import Event, Finished, Notice
from mpg_cli.engine.explained import check_explainable, explained
from mpg_cli.engine.messages import check_turns
from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import expression_of
from mpg_cli.errors import UsageError
from mpg_cli.io.text import check_text, visible
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.keywords import Keywords
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.prompt import PromptOptions
from mpg_cli.options.run import RunOptions
from mpg_cli.personas import blending, expression
from mpg_cli.personas.registry import Blend, load_default, resolve
from mpg_cli.sampling.params import Sampling, Scheme

if TYPE_CHECKING:
    from mpg_cli.engine.engine import Engine

Prompt = (
    str | Sequence[Mapping[str, str]]
)  # a text, or messages {"role", "content"} that end with a user turn, or with the reply's beginning after it
Folder = str | PathLike[str]

_PROMPTS = ("prompt", "prompt_file", "messages")  # the API takes the prompt as an argument
_LOAD = Keywords(ModelOptions, BlendOptions, Scheme, without=("personas",))
_REPLIES = Keywords(PromptOptions, Sampling, RunOptions, without=_PROMPTS)
_REPLY = Keywords(PromptOptions, Sampling, RunOptions, without=(*_PROMPTS, "samples"))
_GENERATE = Keywords(
    *(ModelOptions, BlendOptions, Scheme, PromptOptions, Sampling, RunOptions),
    without=(*_PROMPTS, "personas", "samples"),
)


@_GENERATE.named()
def blend(persona: str, *, persona_dirs: Folder | Sequence[Folder] = (), scale: float = 1.0) -> Blend:
    """The experts and weights of a persona expression such as `INTJ+pirate:0.5`, weights times `scale`.

    `persona_dirs` are folders, or one, that are searched first.

    Raises ExpressionError for a syntax error, PersonaError for unknown or invalid personas, UsageError for a
    missing folder or if every weight is zero.
    """
    _require(isinstance(persona, str), "persona", "an expression", persona)
    options = _LOAD.build(BlendOptions, {"persona_dirs": persona_dirs, "scale": scale})
    return resolve(expression.parse(persona), load_default(options.persona_dirs), options.scale)


class Speaker:
    """A loaded model and a blend of personas, made by `load`.

    Replies may be read in turns or in several threads: they run together. As a context manager it frees the
    memory of its adapters on exit.
    """

    def __init__(self, engine: Engine, request: Request, persona_dirs: tuple[Path, ...]) -> None:
        self._engine, self._request, self._persona_dirs = engine, request, persona_dirs
        self._notices = engine.prepare(request)  # for the next reply

    @property
    def persona(self) -> str:
        """The blend as one expression."""
        return expression_of(self._request)

    @property
    def model(self) -> str:
        """The model's id, or the name of its folder."""
        return self._engine.loaded.id

    @_GENERATE.named()
    @_REPLIES.of
    def events(
        self, prompt: Prompt, *, sampling: Sampling | None = None, explain: bool = False, **options: Any
    ) -> Iterator[Event]:
        """Sample replies and yield their events: Started, then Round and Text in turn, then Finished.

        A Notice may come anywhere. A round is one draft and its verification, so events arrive while the
        reply grows; sampling stops when the iterator is closed. Samples run together, their events come one
        sample after the other. With `explain` each Finished has an `explanation`. Without a seed a random one
        is used, reported in Started. Options override the fields of `sampling`.

        Raises UsageError at once for unknown options and values out of range; while iterating ContextError if
        the prompt leaves no room for a reply, NumericsError if a model produces NaN.
        """
        _REPLIES.check("events", options)
        _check_values(sampling=sampling, explain=explain)
        self._engine.check_open()
        if explain:
            check_explainable(self._request.scheme)
        run = _REPLIES.build(RunOptions, options)
        request = replace(
            self._request,
            prompting=_prompting(prompt, _REPLIES.build(PromptOptions, options)),
            sampling=_REPLIES.build(Sampling, options, sampling),
            seed=run.seed,
            samples=run.samples,
            sequence_id=run.sequence_id,
        )
        events = self._events(request)
        if explain:
            events = explained(events, self._engine.loaded.tokenizer)
        return _with_keywords(events)

    def _events(self, request: Request) -> Iterator[Event]:
        notices, self._notices = self._notices, []
        yield from map(Notice, notices)
        yield from self._engine.replies(request)

    @_GENERATE.named()
    @_REPLY.of
    def reply(
        self, prompt: Prompt, *, sampling: Sampling | None = None, explain: bool = False, **options: Any
    ) -> Finished:
        """Sample one reply: text, token ids, finish reason, statistics. Arguments and errors as `events`."""
        _REPLY.check("reply", options)
        events = self.events(prompt, sampling=sampling, explain=explain, **options)
        for event in events:
            if isinstance(event, Finished):
                return event
        raise UsageError("the reply was stopped before it began", hint="ask again")

    @_GENERATE.named()
    def change(self, persona: str | Blend, *, scale: float = 1.0) -> None:
        """Use another blend for the next replies. Experts in both blends keep their weights and caches.

        Adapters given to `load` are dropped. `scale` applies to an expression; a Blend has its own weights.
        Raises ExpressionError, PersonaError, UsageError, AdapterError, ModelError and then keeps the old
        blend.
        """
        self._engine.check_open()
        options = BlendOptions(scale=scale, persona_dirs=self._persona_dirs)
        request = _with_blend(self._request, persona, options)
        self._notices += self._engine.prepare(request)
        self._request = request

    def stop(self) -> None:
        """End all replies that have begun, with the finish reason "interrupted" and the text so far; further
        samples do not begin.

        Safe to call from another thread or a signal handler.
        """
        self._engine.interrupt()

    def close(self) -> None:
        """Free the memory of the adapters; the speaker cannot reply afterwards. Repeated calls do nothing."""
        self._engine.close()

    def __enter__(self) -> Speaker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@_GENERATE.named()
@_LOAD.of
def load(
    persona: str | Blend | None = None,
    *,
    scheme: Scheme | None = None,
    report: Callable[[str], None] = lambda message: None,
    **options: Any,
) -> Speaker:
    """Load a model (a hub id, a folder, a GGUF file or `ollama:NAME`) and the experts of a blend.

    `persona` is an expression or a Blend; `adapters` are LoRAs in addition to it or instead of it. Options
    override the fields of `scheme`. `report` is called with progress messages.

    Raises UsageError and its subclasses before any weights load; ModelError and AdapterError if the model or
    an expert cannot be loaded or does not fit.
    """
    _LOAD.check("load", options)
    _check_values(scheme=scheme)
    _require(callable(report), "report", "a function", report)
    own_scheme: Scheme = _LOAD.build(Scheme, options, scheme)
    own_scheme.check_given(_LOAD.keys(options).__contains__)
    blend_options: BlendOptions = _LOAD.build(BlendOptions, options)
    request = Request(
        model=_LOAD.build(ModelOptions, options).resolved(),
        prompting=Prompting("-"),  # a placeholder; every reply has its own
        sampling=Sampling(),
        scheme=own_scheme,
    )
    request = _with_blend(request, persona, blend_options)
    from mpg_cli.engine.engine import Engine  # torch and transformers

    return Speaker(Engine.load(request.model, report), request, blend_options.persona_dirs)


@_GENERATE.named()
@_GENERATE.of
def generate(
    prompt: Prompt,
    persona: str | Blend | None = None,
    *,
    sampling: Sampling | None = None,
    scheme: Scheme | None = None,
    explain: bool = False,
    **options: Any,
) -> Finished:
    """Load the model and sample one reply: text, token ids and statistics. For several replies use `load`.

    Errors as for `load` and `Speaker.reply`.
    """
    _GENERATE.check("generate", options)
    _check_values(sampling=sampling, explain=explain)
    with load(persona, scheme=scheme, **_LOAD.part(options)) as speaker:
        return speaker.reply(prompt, sampling=sampling, explain=explain, **_REPLY.part(options))


def _with_blend(request: Request, persona: str | Blend | None, options: BlendOptions) -> Request:
    """The request with another blend, checked as in the commands."""
    if isinstance(persona, Blend):
        experts = blending.Experts(persona, blending.read_adapters(options.adapters, options.scale))
        blending.check_weights(experts, request.scheme.target)
    elif persona is None and not options.adapters:
        raise UsageError("a persona is missing", hint='give persona, such as "INTJ+pirate", or adapters')
    else:
        own = replace(options, personas=() if persona is None else (persona,))
        experts = blending.resolve(own, request.scheme.target)
    return replace(
        request,
        blend=experts.blend,
        adapters=experts.adapters,
        scheme=request.scheme.on(experts.names),
    )


def _check_values(*, sampling: object = None, scheme: object = None, explain: object = False) -> None:
    """Raise UsageError for arguments of another type."""
    _require(isinstance(sampling, Sampling | None), "sampling", "a Sampling", sampling)
    _require(isinstance(scheme, Scheme | None), "scheme", "a Scheme", scheme)
    _require(isinstance(explain, bool), "explain", "True or False", explain)


def _require(valid: bool, name: str, words: str, value: object) -> None:
    if not valid:
        raise UsageError(f"{name} must be {words}, not {visible(repr(value), 60)}")


def _with_keywords(events: Iterator[Event]) -> Iterator[Event]:
    """The events, with options named by keyword in notices and errors."""
    with _GENERATE.named():
        for event in events:
            yield Notice(_GENERATE.rename(event.message)) if isinstance(event, Notice) else event


def _prompting(prompt: Prompt, options: PromptOptions) -> Prompting:
    """The prompt with its options. Raises UsageError for invalid text or messages, as for a prompt file."""
    if isinstance(prompt, str):
        text, turns = check_text("the prompt", prompt), None
    elif isinstance(prompt, Sequence):
        data = [dict(turn) if isinstance(turn, Mapping) else turn for turn in prompt]
        text, turns = None, check_turns(data, "the messages")
    else:
        hint = 'as in [{"role": "user", "content": "Hello"}]'
        raise UsageError("the prompt must be text or a list of messages", hint=hint)
    return Prompting(text, turns, options.system, options.raw, options.template_args, options.prefill or "")
