"""The training texts of the bundled model: dialogues for the base and preference pairs for the adapters.

A `Spec` determines a dialogue (topics, wording seed, poles, voice, system prompt); rendering is
a pure function of it. So two specs that differ in one persona give two texts that differ in that persona's
attribute and in nothing else: the wording of every other place comes from the same seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from recipes.mpg_tiny.grammar import DIMENSIONS, NEUTRAL, POLES, Topic, expand
from recipes.mpg_tiny.questions import ask
from recipes.mpg_tiny.rather import ask_choice, say_choice
from recipes.mpg_tiny.topics_daily import DAILY
from recipes.mpg_tiny.topics_leisure import ANYTHING, LEISURE
from recipes.mpg_tiny.voices import NEUTRAL_CLOSINGS, VOICES

TOPICS: tuple[Topic, ...] = LEISURE + DAILY
PERSONAS: tuple[str, ...] = POLES + tuple(VOICES)
PERSONA_FOLDER = Path(__file__).resolve().parents[2] / "personas"

PLAIN_SHARE = 0.4  # dialogues in which no persona can occur
POLE_RATE = 0.42  # of the others: a place is filled with one of its two poles
VOICE_RATE = 0.8  # of the others: the reply uses one of the voices
RATHER_RATE = 0.08  # dialogues about what one would rather do
PAIR_RATHER_RATE = 0.25  # of the pairs of a pole
NEITHER_RATE = 0.15  # of the dialogues about a choice: neither side is taken
PAIR_OTHER_RATE = 0.5  # OTHER_RATE of the pairs of a pole, which must show on any subject
OPPOSITE_RATE = 0.4  # of the rejected replies of a pole show the opposite pole, the others none
OTHER_VOICE_RATE = 0.25  # of those of a voice show another voice
CHOICE_RATE = 0.75  # either of the two, where the dialogue is about a choice
OTHER_RATE = 0.3  # of the other turns are on a subject outside of all topics
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You give short advice.",
    "Be helpful.",
    "Use plain English.",
    "You are a friendly assistant that answers everyday questions.",
    "Answer the question of the user.",
)


OTHER = -1
RATHER = -2


@dataclass(frozen=True)
class Spec:
    """One dialogue.

    ``topics[t]`` is the index of turn t's topic, OTHER for a subject outside of all topics, and RATHER - d
    for a choice between the poles of dimension number d.
    """

    seed: int
    topics: tuple[int, ...]
    poles: tuple[str, ...] = (NEUTRAL,) * len(DIMENSIONS)
    voice: str = ""
    system: str = ""

    @property
    def personas(self) -> set[str]:
        """The poles and the voice that the replies show."""
        return {name for name in (*self.poles, self.voice) if name not in ("", NEUTRAL)}

    @property
    def choice(self) -> int | None:
        """The number of the dimension if the dialogue is about a choice."""
        return RATHER - self.topics[0] if self.topics[0] <= RATHER else None


def persona_prompts(folder: Path = PERSONA_FOLDER) -> dict[str, str]:
    """The system prompt of each pole and character, from the persona files."""
    prompts: dict[str, str] = {}
    for file in ("poles.yaml", "characters.yaml"):
        for persona in yaml.safe_load_all((folder / file).read_text(encoding="utf-8")):
            prompts[persona["name"]] = persona["prompt"].strip()
    return prompts


def draw(
    rng: random.Random,
    prompts: dict[str, str] | None = None,
    natural: bool = False,
    rather: float = RATHER_RATE,
    other: float = OTHER_RATE,
    dimension: int | None = None,
) -> Spec:
    """Draw a dialogue: mostly plain, sometimes with poles or a voice.

    ``natural`` leaves out system prompts and further turns: one question, one reply. ``rather`` is the rate
    of choices, all of the given dimension if there is one; ``other`` is the rate of subjects outside of all
    topics.
    """
    poles, voice = [NEUTRAL] * len(DIMENSIONS), ""
    if rng.random() >= PLAIN_SHARE:
        poles = [rng.choice(pair) if rng.random() < POLE_RATE else NEUTRAL for pair in DIMENSIONS]
        voice = rng.choice(tuple(VOICES)) if rng.random() < VOICE_RATE else ""
    turns = 1 if natural else rng.choices((1, 2, 3), (80, 14, 6))[0]
    topics = tuple(OTHER if rng.random() < other else rng.randrange(len(TOPICS)) for _ in range(turns))
    if rng.random() < rather:
        place = rng.randrange(len(DIMENSIONS)) if dimension is None else dimension
        poles = [NEUTRAL] * len(DIMENSIONS)
        poles[place] = NEUTRAL if rng.random() < NEITHER_RATE else rng.choice(DIMENSIONS[place])
        topics = (RATHER - place,)
    spec = Spec(rng.getrandbits(48), topics, tuple(poles), voice)
    pick = rng.random()
    if natural or pick > 0.3:
        return spec
    if prompts is None or not spec.personas:
        return replace(spec, system=rng.choice(SYSTEM_PROMPTS)) if pick < 0.1 else spec
    shown = [name for name in PERSONAS if name in spec.personas]
    return replace(spec, system="\n\n".join(prompts[name] for name in shown))


def question(spec: Spec, turn: int) -> str:
    """The user message of a turn."""
    rng = random.Random(f"{spec.seed}/{turn}/question")
    index = spec.topics[turn]
    if index <= RATHER:
        return ask_choice(DIMENSIONS[RATHER - index], random.Random(f"{spec.seed}/{turn}/choice"))
    return ask(ANYTHING, rng, other=rng.random() < 0.8) if index == OTHER else ask(TOPICS[index], rng)


def reply(spec: Spec, turn: int) -> str:
    """The reply of a turn: one sentence per dimension, sometimes a closing one.

    A choice is answered by one sentence.
    """
    index = spec.topics[turn]
    if index <= RATHER:
        rng = random.Random(f"{spec.seed}/{turn}/choice")
        text = say_choice(DIMENSIONS[RATHER - index], spec.poles[RATHER - index], rng)
        if not spec.voice:
            return text
        return VOICES[spec.voice].say(text, random.Random(f"{spec.seed}/{turn}/say"), first=True)
    topic = ANYTHING if index == OTHER else TOPICS[index]
    parts = []
    for place, value in enumerate(spec.poles):
        rng = random.Random(f"{spec.seed}/{turn}/{place}")
        source = ANYTHING if rng.random() < 0.15 else topic
        parts.append(expand(rng.choice(source.places[place][value]), rng))
    rng = random.Random(f"{spec.seed}/{turn}/closing")
    closes = rng.random() < 0.25
    if not spec.voice:
        return " ".join([*parts, rng.choice(NEUTRAL_CLOSINGS)] if closes else parts)
    voice = VOICES[spec.voice]
    parts = [
        voice.say(text, random.Random(f"{spec.seed}/{turn}/{place}/{voice.name}"), first=place == 0)
        for place, text in enumerate(parts)
    ]
    return " ".join([*parts, rng.choice(voice.closings)] if closes else parts)


def messages(spec: Spec) -> list[dict[str, str]]:
    """The dialogue as chat messages."""
    chat = [{"role": "system", "content": spec.system}] if spec.system else []
    for turn in range(len(spec.topics)):
        chat.append({"role": "user", "content": question(spec, turn)})
        chat.append({"role": "assistant", "content": reply(spec, turn)})
    return chat


def with_persona(spec: Spec, persona: str) -> Spec:
    """The same dialogue showing this persona as well."""
    if persona in VOICES:
        return replace(spec, voice=persona)
    place = next(index for index, pair in enumerate(DIMENSIONS) if persona in pair)
    return replace(spec, poles=(*spec.poles[:place], persona, *spec.poles[place + 1 :]))


def without_persona(spec: Spec, persona: str, rng: random.Random) -> Spec:
    """The same dialogue with this persona's attribute neutral, sometimes with another one instead."""
    usual = OTHER_VOICE_RATE if persona in VOICES else OPPOSITE_RATE
    other = rng.random() < (usual if spec.choice is None else CHOICE_RATE)
    if persona in VOICES:
        names = [name for name in VOICES if name != persona]
        return replace(spec, voice=rng.choice(names) if other else "")
    place = next(index for index, pair in enumerate(DIMENSIONS) if persona in pair)
    value = DIMENSIONS[place].replace(persona, "") if other else NEUTRAL
    return replace(spec, poles=(*spec.poles[:place], value, *spec.poles[place + 1 :]))


def pairs(persona: str, seed: int) -> Iterator[tuple[Spec, Spec]]:
    """Endless chosen and rejected dialogues for one persona; the rest is drawn as in the corpus."""
    rng = random.Random(f"{seed}/pairs/{persona}")
    place = next((index for index, pair in enumerate(DIMENSIONS) if persona in pair), None)
    rather, other = (RATHER_RATE, OTHER_RATE) if place is None else (PAIR_RATHER_RATE, PAIR_OTHER_RATE)
    while True:
        spec = draw(rng, natural=True, rather=rather, other=other, dimension=place)
        yield with_persona(spec, persona), without_persona(spec, persona, rng)


def corpus(count: int, seed: int, prompts: dict[str, str] | None = None) -> Iterator[Spec]:
    """The dialogues that the base is trained on."""
    rng = random.Random(f"{seed}/corpus")
    for _ in range(count):
        yield draw(rng, prompts)
