"""Evaluate one method: sample replies, score their fluency, judge their personas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mpg_cli.evaluation.judging import Exhibit, Judge
from mpg_cli.evaluation.log import EvaluationLog
from mpg_cli.evaluation.metrics import Metrics
from mpg_cli.evaluation.prompts import EvalPrompt, Reply
from mpg_cli.evaluation.replies import Source, draw, with_fluency
from mpg_cli.evaluation.similarity import Similarity
from mpg_cli.models.experts import ExpertCache
from mpg_cli.models.load.loader import LoadedModel

Show = Callable[[str, float], None]


@dataclass(frozen=True)
class Bench:
    """What all methods share: the base, prompts, personas to look for, the judge and the log."""

    base: LoadedModel
    prompts: tuple[EvalPrompt, ...]
    personas: tuple[str, ...]
    judge: Judge | None
    log: EvaluationLog
    notice: Callable[[str], None] = lambda message: None
    show: Show = lambda what, share: None
    cache: ExpertCache = field(default_factory=ExpertCache)
    similarity: Similarity | None = None

    def measure(self, name: str, source: Source) -> Metrics:
        """The metrics of a method's replies to all prompts."""
        return self.judged(name, self.replies(name, source))

    def replies(self, name: str, source: Source) -> tuple[Reply, ...]:
        """Replies of a method to all prompts, with their fluency."""
        texts = {one.id: one.prompt for one in self.prompts}
        replies = draw(
            source,
            self.prompts,
            done=self.log.replies(name),
            keep=lambda reply: self.log.reply(name, reply, texts[reply.id]),
            notice=self.notice,
            report=lambda share: self.show(f"{name}: replying", share),
            cache=self.cache,
        )
        how = source.request.prompting
        report = lambda share: self.show(f"{name}: fluency", share)  # noqa: E731
        return tuple(with_fluency(self.base, how, self.prompts, replies, report))

    def judged(self, name: str, replies: tuple[Reply, ...]) -> Metrics:
        """The metrics of these replies to all prompts."""
        texts = [reply.text for reply in replies]
        scores = self._scores(name, texts)
        cosines = {} if self.similarity is None else self.similarity.cosines(self.prompts, texts)
        return Metrics(name, self.personas, self.prompts, replies, tuple(scores), cosines)

    def _scores(self, name: str, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """The scores of every reply, one per persona; judgements of earlier runs are reused."""
        judge = self.judge
        if judge is None:
            return [() for _ in texts]
        exhibits = [
            # An open question's reference shows no persona, so it is no example for the judge.
            Exhibit(
                one.id,
                one.prompt,
                text,
                persona,
                one.personas.get(persona, ""),
                one.reference if one.blend else None,
            )
            for one, text in zip(self.prompts, texts, strict=True)
            for persona in self.personas
        ]
        known = dict(self.log.judgements(name, judge.about))
        missing = [one for one in exhibits if (one.id, one.persona) not in known]
        found = judge.judge(
            missing,
            lambda own: self.log.judgement(name, judge.about, own),
            lambda share: self.show(f"{name}: judging", share),
        )
        known |= {(one.id, one.persona): score for one, score in zip(missing, found, strict=True)}
        return [tuple(known[one.id, persona] for persona in self.personas) for one in self.prompts]
