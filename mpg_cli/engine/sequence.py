"""A reply in progress: the prompts of its rows, its tokens, text and statistics.

All conversion between text and tokens for the sampler is here: prompts are rendered and tokenised, committed
tokens become text, stop strings end a reply.
"""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass
from typing import Any

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.events import Finished, FinishReason, Round, Usage
from mpg_cli.engine.pass_cost import round_cost
from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import DESCRIPTION, ModelSpec, RunSpec, expression_of
from mpg_cli.errors import ContextError, RangeError
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.masks import context_length
from mpg_cli.models.text.detokenizer import ReplyText
from mpg_cli.models.text.prompt import render
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.params import Sampling, SamplingLaw
from mpg_cli.sampling.state import Decoding, SequenceState
from mpg_cli.sampling.stats import Seconds, Stats

MAX_TOKENS = 256


@dataclass(frozen=True)
class Prompts:
    """The prompt of a request as token ids, for every row and the drafter, and the limit of the reply."""

    request: Request
    plain: list[int]  # without any persona
    rows: tuple[list[int], ...]  # R
    draft: list[int]
    limit: int  # tokens of the reply
    notices: tuple[str, ...] = ()

    @property
    def longest(self) -> int:
        """Length of the longest prompt."""
        return max(map(len, (*self.rows, self.draft)))


def prepare(blend_rows: BlendRows, request: Request) -> Prompts:
    """Render the prompts of a request.

    Raises ContextError if they leave no room for a reply, UsageError if the chat template refuses them.
    """
    loaded, notices = blend_rows.loaded, []
    _check_ids(request.sampling, blend_rows)
    size = blend_rows.vocabulary.size
    plain = render(loaded.tokenizer, request.prompting, size=size)

    def with_persona(prompt: str | None) -> list[int]:
        return render(loaded.tokenizer, request.prompting, prompt, size) if prompt else plain

    rows = tuple(map(with_persona, blend_rows.prompts))
    longest = max(map(len, rows))
    wanted, room = request.sampling.max_tokens, _room(loaded, longest)
    if room < 1:
        raise ContextError(
            f"the prompt has {longest} tokens with its system text, "
            f"{loaded.id} has a context of {longest + room}",
            hint="shorten the prompt, or choose a model with a longer context",
        )
    limit = int(min(wanted or MAX_TOKENS, room))
    if wanted is not None and wanted > limit:
        notices.append(f"--max-tokens {wanted} is more than the context leaves: {limit}")
    draft = with_persona(blend_rows.draft.prompt)
    if _room(loaded, len(draft)) < limit:
        notices.append("the joined prompts do not fit the context: the drafter gets the plain prompt")
        draft = plain
    return Prompts(request, plain, rows, draft, limit, tuple(notices))


def _check_ids(sampling: Sampling, rows: BlendRows) -> None:
    """Raise RangeError for an id that is not a token of the model and of all checkpoints of the blend."""
    named: dict[str, abc.Sequence[int]] = {
        "--stop-token-id": sampling.stop_token_ids,
        "--logit-bias": [token for token, _ in sampling.logit_bias],
    }
    for flag, tokens in named.items():
        wrong = next((token for token in tokens if token not in rows.vocabulary), None)
        if wrong is not None:
            raise RangeError(
                flag,
                f"{wrong} is not a token id of {rows.loaded.id}",
                hint=f"choose an id from 0 to {rows.vocabulary.size - 1}",
            )


def _ends(rows: BlendRows, sampling: Sampling) -> frozenset[int]:
    return rows.loaded.end_tokens | set(sampling.stop_token_ids)


def _room(loaded: LoadedModel, tokens: int) -> float:
    """Positions left after this number of prompt tokens; infinite for a model without a limit."""
    context = context_length(loaded.config.get_text_config())
    return float("inf") if context is None else context - tokens


def sequence_ids(request: Request) -> list[int | str]:
    """The ids of the sequences of a request, one a sample."""
    return [*range(request.samples)] if request.sequence_id is None else [request.sequence_id]


def law_of(loaded: LoadedModel, request: Request) -> SamplingLaw:
    """The sampling of a request; what it leaves open is the model's own."""
    return request.sampling.over(loaded.own.values)


def decoding_of(rows: BlendRows, request: Request) -> Decoding:
    """The decoding parameters of a request."""
    return Decoding(
        sampling=law_of(rows.loaded, request),
        scheme=rows.scheme,
        weights=rows.weights,
        end_tokens=_ends(rows, request.sampling),
        cost=round_cost([rows]),
    )


