"""What the commands that reply ask the user for, and the request that it makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from mpg_cli.cli import options
from mpg_cli.engine.messages import check_text
from mpg_cli.engine.request import Request
from mpg_cli.io.terminal import Streams
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import DEFAULT_MODEL, ModelOptions
from mpg_cli.sampling.params import Sampling

Command = TypeVar("Command", bound=Callable[..., None])


def asks(command: Command) -> Command:
    """Show a command that takes `**asked` to Typer with the parameters of `ask`, its own after them."""
    return asks_but()(command)


def asks_but(*names: str) -> Callable[[Command], Command]:
    """The same without the parameters of these names."""

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters
        of_ask = inspect.signature(ask, eval_str=True).parameters
        named = {**{name: p for name, p in of_ask.items() if name not in names}, **own}
        shown = [p.replace(kind=p.KEYWORD_ONLY) for p in named.values() if p.kind is not p.VAR_KEYWORD]
        command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        return command

    return decorate


def ask(
    ctx: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="What to say; - or nothing reads it from stdin.", show_default=False
        ),
    ] = None,
    persona: options.Persona = None,
    adapter: options.Adapter = None,
    strength: options.Strength = 1.0,
    system: options.System = None,
    prompt_file: options.PromptFile = None,
    messages: options.Messages = None,
    prefill: options.Prefill = None,
    raw: options.Raw = False,
    template_arg: options.TemplateArg = None,
    model: options.Model = DEFAULT_MODEL,
    revision: options.Revision = None,
    device: options.Device = "auto",
    dtype: options.DType = "auto",
    compile: options.Compile = False,
    persona_dir: options.PersonaDir = None,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = 1.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    presence_penalty: options.PresencePenalty = 0.0,
    frequency_penalty: options.FrequencyPenalty = 0.0,
    logit_bias: options.LogitBias = None,
    stop: options.Stop = None,
    stop_token_id: options.StopTokenId = None,
    seed: options.Seed = None,
    samples: options.Samples = 1,
    sequence_id: options.SequenceId = None,
    target: options.Target = "product",
    rule: options.Rule = "exact",
    drafter: options.Drafter = "auto",
    chunk_size: options.ChunkSize = "auto",
    threshold: options.ThresholdHow = None,
    threshold_window: options.ThresholdWindow = None,
    candidates: options.Candidates = None,
    ahead: options.Ahead = None,
) -> Request:
    """One prompt, one blend and the way to sample. Raises UsageError for what is wrong with the flags."""
    from mpg_cli.cli.commands import blending, prompts, values

    choice = ModelOptions(model, revision, device, dtype, compile)
    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        logit_bias=values.logit_bias(logit_bias or []),
        stop=tuple(check_text("--stop", text) for text in stop or ()),
        stop_token_ids=tuple(stop_token_id or ()),
    )
    blend = blending.read_blend(persona or [], persona_dir or [], strength, adapters_given=bool(adapter))
    adapters = values.adapters(adapter or [], strength)
    names = [expert.persona.name for expert in blend.experts] if blend else []
    blending.check_weights(target, blend, adapters)
    scheme = blending.read_scheme(
        ctx,
        target=target,
        rule=rule,
        drafter=values.drafter(drafter, [*names, *(place.name for place, _ in adapters)]),
        chunk_size=chunk_size,
        threshold=threshold,
        threshold_window=threshold_window,
        candidates=candidates,
        ahead=ahead,
    )
    system = None if system is None else check_text("--system", system)
    prefill = check_text("--prefill", prefill or "")
    arguments = values.template_args(template_arg or [])
    sequence = values.sequence_id(sequence_id)
    text, turns = prompts.read_prompt(prompt, prompt_file, messages, Streams.current())
    return Request(
        model=choice,
        prompting=Prompting(text, turns, system, raw, arguments, prefill),
        sampling=sampling,
        scheme=scheme,
        blend=blend,
        adapters=adapters,
        seed=seed,
        samples=samples,
        sequence_id=sequence,
    )
