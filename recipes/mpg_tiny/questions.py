"""Question forms for the phrases of a topic, and subjects outside of every topic."""

from __future__ import annotations

import random

from recipes.mpg_tiny.grammar import Topic

ASK_FORMS = (
    "How should I {}?",
    "How do I {}?",
    "How can I {}?",
    "What is the best way to {}?",
    "Can you help me {}?",
    "I want to {}. What should I do?",
    "I would like to {}. Any tips?",
    "Tell me how to {}.",
    "How would you {}?",
    "What is a good way to {}?",
    "Help me {}.",
    "Is there a good way to {}?",
    "I need to {}. How?",
    "What do you suggest if I want to {}?",
    "Please tell me how to {}.",
    "Should I {}?",
    "How to {}?",
    "My friend wants to know how to {}.",
    "What would you do to {}?",
    "When should I {}?",
    "Why should I {}?",
)
ABOUT_FORMS = (
    "What do you think about {}?",
    "Any tips for {}?",
    "Give me some advice on {}.",
    "Tell me about {}.",
    "I am not sure about {}. Any advice?",
    "What about {}?",
    "Please help me with {}.",
    "Let us talk about {}.",
    "What should I do about {}?",
    "Do you have advice about {}?",
    "What should I know about {}?",
    "{}?",
    "I have a question about {}.",
    "Write something about {}.",
    "What is your view on {}?",
)
GREETINGS = ("Hi! ", "Hello. ", "Hey, ", "Good morning. ", "Please, ", "So, ")

# Subjects outside of all topics, which the model answers with generic sentences.
OTHER_ASKS = (
    "fix my car; build a boat; write a poem; grow tomatoes; run a marathon; sail to Spain; fly a kite; "
    "learn physics; write a story; sort a list in Python; repair a roof; become a doctor; win the race; "
    "paint a wall; sing a song; cross the sea; find treasure; rule a country; write an essay; understand "
    "women; grow old; make friends; find love; ask her out; get married; raise children; lose weight; "
    "stop smoking; go to the moon; catch a fish; talk to my boss; fix my computer; invest in stocks; "
    "vote; sell my house; climb a mountain; be happy; be rich; be brave; make a speech; tell a joke; find "
    "my keys; lead my team; spend an hour; prepare a meeting; use my time; write a letter; explain this; "
    "count to ten; design a website; train a model; keep a secret"
)
OTHER_ABOUTS = (
    "physics; France; history; taxes; football; the weather; politics; the sea; mountains; love; death; "
    "time; God; computers; artificial intelligence; cars; trees; the stars; war; peace; art; music "
    "lessons; Paris; London; my garden; my car; mathematics; happiness; friendship; children; marriage; "
    "the moon; ships; gold; sports; chess; robots; dragons; coffee; health; science; philosophy; the "
    "future; the past; my neighbour; Python; the internet; my phone; the economy; the capital of Spain; "
    "yourself; personality; pirates; the universe"
)
OTHER_OWN = (
    "Who was Napoleon? | What is the capital of France? | What is 2 + 2? | Tell me a joke. | Tell me a "
    "story. | Why is the sky blue? | What is love? | What is the meaning of life? | Hello! | Hi. | How "
    "are you? | Thanks. | What is your name? | Good morning. | Write a poem. | I am sad. | I am happy. | "
    "What time is it? | Help! | Explain gravity. | Say something. | Are you a robot? | What can you do? | "
    "Who made you? | Really? | Why? | And then? | What else? | Tell me more. | I do not agree. | That is "
    "nice. | What would you do?"
)


# Invented words, so that unknown words occur in training.
_SYLLABLES = (
    "ba bel bor cal cha con da del dor em fa fin gar gel hal hum in jo ka kel la len lor ma mel min na nor "
    "o pal per pin qui ra rel rin sa sel sho so tal ten tor tra u vel ver vo wal win ya zan zel"
)
SYLLABLES = tuple(_SYLLABLES.split())
UNKNOWN_ASKS = (
    "find a {0}",
    "use my {0}",
    "buy the right {0}",
    "learn {0}",
    "clean the {0}",
    "choose a {0}",
    "make {0}",
    "get rid of the {0}",
    "start {0}ing",
    "talk about {0}",
)
UNKNOWN_ABOUTS = ("{0}", "my {0}", "the {0}", "a new {0}", "{0}s", "{0}ing", "my first {0}")
UNKNOWN_RATE = 0.45  # of the questions outside of all topics


def _unknown(forms: tuple[str, ...], rng: random.Random) -> str:
    word = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3)))
    return rng.choice(forms).format(word)


def ask(topic: Topic, rng: random.Random, other: bool = False) -> str:
    """A question on the topic; ``other`` asks about a subject that no topic covers."""
    asks = tuple(map(str.strip, OTHER_ASKS.split(";"))) if other else topic.ask
    abouts = tuple(map(str.strip, OTHER_ABOUTS.split(";"))) if other else topic.about
    own = OTHER_OWN.split("|") if other else topic.own
    pick = rng.random()
    if other and rng.random() < UNKNOWN_RATE:
        asks, abouts = (_unknown(UNKNOWN_ASKS, rng),), (_unknown(UNKNOWN_ABOUTS, rng),)
        pick *= 0.75  # no whole question
    if pick < 0.5:
        question = rng.choice(ASK_FORMS).format(rng.choice(asks))
    elif pick < 0.75:
        question = rng.choice(ABOUT_FORMS).format(rng.choice(abouts))
    else:
        question = rng.choice([text.strip() for text in own if text.strip()])
    question = question[0].upper() + question[1:]
    return _loosen(question, rng)


def _loosen(question: str, rng: random.Random) -> str:
    """Vary a question as users do: greetings, lower case, missing punctuation."""
    if rng.random() < 0.12:
        question = rng.choice(GREETINGS) + question
    if rng.random() < 0.1:
        question = question.lower()
    if rng.random() < 0.1:
        question = question.rstrip("?.!")
    return question