def run_spec(rows: BlendRows, prompts: Prompts, seed: int, sequence: int | str) -> RunSpec:
    """The specification of a reply to these prompts."""
    request = prompts.request
    return RunSpec(
        model=ModelSpec.of(rows.loaded),
        persona=expression_of(request),
        experts=tuple(expert.info for expert in rows.experts),
        prompting=request.prompting,
        scheme=rows.scheme,
        sampling=law_of(rows.loaded, request),
        sampling_from=rows.loaded.own.origins(request.sampling, request.given_by),
        seed=seed,
        sequence=sequence,
        prompt_tokens=len(prompts.plain),
        max_tokens=prompts.limit,
    )


def description(rows: BlendRows, prompts: Prompts, request: Request) -> dict[str, Any]:
    """A request with its rows, for a dry run."""
    spec = run_spec(rows, prompts, request.seed or 0, 0)
    lengths = [len(ids) for ids in prompts.rows]
    first, kind = ("merged", "merged") if rows.scheme.target == "merged" else ("reference", "base")
    found: list[dict[str, object]] = [
        {"row": first, "kind": kind, "weight": None, "prompt_tokens": lengths[0]}
    ]
    for e, tokens in zip(rows.experts, lengths[1:], strict=False):  # merged ones have no row of their own
        basis = {"basis": e.basis} if e.basis else {}
        found.append({"row": e.name, "kind": e.kind, "weight": e.weight, "prompt_tokens": tokens} | basis)
    return {
        **spec.part(*DESCRIPTION),
        "device": f"{spec.model.device} ({spec.model.device_reason})",
        "dtype": f"{spec.model.dtype} ({spec.model.dtype_reason})",
        "seed": request.seed,
        "samples": request.samples,
        "rows": found,
        "memory": rows.memory(),
    }


class Sequence:
    """A reply on its way: its rows, prompts, tokens, text and statistics.

    `accept` is the one place where stop strings, end tokens and limits end a reply. A sequence whose rows
    were lost starts again after the tokens that it has (`row_prompts`), and its text goes on.
    """

    def __init__(self, rows: BlendRows, prompts: Prompts, seed: int, id_: int | str) -> None:
        request = prompts.request
        self.rows, self.prompts, self.id = rows, prompts, id_
        self.spec = run_spec(rows, prompts, seed, id_)
        decoding = decoding_of(rows, request)
        self.state = SequenceState(Noise(seed, id_), decoding, prompts.limit, prompts.plain)
        self.finish_reason: FinishReason | None = None
        prefill = request.prompting.prefill
        self._text = ReplyText(rows.loaded.tokenizer, request.sampling.stop, decoding.end_tokens, prefill)

    @property
    def row_prompts(self) -> list[list[int]]:
        """The prompt of each row, and the tokens of the reply so far."""
        return [[*ids, *self.state.tokens] for ids in self.prompts.rows]

    @property
    def draft_prompt(self) -> list[int]:
        """The same for the row of the drafter."""
        return [*self.prompts.draft, *self.state.tokens]

    @property
    def positions(self) -> int:
        """Positions of its longest row once it is complete."""
        return self.prompts.longest + self.prompts.limit

    def prefilled(self, seconds: float) -> None:
        """Add the time of the prefill to the statistics."""
        self.state.stats += Stats(seconds=Seconds(prefill=seconds))

    def accept(self, round_: Round) -> tuple[Round, str]:
        """Add a round; returns it, cut where the reply ends, and its text."""
        piece, used = self._text.push(round_.tokens)
        if round_.finish_reason is not None:
            piece += self._text.flush()
        if self._text.stopped:
            round_ = self.state.end(round_, "stop", used)
        self.finish_reason = round_.finish_reason
        return round_, piece

    def interrupt(self, reason: FinishReason) -> str:
        """End the reply before its next round; returns the rest of its text."""
        self.state.finish_reason = self.finish_reason = reason
        return self._text.flush()

    def finished(self) -> Finished:
        """The event that ends the reply."""
        assert self.finish_reason is not None
        return Finished(
            spec=self.spec,
            text=self._text.whole,
            token_ids=tuple(self._text.ids),
            finish_reason=self.finish_reason,
            usage=Usage(self.spec.prompt_tokens, len(self._text.ids)),
            stats=self.state.stats,
        )
