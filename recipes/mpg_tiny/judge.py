"""The marker judge of the package, with the markers of the bundled personas.

A marker is a word or phrase that no other pole, no neutral sentence and no voice of the grammar uses. Each
persona has many, spread over its sentences, so that none is decisive. A test checks them against the grammar.
"""

from __future__ import annotations

from mpg_cli.evaluation.markers import bundled, marker_pattern, sentences
from recipes.mpg_tiny.grammar import POLES
from recipes.mpg_tiny.voices import VOICES

__all__ = ["MARKERS", "marker_pattern", "personas_shown", "plain", "poles_shown", "sentences", "voice_shares"]

_MARKS = bundled()
MARKERS: dict[str, tuple[str, ...]] = {name: own.markers for name, own in _MARKS.marks.items()}


def plain(sentence: str) -> str:
    """The sentence in lower case, with common dialect words of the voices replaced."""
    return _MARKS.respelled(sentence)


def personas_shown(text: str) -> set[str]:
    """The poles and voices that a reply shows."""
    return _MARKS.shown(text)


def poles_shown(text: str) -> set[str]:
    """The poles whose markers occur in more sentences than those of the opposite pole."""
    return {pole for pole in POLES if _MARKS.shows(text, pole)}


def voice_shares(text: str) -> dict[str, float]:
    """For each voice, the share of sentences that contain one of its markers."""
    return {voice: _MARKS.share(text, voice) for voice in VOICES}
