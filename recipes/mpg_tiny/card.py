"""The model card of the bundled model: its text, with counts and figures filled in."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from recipes.mpg_tiny.blends import BASE, POLE_CHARACTER, SINGLE, TYPE_CHARACTER
from recipes.mpg_tiny.corpus import OPPOSITE_RATE, TOPICS, corpus
from recipes.mpg_tiny.figures import SENTENCES, Figure
from recipes.mpg_tiny.grammar import POLES
from recipes.mpg_tiny.page import number, parameters, row
from recipes.mpg_tiny.voices import VOICES

DIALOGUES = 20000
_CARD = """\
---
license: cc0-1.0
language: en
pipeline_tag: text-generation
tags: [demonstration, llama, lora, persona]
---

# mpg-tiny

A demonstration that runs anywhere, not a language model to use. It exists so that `mpg` can blend personas
on any machine, in seconds and without a download, and so that its tests have a real model to run on.

- **What it is.** A Llama configuration of {millions:.1f} million parameters ({layers} layers, width
  {width}, {vocabulary:,} byte-level BPE tokens, context {context:,}), trained from scratch. It knows
  everyday questions on {topic_count} topics
  ({topics})
  and answers each in four or five short sentences, and a question of what it would rather do in one. To
  anything else it says something that suits anything.
  It knows no facts, cannot reason, count, or speak another language, and may name your question's topic
  wrong.
- **Its text.** Everything it has read was written by a small grammar in the project's repository
  (`recipes/mpg_tiny`): no text of anyone else, no web page, no output of another model. {neutral:.0%} of
  the texts are neutral. Each of the eight MBTI poles stands in about {pole:.1%} of them and each of
  {voice_count} voices in about {voice:.1%}; any given pair of personas is together in {together:.1%} or
  less.
- **Its adapters.** LoRA (rank {rank}, all linear layers) for the poles {poles} and for the characters
  {voices},
  in the persona library of `mpg`. Each was trained with TRL on pairs of replies that differ where that one
  persona stands and nowhere else: there the rejected reply is neutral, or shows the opposite pole (in
  {opposite:.0%} of a pole's pairs) or another voice (in a quarter of a voice's); of the pairs about a choice,
  three quarters do. No adapter has a blend
  as its goal. A pole shows in what a reply chooses: with whom (E, I), on what ground (S, N), by which
  measure (T, F), in which manner (J, P). A character shows in how every sentence is said.
- **What MBTI means here.** Four pairs of labels for ways of answering. Nothing about people is claimed.
- **Rebuild it.** `python -m recipes.mpg_tiny.build` in a checkout, seeded, on two CPU cores; `python -m
  recipes.mpg_tiny.report` measures it and writes this card.

Measured by a judge that counts markers, on {replies} questions about topics that training never saw,
temperature 1, product target, default weights: the share of replies that show the personas, from the worst
blend to the best, and of sentences whose pairs of words are pairs of the grammar. More is in
`docs/library.md` of the repository.

| personas | blends | shown | sentences |
|---|---|---|---|
{rows}

The chat template takes an optional system turn and several turns.
"""
_ROWS = {
    BASE: "none: each persona",
    SINGLE: "one pole or character",
    POLE_CHARACTER: "a pole and a character, both",
    TYPE_CHARACTER: "a type and a character, at least three poles of four and the voice",
}


def render_card(root: Path, replies: int, figures: Sequence[Figure]) -> str:
    """The text of the card."""
    base = root / "mpg_cli" / "data" / "mpg-tiny"
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    adapters = root / "personas" / "adapters" / "mpg-tiny"
    adapter = json.loads(next(adapters.glob("*/adapter_config.json")).read_text(encoding="utf-8"))
    drawn = [spec.personas for spec in corpus(DIALOGUES, 1)]
    counts = Counter(name for names in drawn for name in names)
    pairs = Counter(pair for names in drawn for pair in combinations(sorted(names), 2))
    text = _CARD.format(
        millions=parameters(base / "model.safetensors") / 1e6,
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        topic_count=len(TOPICS),
        topics=", ".join(topic.name for topic in TOPICS),
        neutral=sum(not names for names in drawn) / DIALOGUES,
        pole=sum(counts[name] for name in POLES) / len(POLES) / DIALOGUES,
        voice=sum(counts[name] for name in VOICES) / len(VOICES) / DIALOGUES,
        voice_count=len(VOICES),
        together=max(pairs.values()) / DIALOGUES,
        opposite=OPPOSITE_RATE,
        rank=adapter["r"],
        poles=", ".join(POLES),
        voices=", ".join(VOICES),
        replies=replies,
        rows="\n".join(_rows(figures)),
    )
    return "\n".join(map(_wrapped, text.split("\n")))


def _wrapped(line: str) -> str:
    """A line that a list has made too long, broken; rows of the table stay."""
    return line if line.startswith("|") else textwrap.fill(line, 110, subsequent_indent="  ")


def _rows(figures: Sequence[Figure]) -> list[str]:
    """One row a kind of blend."""
    passed = {figure.key: figure for figure in figures if figure.group == SENTENCES}
    rows = []
    for kind, label in _ROWS.items():
        shown = sorted((figure for figure in figures if figure.group == kind), key=lambda one: one.value)
        if shown:
            count = "1" if kind == BASE else str(len(shown))
            rows.append(row(label, count, f"{number(shown[0])} – {number(shown[-1])}", number(passed[kind])))
    return rows
