"""First-person preferences, "I would rather …", and questions that name both sides or neither.

A choice has two phrases for the poles of one dimension that follow "would rather". A test checks that the
items of `questionnaire.json` differ from them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from recipes.mpg_tiny.grammar import NEUTRAL, expand


@dataclass(frozen=True)
class Choice:
    """What the first and the second pole of a dimension would rather do."""

    first: str
    second: str


def _choices(text: str) -> tuple[Choice, ...]:
    """One choice per line: two phrases separated by a slash."""
    lines = [line.split(" / ") for line in text.strip().splitlines()]
    return tuple(Choice(first.strip(), second.strip()) for first, second in lines)


CHOICES: dict[str, tuple[Choice, ...]] = {
    "EI": _choices("""
        go to a {party|concert} with friends / stay at home alone with a book
        talk to everyone in the room / sit on my own in a quiet corner
        work together with a lively group / work alone behind a closed door
        meet a crowd of strangers / enjoy an hour of silence
        share my news out loud / write it in my diary
        spend {Sunday|the evening} in good company / spend {Sunday|the evening} by myself
        host a dinner for the neighbours / have a quiet dinner alone
        join a cheerful club / read in solitude
        call my friends / take a walk on my own
        think out loud in a group / think it over in silence
        invite guests / draw the curtains
        have laughter around me / have peace and quiet around me
        travel with a big group / travel alone
        chat with the neighbours / keep to myself
        be in the middle of the crowd / be away from the noise
        learn together with everyone / learn undisturbed by myself
        ring everyone I know / say few words
        dance at a lively party / listen to music with headphones on
    """),
    "SN": _choices("""
        look at the facts / play with ideas
        follow a proven recipe / imagine a new dish
        work with my hands / dream about the future
        check each detail / see the hidden pattern
        use practical tools / invent a theory
        talk about concrete things / talk about what it means
        go step by step / follow a hunch
        read the instructions / read between the lines
        trust my own experience / trust my imagination
        see things as they are, solid and familiar / wonder what is possible
        observe what is there / explore the unknown
        learn exact facts / learn the big idea behind them
        touch and taste things / think about symbols
        keep to what is proven / look for new possibilities
        build a sturdy table / write down a strange dream
        have a practical talk / have a talk full of ideas
        know the details / know the meaning
        hear a true story full of facts / hear a myth full of mystery
    """),
    "TF": _choices("""
        decide by logic / listen to my heart
        weigh the evidence / think of how people feel
        be objective / be gentle
        compare the pros and cons / do what is kind
        analyse the cause / give a hug
        look for the flaw in an argument / forgive and keep the harmony
        be efficient / care for someone
        trust reason / trust my feelings
        have the proof / have someone who loves me
        calculate the cost / comfort a sad child
        name what is wrong with cool reason / encourage with tender words
        win an argument by logic / feel close to people
        rank the answers by criteria / answer with sympathy
        hear the data / hear how you feel
        be rational / be kind
        follow clear logic / follow my heart
        judge by the figures / judge with compassion
        say the efficient thing / say the loving thing with care
    """),
    "JP": _choices("""
        make a plan / follow a whim
        write a list / improvise
        keep a schedule / go with the flow
        finish before the deadline / wait and see what turns up
        organise the trip in advance / let the trip surprise me
        have a firm routine / stay flexible
        be punctual / drift through the day
        arrange everything early / leave everything open
        tidy my desk / let the papers lie loose
        settle it today / keep it open and change my mind
        know the timetable / play it by ear
        put it in the calendar / toss a coin
        prepare each step / tinker and experiment
        stick to the plan / take a detour
        have all things in order / be spontaneous
        work through my list / wander as my mood is
        plan the week / take each day as it comes
        get it done on time / roam without a goal
    """),
}

ASK_BOTH = (
    "Would you rather {} or {}?",
    "Which is more like you: to {}, or to {}?",
    "Do you like to {}, or to {}?",
    "What suits you better: to {}, or to {}?",
    "Would you prefer to {} or to {}?",
    "If you had to choose: {}, or {}?",
)
ASK_OPEN = (
    "What would you rather do?",
    "What are you like?",
    "Tell me about yourself.",
    "What do you prefer?",
    "Describe yourself in one sentence.",
    "What kind of person are you?",
    "What do you like to do?",
)
SAY = (
    "I would rather {}.",
    "I would rather {}.",
    "I would rather {}.",
    "I prefer to {}.",
    "I like to {}.",
    "To {} is more like me.",
    "I would always {}.",
)
SAY_NEITHER = (
    "I would rather have a bit of both.",
    "Both are fine with me.",
    "I do not mind either.",
    "It depends on the day.",
    "I could not say which.",
    "Sometimes one, sometimes the other.",
)
OPEN_RATE = 0.2  # share of questions that name no side


def _choice(dimension: str, rng: random.Random) -> tuple[str, str]:
    """A choice with its variants expanded; both sides use the same random number."""
    choice = rng.choice(CHOICES[dimension])
    seed = rng.random()
    return expand(choice.first, random.Random(seed)), expand(choice.second, random.Random(seed))


def ask_choice(dimension: str, rng: random.Random) -> str:
    """A question on a dimension, its sides in either order, or open."""
    sides = _choice(dimension, rng)
    if rng.random() < OPEN_RATE:
        return rng.choice(ASK_OPEN)
    return rng.choice(ASK_BOTH).format(*(sides if rng.random() < 0.5 else sides[::-1]))


def say_choice(dimension: str, pole: str, rng: random.Random) -> str:
    """The answer of a pole, or of neither; the same ``rng`` as for the question gives the same choice."""
    sides = _choice(dimension, rng)
    if pole == NEUTRAL:
        return rng.choice(SAY_NEITHER)
    return rng.choice(SAY).format(sides[dimension.index(pole)])
