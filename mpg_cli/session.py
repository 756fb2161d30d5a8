"""A loaded model with a blend of experts, and replies drawn from it as a stream of events.

The one place where text meets the sampler: prompts are rendered and tokenised here, committed tokens
become text, stop strings end a reply.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from mpg_cli.errors import ContextError
from mpg_cli.events import Event, Finished, FinishReason, Notice, Round, Started, Text, Usage
from mpg_cli.lineup import Lineup
from mpg_cli.models.detokenizer import ReplyText
from mpg_cli.models.experts import Expert, find_experts
from mpg_cli.models.loader import LoadedModel, load_drafter, load_model
from mpg_cli.models.lora import LoraBank
from mpg_cli.models.prompt import render
from mpg_cli.models.rows import context_length
from mpg_cli.models.selfcheck import check_rows
from mpg_cli.personas.expression import format_weight
from mpg_cli.request import GenerateRequest
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.round import Seconds
from mpg_cli.sampling.scr import Reply, Sampler, Settings
from mpg_cli.sampling.stats import Stats
from mpg_cli.sampling.warpers import Warp

CHUNK_SIZE = 4  # gamma until it is tuned
MAX_TOKENS = 256


class Session:
    """One model, one blend. `open` loads, `replies` samples, `stop` ends the reply under way."""

    def __init__(
        self,
        request: GenerateRequest,
        loaded: LoadedModel,
        experts: Sequence[Expert],
        smaller: LoadedModel | None = None,
    ) -> None:
        """`smaller` is the model that drafts, where the request names one."""
        self.loaded, self.experts = loaded, tuple(experts)
        self.persona = _expression(request)
        self._stopping: FinishReason | None = None
        self._lineup = Lineup(loaded, LoraBank(loaded.model), experts, request.scheme, smaller=smaller)
        self._draft = self._lineup.draft
        self.notices = [Notice(text) for text in (*loaded.notices, *self._lineup.notices)]

    @classmethod
    def open(cls, request: GenerateRequest, report: Callable[[str], None] = lambda message: None) -> Session:
        """Load the model and the experts of the request; `report` is told what takes time.

        Raises ModelError, AdapterError, PersonaError; nothing is generated yet.
        """
        choice = request.model
        report(f"loading {choice.name}")
        loaded = load_model(choice.name, choice.revision, choice.device, choice.dtype)
        check_rows(loaded.model, loaded.id)
        said: list[str] = []
        experts = find_experts(request.blend, request.adapters, loaded, report, said.append)
        smaller = None
        kind, _, place = request.scheme.drafter.partition(":")
        if kind == "model" and request.scheme.chunk_size != 0:
            report(f"loading drafter {place}")
            smaller = load_drafter(place, loaded)
            check_rows(smaller.model, smaller.id)
            said += smaller.notices
        session = cls(request, loaded, experts, smaller)
        session.notices += [Notice(text) for text in said]
        return session

    # -- replies ---------------------------------------------------------------------------------

    def stop(self, reason: FinishReason = "interrupted") -> None:
        """End the reply under way at the next round, and draw no further samples."""
        self._stopping = reason

    def replies(self, request: GenerateRequest) -> Iterator[Event]:
        """The events of all samples in turn. Raises ContextError if the prompt leaves no room."""
        yield from self.notices
        self.notices.clear()
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        tokenizer = self.loaded.tokenizer
        plain = render(tokenizer, request.prompting)
        prompts = [plain, *(self._prompt(request, expert.prompt, plain) for expert in self.experts)]
        longest = max(map(len, prompts))
        limit, notice = self._limit(request, longest)
        if notice:
            yield notice
        drafts = self._prompt(request, self._draft.prompt, plain) if self._draft else plain
        if self._room(len(drafts)) < limit:
            yield Notice("the joined prompts do not fit the context: the drafter gets the plain prompt")
            drafts = plain
        for sample in range(request.samples):
            sequence = request.sequence_id if request.sequence_id is not None else sample
            yield self._started(request, seed, sequence, len(plain), limit)
            yield from self._reply(request, Reply(Noise(seed, sequence), limit), prompts, drafts)
            if self._stopping:
                break
        self._stopping = None

    def _prompt(self, request: GenerateRequest, persona_prompt: str | None, plain: list[int]) -> list[int]:
        return render(self.loaded.tokenizer, request.prompting, persona_prompt) if persona_prompt else plain

    def _room(self, tokens: int) -> float:
        """Positions that a prompt of so many tokens leaves; infinite where a model names no limit."""
        context = context_length(self.loaded.config.get_text_config())
        return float("inf") if context is None else context - tokens

    def _limit(self, request: GenerateRequest, longest: int) -> tuple[int, Notice | None]:
        """How many tokens the reply may have: what was asked for, or 256, or what the context leaves."""
        wanted, room = request.sampling.max_tokens, self._room(longest)
        if room < 1:
            raise ContextError(
                f"the prompt has {longest} tokens with its system text, "
                f"{self.loaded.id} reads {longest + room}",
                hint="shorten the prompt, or choose a model with a longer context",
            )
        limit = int(min(wanted or MAX_TOKENS, room))
        if wanted is not None and wanted > limit:
            return limit, Notice(f"--max-tokens {wanted} is more than the context leaves: {limit}")
        return limit, None

    def _started(
        self, request: GenerateRequest, seed: int, sequence: int | str, prompt_tokens: int, limit: int
    ) -> Started:
        scheme, loaded = request.scheme, self.loaded
        return Started(
            sequence=sequence,
            seed=seed,
            persona=self.persona,
            experts=tuple(expert.info for expert in self.experts),
            model=loaded.id,
            revision=loaded.revision,
            device=str(loaded.device.value),
            dtype=str(loaded.dtype.value).removeprefix("torch."),
            target=scheme.target,
            rule=scheme.rule,
            drafter=self._draft.name if self._draft else "none",
            chunk_size=self._chunk_size(request),
            prompt_tokens=prompt_tokens,
            max_tokens=limit,
            device_reason=loaded.device.reason,
            dtype_reason=loaded.dtype.reason,
        )

    def _chunk_size(self, request: GenerateRequest) -> int:
        asked = request.scheme.chunk_size
        return 0 if self._draft is None else CHUNK_SIZE if asked is None else asked

    def _settings(self, request: GenerateRequest) -> Settings:
        s = request.sampling
        return Settings(
            weights=tuple(expert.weight for expert in self.experts),
            target=request.scheme.target,
            rule=request.scheme.rule,
            chunk_size=self._chunk_size(request),
            warp=Warp(s.temperature, s.top_k, s.top_p, s.min_p, s.repetition_penalty),
            threshold=request.scheme.threshold,
            end_tokens=_end_tokens(self.loaded),
        )

    def _reply(
        self, request: GenerateRequest, reply: Reply, prompts: list[list[int]], drafts: list[int]
    ) -> Iterator[Event]:
        """One reply: rounds as the sampler makes them, cut where a stop string ends it, and their text."""
        began = perf_counter()
        drafter = self._lineup.prefill([prompts], [drafts])
        stats = Stats(seconds=Seconds(prefill=perf_counter() - began))
        settings = self._settings(request)
        sampler = Sampler(self._lineup.rows, drafter, settings, [reply])
        text = ReplyText(self.loaded.tokenizer, request.sampling.stop, settings.end_tokens)
        for round_ in sampler.run():
            piece, used = text.push(round_.tokens)
            if round_.finish_reason is not None:
                piece += text.flush()
            if text.stopped:
                round_ = _cut(round_, used)
                sampler.stop(0, "stop")
            elif self._stopping and round_.finish_reason is None:
                round_ = replace(round_, finish_reason=self._stopping)
                sampler.stop(0, self._stopping)
                piece += text.flush()
            stats = stats.plus(round_)
            yield round_
            if piece:
                yield Text(reply.sequence, piece)
        assert reply.finish_reason is not None
        yield Finished(
            sequence=reply.sequence,
            text=text.whole,
            token_ids=tuple(text.ids),
            finish_reason=reply.finish_reason,
            usage=Usage(len(prompts[0]), len(text.ids)),
            stats=stats,
        )

    # -- what would be done ----------------------------------------------------------------------

    def describe(self, request: GenerateRequest) -> dict[str, object]:
        """The rows, their prompts and the memory they take, for a dry run; nothing is generated."""
        plain = render(self.loaded.tokenizer, request.prompting)
        prompts = [self._prompt(request, expert.prompt, plain) for expert in self.experts]
        limit, _ = self._limit(request, max(map(len, [plain, *prompts])))
        started = self._started(request, request.seed or 0, 0, len(plain), limit)
        experts = [(e.name, e.kind, e.weight, len(ids)) for e, ids in zip(self.experts, prompts, strict=True)]
        rows = [
            {"row": name, "kind": kind, "weight": weight, "prompt_tokens": tokens}
            for name, kind, weight, tokens in [("reference", "base", None, len(plain)), *experts]
        ]
        return {
            "persona": self.persona,
            "model": self.loaded.id,
            "revision": self.loaded.revision,
            "device": f"{started.device} ({self.loaded.device.reason})",
            "dtype": f"{started.dtype} ({self.loaded.dtype.reason})",
            "target": started.target,
            "rule": started.rule,
            "drafter": started.drafter,
            "chunk_size": started.chunk_size,
            "max_tokens": limit,
            "seed": request.seed,
            "samples": request.samples,
            "rows": rows,
            "memory": self._lineup.memory(),
        }


def _cut(round_: Round, used: int) -> Round:
    """A round whose first `used` tokens count: a stop string ended the reply there."""
    return replace(
        round_,
        tokens=round_.tokens[:used],
        pull=round_.pull[:used],
        kept=min(round_.kept, used),
        finish_reason="stop",
    )


def _expression(request: GenerateRequest) -> str:
    """The blend as one canonical expression; `--adapter` experts by the name of their folder."""
    terms = [request.blend.expression] if request.blend else []
    for path, weight in request.adapters:
        name = Path(path).resolve().name
        terms.append(name if weight == 1 else f"{name}:{format_weight(weight)}")
    return "+".join(terms)


def _end_tokens(loaded: LoadedModel) -> frozenset[int]:
    """Whatever the model's generation configuration, its configuration or its tokenizer calls the end."""
    generation = getattr(loaded.model, "generation_config", None)
    named = [
        getattr(generation, "eos_token_id", None),
        getattr(loaded.config, "eos_token_id", None),
        loaded.tokenizer.eos_token_id,
    ]
    flat = [t for ids in named for t in (ids if isinstance(ids, list | tuple) else [ids])]
    return frozenset(t for t in flat if t is not None)
