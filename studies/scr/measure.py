"""Sample replies of the bundled model under one setting, and measure them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import FinishReason, Round
from mpg_cli.engine.request import Request
from mpg_cli.engine.sequence import Sequence as Reply
from mpg_cli.engine.sequence import prepare
from mpg_cli.engine.teacher_forcing import BLOCK
from mpg_cli.evaluation.fluency import fluencies
from mpg_cli.models.experts import find_experts
from mpg_cli.models.load.loader import load_model
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.row_pool import RowPool
from mpg_cli.models.run.slot_rows import SlotRows
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from mpg_cli.sampling.params import SamplingLaw
from mpg_cli.sampling.stats import Stats
from recipes.mpg_tiny.blends import read_blend
from studies.scr.grid import BLEND, Setting
from studies.scr.redraft import redraft

POSITIONS = 2400  # per pass, over all sequences and candidates of a batch
REDRAFTED, REDRAFT_PASSES = 64, 64  # replies of a batch, and its passes
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Measured:
    """One reply."""

    prompt: int
    seed: int
    tokens: tuple[int, ...]
    finished: bool
    shown: bool  # the marker judge finds the whole blend
    contribution: float  # sum of w_i delta_i over tokens and personas
    base: float  # log-probability of the reply under the base
    stats: Stats

    @property
    def counts(self) -> dict[str, tuple[float, float]]:
        """Each measure as numerator and denominator, so that replies can be summed."""
        s, length = self.stats, max(1, len(self.tokens))
        return {
            "acceptance": (s.accepted, s.evaluated),
            "committed_per_pass": (s.committed, s.passes),
            "passes_per_token": (s.passes + s.steps, s.committed),
            "shown": (self.shown, 1),
            "contribution": (self.contribution, length),
            "base": (self.base, length),
            "tokens": (len(self.tokens), 1),
            "finished": (self.finished, 1),
            "clipped": (s.clipped, s.chunks),
            "kappa": (sum(s.excess), sum(s.verified)),
            "bias": (s.bias, s.rounds),
        }


@dataclass
class _Reply:
    """A reply on its way: its tokens so far, the end token included."""

    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stats: Stats = field(default_factory=Stats)

    def add(self, round_: Round) -> None:
        self.tokens += round_.tokens
        self.stats += Stats.of(round_)
        self.finish_reason = round_.finish_reason


class Bench:
    """The bundled model with the experts of the blend, and the prompts."""

    def __init__(self, prompts: Sequence[str], longest: int) -> None:
        """Replies have at most `longest` tokens."""
        self._longest, self._prompts = longest, tuple(prompts)
        self._loaded = load_model("mpg-tiny", device="cpu", dtype="float32")
        self._blend = read_blend(BLEND, ROOT / "personas")
        self._resolved = resolve(parse(BLEND), load_default([ROOT / "personas"]))
        self._experts = find_experts(self._resolved, (), self._loaded, _ignore, _ignore)

    def measure(self, setting: Setting, seeds: Sequence[int]) -> list[Measured]:
        """One reply for each prompt and seed."""
        jobs = [(prompt, seed) for seed in seeds for prompt in range(len(self._prompts))]
        requests = [self._request(setting, prompt, seed) for prompt, seed in jobs]
        rows = BlendRows.of(self._loaded, self._experts, setting.scheme)
        if setting.rule == "redraft":
            rounds = self._redrafted(rows, requests)
        else:
            span = setting.candidates * (setting.gamma * setting.ahead + 1)
            rounds = self._sampled(requests, max(1, POSITIONS // span))
        replies = {request.sequence_id: _Reply() for request in requests}
        for round_ in rounds:
            replies[round_.sequence].add(round_)
        prompts = [prepare(rows, request).rows[0] for request in requests]
        bases = fluencies(self._loaded, prompts, [reply.tokens for reply in replies.values()])
        return [
            self._measured(*job, reply, base or 0.0)
            for job, reply, base in zip(jobs, replies.values(), bases, strict=True)
        ]

    def _request(self, setting: Setting, prompt: int, seed: int) -> Request:
        return Request(
            model=ModelOptions("mpg-tiny"),
            prompting=Prompting(self._prompts[prompt]),
            sampling=SamplingLaw(max_tokens=self._longest),
            scheme=setting.scheme,
            blend=self._resolved,
            seed=seed,
            sequence_id=f"{seed}/{prompt}",
        )

    def _sampled(self, requests: Sequence[Request], size: int) -> Iterator[Round]:
        """The rounds of the engine, with `size` requests at a time."""
        with closing(Engine(self._loaded, batch_size=size)) as engine:
            for event in engine.run(iter(requests)):
                if isinstance(event, Round):
                    yield event

    def _redrafted(self, rows: BlendRows, requests: Sequence[Request]) -> Iterator[Round]:
        """The rounds of `redraft`, which is no rule of the engine."""
        model = self._loaded.model
        for start in range(0, len(requests), REDRAFTED):
            part = requests[start : start + REDRAFTED]
            own = [Reply(rows, prepare(rows, one), one.seed or 0, str(one.sequence_id)) for one in part]
            scorer, drafter = SlotRows(model), RowPool(model, LoraBank.of(model))
            scorer.insert({slot: rows.new_rows(reply.row_prompts) for slot, reply in enumerate(own)})
            scorer.read_all(BLOCK)
            drafter.insert({slot: rows.draft_rows(reply.draft_prompt) for slot, reply in enumerate(own)})
            while drafter.unread:
                drafter.read(BLOCK)
            openings = [reply.draft_prompt[-1] for reply in own]
            yield from redraft(scorer, drafter, [reply.state for reply in own], openings, REDRAFT_PASSES)
            scorer.reset()
            drafter.reset()

    def _measured(self, prompt: int, seed: int, reply: _Reply, base: float) -> Measured:
        """`base` is the mean log-probability of the tokens under the base."""
        ids = [token for token in reply.tokens if token not in self._loaded.end_tokens]
        return Measured(
            prompt=prompt,
            seed=seed,
            tokens=tuple(reply.tokens),
            finished=reply.finish_reason == "stop",
            shown=self._blend.shown(self._loaded.tokenizer.decode(ids)),
            contribution=sum(reply.stats.contributions),
            base=base * len(reply.tokens),
            stats=reply.stats,
        )


def _ignore(message: str) -> None:
    """Drop a message."""
