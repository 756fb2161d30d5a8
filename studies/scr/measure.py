"""Replies of the bundled model under one setting, and what is measured of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mpg_cli.engine.blend_rows import Lineup
from mpg_cli.models.experts import find_experts
from mpg_cli.models.loader import BUNDLED, load_model
from mpg_cli.models.lora import LoraBank
from mpg_cli.models.prompt import render
from mpg_cli.models.prompting import Prompting
from mpg_cli.models.rows import RowGroup
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from mpg_cli.sampling.drafters import LookupDrafter, RowDrafter
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.reply import Reply
from mpg_cli.sampling.round import Round
from mpg_cli.sampling.scr import Sampler
from mpg_cli.sampling.settings import Settings
from mpg_cli.sampling.stats import Stats
from recipes.mpg_tiny.blends import read_blend
from studies.scr.grid import BLEND, Setting
from studies.scr.redraft import redraft

POSITIONS = 2400  # of a pass, over all sequences and candidates of a batch
SPARSE = 0.75  # share of unfinished replies that lets the others leave
REDRAFT_PASSES = 64
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Measured:
    """One reply."""

    prompt: int
    seed: int
    tokens: tuple[int, ...]
    finished: bool
    shown: bool  # the marker judge sees the whole blend
    pull: float  # sum over tokens and personas of w_i delta_i
    base: float  # log-probability of the reply under the base
    stats: Stats

    @property
    def counts(self) -> dict[str, tuple[float, float]]:
        """Each measure as numerator and denominator, so that replies add up."""
        s, said = self.stats, max(1, len(self.tokens))
        return {
            "acceptance": (s.kept, s.tested),
            "committed_per_pass": (s.committed, s.passes),
            "passes_per_token": (s.passes + s.steps, s.committed),
            "shown": (self.shown, 1),
            "contribution": (self.pull, said),
            "base": (self.base, said),
            "tokens": (len(self.tokens), 1),
            "finished": (self.finished, 1),
            "clipped": (s.clipped, s.chunks),
            "kappa": (sum(s.excess), sum(s.judged)),
            "bias": (s.bias, s.rounds),
        }


class Bench:
    """The bundled model with the experts of the blend, and the prompts."""

    def __init__(self, prompts: Sequence[str], longest: int) -> None:
        """Replies have at most `longest` tokens."""
        self.longest = longest
        self.loaded = load_model(BUNDLED, device="cpu", dtype="float32")
        self.bank = LoraBank.of(self.loaded.model)
        self.blend = read_blend(BLEND, ROOT / "personas")
        said: list[str] = []
        blend = resolve(parse(BLEND), load_default([ROOT / "personas"]))
        self.experts = find_experts(blend, (), self.loaded, said.append, said.append)
        self.prompts = [render(self.loaded.tokenizer, Prompting(prompt)) for prompt in prompts]
        self.ends = frozenset({int(self.loaded.tokenizer.eos_token_id)})

    def measure(self, setting: Setting, seeds: Sequence[int]) -> list[Measured]:
        """One reply for each prompt and seed."""
        jobs = [(prompt, seed) for seed in seeds for prompt in range(len(self.prompts))]
        span = setting.candidates * (setting.gamma * setting.ahead + 1)
        size = max(1, POSITIONS // span)
        batches = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        return [one for batch in batches for one in self._batch(setting, batch)]

    def _batch(self, setting: Setting, jobs: Sequence[tuple[int, int]]) -> Iterator[Measured]:
        scheme = setting.scheme
        lineup = Lineup(self.loaded, self.bank, self.experts, scheme, batch=len(jobs))
        settings = Settings(
            weights=tuple(expert.weight for expert in self.experts),
            rule=scheme.rule,
            chunk_size=setting.gamma,
            threshold=scheme.threshold,
            end_tokens=self.ends,
        )
        prompts = [self.prompts[prompt] for prompt, _ in jobs]
        drafter = lineup.prefill([[ids] * lineup.rows.rows for ids in prompts], prompts)
        replies = [Reply(Noise(seed, f"{seed}/{prompt}"), self.longest) for prompt, seed in jobs]
        rounds: Iterator[Round]
        if setting.rule == "redraft":
            assert isinstance(drafter, RowDrafter)
            openings = [ids[-1] for ids in prompts]
            rounds = redraft(lineup.rows, drafter, settings, replies, openings, REDRAFT_PASSES)
        else:
            rounds = _rounds(lineup, Sampler(lineup.rows, drafter, settings, replies), drafter)
        stats = {reply.sequence: Stats() for reply in replies}
        pulls = dict.fromkeys(stats, 0.0)
        for round_ in rounds:
            stats[round_.sequence] = stats[round_.sequence].plus(round_)
            pulls[round_.sequence] += math.fsum(x for row in round_.pull for x in row)
        lineup.release()
        said = [(ids, reply.tokens) for ids, reply in zip(prompts, replies, strict=True)]
        bases = self._base(said)
        for (prompt, seed), reply, base in zip(jobs, replies, bases, strict=True):
            ids = [token for token in reply.tokens if token not in self.ends]
            yield Measured(
                prompt=prompt,
                seed=seed,
                tokens=tuple(reply.tokens),
                finished=reply.finish_reason == "stop",
                shown=self.blend.shown(self.loaded.tokenizer.decode(ids)),
                pull=pulls[reply.sequence],
                base=base,
                stats=stats[reply.sequence],
            )

    def _base(self, texts: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """Log-probability of each reply after its prompt under the base."""
        rows = RowGroup(self.loaded.model, ["reference"], batch=len(texts))
        rows.prefill([[prompt] for prompt, _ in texts])
        longest = max(len(reply) for _, reply in texts)
        padded = torch.tensor([[*reply, *[0] * (longest - len(reply))] for _, reply in texts])  # (B, T)
        log_probs = rows.score(padded[:, None]).log_probs[0, :, 0, :-1]  # (B, T, V)
        rows.check()
        of_reply = log_probs.gather(-1, padded[..., None])[..., 0].double()  # (B, T)
        return [math.fsum(of_reply[b, : len(reply)].tolist()) for b, (_, reply) in enumerate(texts)]


def _rounds(lineup: Lineup, sampler: Sampler, drafter: RowDrafter | LookupDrafter | None) -> Iterator[Round]:
    """Rounds until all replies are finished; those that are leave the batch now and then."""
    while live := [b for b, reply in enumerate(sampler.replies) if reply.finish_reason is None]:
        if len(live) <= SPARSE * len(sampler.replies):
            lineup.select(live, drafter)
            sampler.select(live)
        yield from sampler.round()
