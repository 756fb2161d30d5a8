"""A blind reading: replies in random order under numbers, for a reader who is not told what they are.

`reading.jsonl` beside this file has what the reader wrote: {"number", "personas", "english"}, where
`personas` are those that the reader recognised, and `english` is good, flawed or bad; in its first line
{"sheet": DIGEST} the digest of what was read.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpg_cli.evaluation.judging import digest
from mpg_cli.io.lines import read_lines
from studies.library.blends import PAIRS, PLAIN, SINGLES, TYPES, Sought, sought
from studies.library.replies import Replies, Reply

FILE = Path(__file__).with_name("reading.jsonl")
SEED = 0
COUNTS = {PLAIN: 6} | dict.fromkeys(SINGLES, 4) | dict.fromkeys(PAIRS, 2) | dict.fromkeys(TYPES, 2)  # 100
ENGLISH = ("good", "flawed", "bad")


@dataclass(frozen=True)
class Read:
    """What the reader wrote about one reply."""

    number: int
    personas: tuple[str, ...]
    english: str


def drawn(replies: Replies) -> list[Reply]:
    """The replies to read, in the order of their numbers from 1; empty if there are too few."""
    if any(len(replies[blend]) < n for blend, n in COUNTS.items()):
        return []
    chance = random.Random(SEED)
    chosen = [reply for blend, n in COUNTS.items() for reply in chance.sample(list(replies[blend]), n)]
    chance.shuffle(chosen)
    return chosen


def sheet(chosen: Sequence[Reply], questions: Mapping[str, str]) -> str:
    """What the reader gets: lines of {number, prompt, reply}."""
    lines = [
        {"number": number, "prompt": questions[reply.prompt], "reply": reply.text}
        for number, reply in enumerate(chosen, 1)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read(sheet: str, file: Path = FILE) -> list[Read]:
    """What the reader wrote about this sheet; empty without a file, and if it is about another one."""
    if not file.exists():
        return []
    head, *lines = [json.loads(line) for line in read_lines(file, file.name)]
    if head != {"sheet": digest(sheet)}:
        return []
    return [Read(line["number"], tuple(line["personas"]), line["english"]) for line in lines]


def lines(chosen: Sequence[Reply], found: Sequence[Read]) -> list[str]:
    """The section of the page."""
    counts: dict[str, Counter[str]] = {}
    for one in found:
        reply = chosen[one.number - 1]
        what = sought(reply.blend)
        own = counts.setdefault(_kind(what), Counter())
        own["replies"] += 1
        own["shown"] += what.shown({name: name in one.personas for name in what.names})
        own["nothing"] += not one.personas
        own[one.english] += 1
    table = [
        "| replies | of | persona recognised | no persona recognised | " + " | ".join(ENGLISH) + " English |",
        "|---" * (4 + len(ENGLISH)) + "|",
    ]
    for kind, own in sorted(counts.items()):
        shown = "–" if kind == _kind(sought(PLAIN)) else str(own["shown"])
        cells = [kind, own["replies"], shown, own["nothing"], *(own[english] for english in ENGLISH)]
        table.append(f"| {' | '.join(map(str, cells))} |")
    return table


def _kind(what: Sought) -> str:
    match len(what.poles), len(what.characters):
        case 0, 0:
            return "the base"
        case 1, 0:
            return "one pole"
        case 0, 1:
            return "one character"
        case 1, 1:
            return "pole and character"
    return "type and character"
