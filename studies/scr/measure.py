"""Sample replies of the bundled model under one setting, and measure them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.models.experts import find_experts
from mpg_cli.models.load.loader import load_model
from mpg_cli.models.run.lora import LoraBank
from mpg_cli.models.run.row_group import RowGroup
from mpg_cli.models.text.prompt import render
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.params import SamplingLaw
from mpg_cli.sampling.sampler import Sampler
from mpg_cli.sampling.state import Decoding, SequenceState
from mpg_cli.sampling.stats import Round, Stats
from recipes.mpg_tiny.blends import read_blend
from studies.scr.grid import BLEND, Setting
from studies.scr.redraft import redraft

POSITIONS = 2400  # per pass, over all sequences and candidates of a batch
SPARSE = 0.75  # finished replies leave the batch below this share of unfinished ones
REDRAFT_PASSES = 64
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


class Bench:
    """The bundled model with the experts of the blend, and the prompts."""

    def __init__(self, prompts: Sequence[str], longest: int) -> None:
        """Replies have at most `longest` tokens."""
        self.longest = longest
        self.loaded = load_model("mpg-tiny", device="cpu", dtype="float32")
        self.bank = LoraBank.of(self.loaded.model)
        self.blend = read_blend(BLEND, ROOT / "personas")
        notices: list[str] = []
        blend = resolve(parse(BLEND), load_default([ROOT / "personas"]))
        self.experts = find_experts(blend, (), self.loaded, notices.append, notices.append)
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
        blend_rows = BlendRows(self.loaded, self.bank, self.experts, scheme, batch=len(jobs))
        weights = tuple(expert.weight for expert in self.experts)
        how = Decoding(SamplingLaw(), replace(scheme, chunk_size=setting.gamma), weights, self.ends)
        prompts = [self.prompts[prompt] for prompt, _ in jobs]
        blend_rows.prefill([[ids] * blend_rows.rows.rows for ids in prompts], prompts)
        replies = [SequenceState(Noise(seed, f"{seed}/{prompt}"), self.longest) for prompt, seed in jobs]
        rounds: Iterator[Round]
        if setting.rule == "redraft":
            assert blend_rows.draft.group is not None
            openings = [ids[-1] for ids in prompts]
            rounds = redraft(blend_rows.rows, blend_rows.draft.group, how, replies, openings, REDRAFT_PASSES)
        else:
            rounds = _rounds(blend_rows, Sampler(blend_rows.rows, blend_rows.draft.drafter, how, replies))
        stats = {reply.sequence: Stats() for reply in replies}
        for round_ in rounds:
            stats[round_.sequence] += Stats.of(round_)
        blend_rows.release()
        texts = [(ids, reply.tokens) for ids, reply in zip(prompts, replies, strict=True)]
        bases = self._base(texts)
        for (prompt, seed), reply, base in zip(jobs, replies, bases, strict=True):
            ids = [token for token in reply.tokens if token not in self.ends]
            yield Measured(
                prompt=prompt,
                seed=seed,
                tokens=tuple(reply.tokens),
                finished=reply.finish_reason == "stop",
                shown=self.blend.shown(self.loaded.tokenizer.decode(ids)),
                contribution=sum(stats[reply.sequence].contributions),
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


def _rounds(blend_rows: BlendRows, sampler: Sampler) -> Iterator[Round]:
    """Rounds until all replies are finished; finished replies leave the batch when it is sparse."""
    while live := [b for b, reply in enumerate(sampler.states) if reply.finish_reason is None]:
        if len(live) <= SPARSE * len(sampler.states):
            blend_rows.select(live)
            sampler.select(live)
        yield from sampler.round()
