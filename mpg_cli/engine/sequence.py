"""One request on a lineup: the prompts of its rows, what is sampled, and the reply as it grows.

The one place where text meets the sampler: prompts are rendered and tokenised here, committed tokens become
text, stop strings end a reply. `Session` does one job at a time, a batch many.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mpg_cli.engine.blend_rows import Lineup
from mpg_cli.engine.events import Finished, FinishReason, Round, Started, Usage
from mpg_cli.engine.request import Request
from mpg_cli.errors import ContextError, RangeError
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.masks import context_length
from mpg_cli.models.text.detokenizer import ReplyText
from mpg_cli.models.text.prompt import render
from mpg_cli.personas.expression import format_weight
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.params import Sampling
from mpg_cli.sampling.state import Decoding, SequenceState
from mpg_cli.sampling.stats import Seconds, Stats

MAX_TOKENS = 256


@dataclass(frozen=True)
class Job:
    """Token ids of every row and of the drafter, and how many tokens the reply may have."""

    request: Request
    prompts: tuple[list[int], ...]  # R, the reference first
    draft: list[int]
    limit: int
    notices: tuple[str, ...] = ()


def prepare(lineup: Lineup, request: Request) -> Job:
    """Render the prompts of a request. Raises ContextError if they leave no room, UsageError if the model's
    chat template refuses them.
    """
    loaded, notices = lineup.loaded, []
    _check_ids(request.sampling, lineup)
    size = lineup.vocabulary.size
    plain = render(loaded.tokenizer, request.prompting, size=size)

    def ids_with(prompt: str | None) -> list[int]:
        return render(loaded.tokenizer, request.prompting, prompt, size) if prompt else plain

    prompts = (plain, *(ids_with(expert.prompt) for expert in lineup.experts))
    longest = max(map(len, prompts))
    wanted, room = request.sampling.max_tokens, _room(loaded, longest)
    if room < 1:
        raise ContextError(
            f"the prompt has {longest} tokens with its system text, {loaded.id} reads {longest + room}",
            hint="shorten the prompt, or choose a model with a longer context",
        )
    limit = int(min(wanted or MAX_TOKENS, room))
    if wanted is not None and wanted > limit:
        notices.append(f"--max-tokens {wanted} is more than the context leaves: {limit}")
    draft = ids_with(lineup.draft.prompt)
    if _room(loaded, len(draft)) < limit:
        notices.append("the joined prompts do not fit the context: the drafter gets the plain prompt")
        draft = plain
    return Job(request, prompts, draft, limit, tuple(notices))


def _check_ids(sampling: Sampling, lineup: Lineup) -> None:
    """Raise RangeError for an id that is no token of the model, or of a checkpoint of the blend."""
    named = {
        "--stop-token-id": sampling.stop_token_ids,
        "--logit-bias": [token for token, _ in sampling.logit_bias],
    }
    for flag, tokens in named.items():
        wrong = next((token for token in tokens if token not in lineup.vocabulary), None)
        if wrong is not None:
            raise RangeError(
                flag,
                f"{wrong}: {lineup.loaded.id} has no token of that id",
                hint=f"the ids of its tokenizer go up to {lineup.vocabulary.size - 1}",
            )


def _ends(lineup: Lineup, sampling: Sampling) -> frozenset[int]:
    return lineup.loaded.end_tokens | set(sampling.stop_token_ids)


def _room(loaded: LoadedModel, tokens: int) -> float:
    """Positions that a prompt of so many tokens leaves; infinite where a model names no limit."""
    context = context_length(loaded.config.get_text_config())
    return float("inf") if context is None else context - tokens


def decoding_of(lineup: Lineup, request: Request) -> Decoding:
    """What is sampled and by which rule, with the chunk size that the lineup chose."""
    return Decoding(
        sampling=request.sampling,
        scheme=replace(request.scheme, chunk_size=lineup.chunk_size),
        weights=tuple(expert.weight for expert in lineup.experts),
        end_tokens=_ends(lineup, request.sampling),
    )


def started(lineup: Lineup, job: Job, seed: int, sequence: int | str) -> Started:
    """The event that begins a reply."""
    scheme, loaded = job.request.scheme, lineup.loaded
    return Started(
        sequence=sequence,
        seed=seed,
        persona=expression_of(job.request),
        experts=tuple(expert.info for expert in lineup.experts),
        model=loaded.id,
        revision=loaded.revision,
        device=str(loaded.device.value),
        dtype=str(loaded.dtype.value).removeprefix("torch."),
        target=scheme.target,
        rule=scheme.rule,
        drafter=lineup.draft.name,
        chunk_size="auto" if lineup.chunk_size is None else lineup.chunk_size,
        prompt_tokens=len(job.prompts[0]),
        max_tokens=job.limit,
        prefill=job.request.prompting.prefill,
        device_reason=loaded.device.reason,
        dtype_reason=loaded.dtype.reason,
    )


class Growing:
    """A reply under way: its tokens, its text so far and its statistics."""

    def __init__(self, lineup: Lineup, job: Job, seed: int, sequence: int | str) -> None:
        self.job = job
        self.started = started(lineup, job, seed, sequence)
        self.state = SequenceState(Noise(seed, sequence), job.limit, job.prompts[0])
        self.finish_reason: FinishReason | None = None
        self._text = ReplyText(
            lineup.loaded.tokenizer,
            job.request.sampling.stop,
            _ends(lineup, job.request.sampling),
            job.request.prompting.prefill,
        )

    def prefilled(self, seconds: float) -> None:
        """Count the time that reading the prompts took."""
        self.state.stats += Stats(seconds=Seconds(prefill=seconds))

    def add(self, round_: Round, stopping: FinishReason | None = None) -> tuple[Round, str]:
        """One more round: the round, cut where a stop string ends the reply, and its text.

        A stop string ends the reply, or ``stopping`` does.
        """
        piece, used = self._text.push(round_.tokens)
        if round_.finish_reason is not None:
            piece += self._text.flush()
        if self._text.stopped:
            round_ = self.state.end(round_, "stop", used)
        elif stopping and round_.finish_reason is None:
            round_ = self.state.end(round_, stopping, len(round_.tokens))
            piece += self._text.flush()
        self.finish_reason = round_.finish_reason
        return round_, piece

    def finished(self) -> Finished:
        """The event that ends the reply."""
        assert self.finish_reason is not None
        return Finished(
            sequence=self.state.sequence,
            text=self._text.whole,
            token_ids=tuple(self._text.ids),
            finish_reason=self.finish_reason,
            usage=Usage(self.started.prompt_tokens, len(self._text.ids)),
            stats=self.state.stats,
        )


def expression_of(request: Request) -> str:
    """The blend as one canonical expression; `--adapter` experts by the name of their folder."""
    terms = [request.blend.expression] if request.blend else []
    for place, weight in request.adapters:
        terms.append(place.name if weight == 1 else f"{place.name}:{format_weight(weight)}")
    return "+".join(terms)
