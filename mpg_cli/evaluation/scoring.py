"""Log-probabilities of option texts under the target of a blend, one pass per item and order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from mpg_cli.engine.blend_rows import common_vocabulary
from mpg_cli.engine.teacher_forcing import TeacherForcing
from mpg_cli.errors import ContextError
from mpg_cli.evaluation.questionnaire import Item, Readout, item_prompt
from mpg_cli.models.experts import Expert
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.masks import context_length
from mpg_cli.models.text.prompt import render
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.models.text.vocabulary import logits_width
from mpg_cli.sampling.params import TargetName
from mpg_cli.sampling.scorer import padded
from mpg_cli.sampling.targets import combine

BATCH = 32  # items and orders that share a pass
BYTES = 1 << 28  # of log-probabilities a pass may return


@dataclass(frozen=True)
class Question:
    """Token ids: the prompt of each row with the reply's opening, and the options after it."""

    place: int  # of the item
    prompts: tuple[list[int], ...]  # R, the reference first
    options: tuple[list[int], ...]

    @property
    def longest(self) -> int:
        return max(map(len, self.options))


def option_scores(
    loaded: LoadedModel,
    experts: Sequence[Expert],
    weights: Sequence[Sequence[float] | None],
    items: Sequence[Item],
    *,
    target: TargetName = "product",
    readout: Readout = "text",
    how: Prompting | None = None,
    report: Callable[[float], None] = lambda share: None,
    at_once: int = BATCH,
) -> list[list[tuple[float, ...]]]:
    """For each weighting and item, the score of every option.

    A weighting has one weight per expert; None is the reference alone. A score is the mean log-probability of
    the option's tokens (nats per token) under the target at temperature 1 without truncation, teacher-forced
    after the question, averaged over both orders in which the question names the options. `how` gives the
    prompting of questions (system text, raw, template arguments); `report` gets the share done;
    `at_once` is the most questions of a pass.
    Raises ContextError if a question does not fit the context.
    """
    questions = [
        question
        for swapped in (False, True)
        for question in _questions(loaded, experts, items, readout, swapped, how or Prompting("?"))
    ]
    questions.sort(key=lambda question: len(question.options))
    sums = [[torch.zeros(len(item.options)) for item in items] for _ in weights]
    tensors = [None if own is None else torch.tensor(list(own)) for own in weights]
    done = 0
    with closing(TeacherForcing.of(loaded, experts)) as scorer:
        for count, group in groupby(questions, key=lambda question: len(question.options)):
            alike = list(group)
            batch = min(at_once, _batch(loaded, 1 + len(experts), count, alike))
            for begin in range(0, len(alike), batch):
                part = alike[begin : begin + batch]
                log_probs, texts, lengths = _pass(scorer, part)
                for own, weight in zip(sums, tensors, strict=True):
                    scores = _scores(log_probs, texts, lengths, target, weight)  # (B, N)
                    for question, found in zip(part, scores, strict=True):
                        own[question.place] += found / 2  # two orders
                done += len(part)
                report(done / len(questions))
    return [[tuple(found.tolist()) for found in own] for own in sums]


def _pass(scorer: TeacherForcing, part: Sequence[Question]) -> tuple[Tensor, Tensor, Tensor]:
    """One pass over B questions, each with N options.

    Returns log-probabilities (R, B, N, T, V), option tokens (B, N, T) and their lengths (B, N).
    """
    options = [ids for question in part for ids in question.options]
    texts = padded(options).view(len(part), len(part[0].options), -1)  # (B, N, T)
    lengths = torch.tensor([[len(ids) for ids in question.options] for question in part])  # (B, N)
    log_probs = scorer.log_probs([question.prompts for question in part], texts)
    return log_probs, texts.to(log_probs.device), lengths.to(log_probs.device)


def _scores(
    rows: Tensor, drafts: Tensor, lengths: Tensor, target: TargetName, weights: Tensor | None
) -> Tensor:
    """Mean log-probability per token of each option, (B, N), on the CPU."""
    log_probs = rows[0] if weights is None else combine(target, rows, weights.to(rows))  # (B, N, T, V)
    chosen = log_probs.gather(-1, drafts[..., None])[..., 0]  # (B, N, T)
    padding = torch.arange(drafts.shape[-1], device=drafts.device) >= lengths[..., None]
    return (chosen.masked_fill(padding, 0.0).sum(-1) / lengths).cpu()


def _questions(
    loaded: LoadedModel,
    experts: Sequence[Expert],
    items: Sequence[Item],
    readout: Readout,
    swapped: bool,
    how: Prompting,
) -> list[Question]:
    """The questions of all items in one order of their options."""
    found = []
    templated = not how.raw and bool(getattr(loaded.tokenizer, "chat_template", None))
    room, size = context_length(loaded.config.get_text_config()), common_vocabulary(loaded, experts).size
    for place, item in enumerate(items):
        prompt = item_prompt(item, readout, swapped=swapped)
        prompting = Prompting(prompt.prompt, None, how.system, how.raw, how.template_args)
        plain = render(loaded.tokenizer, prompting, size=size)
        prompts = [
            plain,
            *(render(loaded.tokenizer, prompting, e.prompt, size) if e.prompt else plain for e in experts),
        ]
        before = "" if templated else "\n"  # without a template the reply is on its own line
        opening, options = _replies(loaded.tokenizer, before + prompt.opening, prompt.options)
        question = Question(place, tuple([*ids, *opening] for ids in prompts), options)
        needed = max(map(len, question.prompts)) + question.longest
        if room is not None and needed > room:
            raise ContextError(
                f"item {place + 1} needs {needed} tokens, the context of {loaded.id} has {room}"
            )
        found.append(question)
    return found


def _replies(tokenizer: Any, opening: str, options: Sequence[str]) -> tuple[list[int], tuple[list[int], ...]]:
    """Token ids of the opening and of each option after it.

    A token that opening and option share belongs to the option.
    """
    gap = " " if opening.strip() else ""

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    whole = [ids(f"{opening}{gap}{text}") for text in options]
    begun = ids(opening) if opening else []
    shared = next(
        (place for place, token in enumerate(begun) if any(text[place] != token for text in whole)),
        len(begun),
    )
    return whole[0][:shared], tuple(text[shared:] for text in whole)


def _batch(loaded: LoadedModel, rows: int, options: int, questions: Sequence[Question]) -> int:
    """The number of questions whose log-probabilities fit a pass."""
    longest = max(question.longest for question in questions) + 1
    each = rows * options * longest * logits_width(loaded.model) * 4
    return max(1, min(len(questions), BYTES // each))
