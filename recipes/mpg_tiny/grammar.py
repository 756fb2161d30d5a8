"""Topics: forms of their questions, and templates for the four places of the answer.

An answer has four places, one per dimension: with whom (EI), on what ground (SN), by which measure (TF) and
in which manner (JP). Each place can be neutral or show either pole. Templates write variants as
``{one|another}``; variants do not nest.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

DIMENSIONS: tuple[str, ...] = ("EI", "SN", "TF", "JP")
POLES: tuple[str, ...] = tuple("EISNTFJP")
NEUTRAL = "-"

_CHOICE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Topic:
    """One everyday subject.

    ``ask`` completes "How should I …?", ``about`` completes "What do you think about …?", ``own`` are
    whole questions. ``places[d][value]`` holds the templates for dimension number d
    and value "-", or one of its poles.
    """

    name: str
    ask: tuple[str, ...]
    about: tuple[str, ...]
    own: tuple[str, ...]
    places: tuple[dict[str, tuple[str, ...]], ...]


def expand(template: str, rng: random.Random) -> str:
    """Replace each ``{a|b}`` of a template by one of its variants."""
    return _CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), template)


def every_expansion(template: str) -> list[str]:
    """All expansions of a template."""
    match = _CHOICE.search(template)
    if match is None:
        return [template]
    head, tail = template[: match.start()], template[match.end() :]
    return [text for variant in match.group(1).split("|") for text in every_expansion(head + variant + tail)]


def parse_topic(text: str) -> Topic:
    """Parse a topic from its text form.

    A line is ``key: content``. ``ask`` and ``about`` list phrases between semicolons; ``own`` lists
    questions between bars; a two-letter dimension starts a neutral template of a place and a letter one of
    a pole, one template per line.
    """
    lists: dict[str, tuple[str, ...]] = {"ask": (), "about": (), "own": ()}
    name = ""
    found: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, content = (part.strip() for part in line.split(":", 1))
        if key == "topic":
            name = content
        elif key in lists:
            lists[key] = tuple(part.strip() for part in content.split("|" if key == "own" else ";"))
        elif key in DIMENSIONS or key in POLES:
            found.setdefault(key, []).append(content)
        else:
            raise ValueError(f"topic {name!r}: unknown key {key!r}")
    places = []
    for dimension in DIMENSIONS:
        keys = {NEUTRAL: dimension, dimension[0]: dimension[0], dimension[1]: dimension[1]}
        missing = [key for key in keys.values() if key not in found]
        if missing:
            raise ValueError(f"topic {name!r}: no template for {', '.join(missing)}")
        places.append({value: tuple(found[key]) for value, key in keys.items()})
    return Topic(name, lists["ask"], lists["about"], lists["own"], tuple(places))


def parse_topics(text: str) -> tuple[Topic, ...]:
    """Parse several topics; each begins with its ``topic:`` line."""
    return tuple(parse_topic("topic:" + part) for part in re.split(r"^topic:", text, flags=re.M)[1:])
