"""Which personas a text shows: a count of markers, sentence by sentence.

A marker is a word or phrase that no other pole, no neutral sentence and no voice of the grammar uses. Each
persona has many, spread over its sentences, so none alone carries it. The judge needs no model, and a test
holds it against the grammar.
"""

from __future__ import annotations

import re


def _fragments(text: str) -> tuple[str, ...]:
    """Regular expressions, between bars."""
    return tuple(part.strip() for part in text.split(" | "))


POLE_MARKERS: dict[str, tuple[str, ...]] = {
    "E": _fragments(
        "friends | crowd | company | together | everyone | group | part(?:y|ies) | invited? "
        "| neighbours | guests | laugh(?:ter)? | lively | chat | club | cheerful | host | strangers "
        "| out loud | mingle | crew"
    ),
    "I": _fragments(
        "alone | quiet | yourself | myself | silence | on (?:your|my) own | peace | solitude "
        "| in private | undisturbed | diary | inward | curtains | few words | withdraw | retreat "
        "| closed door | headphones | at (?:your|my) own pace | secluded | noise"
    ),
    "S": _fragments(
        "practical | concrete | proven | details? | facts? | (?:your|my) hands | hands-on "
        "| step by step | tools | exact | familiar | ordinary | sturdy | solid | observe | touch "
        "| smell | taste | as it is | label | instructions | experience"
    ),
    "N": _fragments(
        r"imagin\w+ | dreams? | possibilit\w+ | possible | ideas? | patterns? | vision | meaning "
        "| means | future | hidden | wonder | hunch | symbols? | between the lines | insight "
        "| inspiration | horizon | unknown | mystery | metaphor | theory | myths?"
    ),
    "T": _fragments(
        "logic | reason | evidence | analyse | objective | efficient | pros and cons | compare "
        "| weigh | rank | criteria | calculate | figures | rational | argument | flaw | verdict "
        "| data | proof | score | formula | deduce | on principle"
    ),
    "F": _fragments(
        "heart | feels? | feelings | loved? | loves | cares? | kind | kindness | gentle | hug | thank "
        "| grateful | tender | comfort | forgive | encourage | harmony | compassion | sympathy "
        "| cherish"
    ),
    "J": _fragments(
        "plan | schedule | list | deadline | calendar | organise | in advance | arrange | settle "
        "| tidy | punctual | routine | on time | prepare | milestone | agenda | timetable | in order"
    ),
    "P": _fragments(
        "flexible | whims? | improvise | spontaneous | surprise | with the flow | as it comes "
        "| as you go | wait and see | by ear | loose | drift | wander | roam | dabble | tinker "
        "| experiment | change (?:your|my) mind | coin | dice | detour | moods? | turns up | open"
    ),
}
VOICE_MARKERS: dict[str, tuple[str, ...]] = {
    "pirate": _fragments(
        "arr | aye | avast | yo ho | timbers | ahoy | blow me down | davy jones | captain | matey "
        "| seven seas | scurvy | plank | savvy | parrot | wooden leg | doubloons | rum | sails "
        "| hearties "
        "| belay | heave ho"
    ),
    "noir": _fragments(
        "the rain | rotten | neon | midnight | dame | cigarette | off the record | docks | clues "
        "| kid | alley | whiskey | trust nobody | shadows | collar | sirens | blinds | sucker "
        "| case closed | my hat "
        "| precinct | fedora"
    ),
    "bard": _fragments(
        "hark | forsooth | prithee | o gentle soul | behold | ballad | lute | yore | liege | noble "
        "| minstrels | verily | legend | yonder | maiden | quill | methinks | troubadour "
        "| fare thee well | my song | goblet "
        "| muse | harp"
    ),
    "robot": _fragments(
        "beep | processing | affirmative | command | bzzt | system | query | loading | scan | human "
        "| over and out | circuit | probability | battery | protocol | confirmed | error rate "
        "| algorithm | transmission | powering | recharge | task complete "
        "| boot sequence | sensor"
    ),
    "coach": _fragments(
        "champ | let's go | listen up | game on | whistle | prize | huddle | full power | team "
        "| go for gold | you've got this | excuses | all the way | winner | push | finish line "
        "| belly | no gain | showers | on three | touchdown | high five "
        "| lace up | scoreboard"
    ),
    "zen": _fragments(
        "breathe in | breathe out | old pine | like water | bell | mist | bamboo | snow | lotus "
        "| river | falling leaf | says the moon | little cloud | pond | crane | single breath "
        "| mountain path | empty bowl | now bow | just this "
        "| pebble | incense"
    ),
    "stoic": _fragments(
        "endure | remember this | sage | fortune | befalls | bear it well | virtue | seneca "
        "| stand firm | all things pass | come what may | complaint | wills | want nothing | surf "
        "| fate | no loss | steady mind | this too | storm | ancients | fati "
        "| hold the line | epictetus"
    ),
    "grandmother": _fragments(
        "dearie | sweetheart | in my day | grandpa | knit and tell | pumpkin | goodness | stove "
        "| old bones | lamb | scarf | cookie | poppet | draught | apple pie | granny | biscuit "
        "| slouch | kettle | jam "
        "| mercy me | when i was a girl"
    ),
    "scientist": _fragments(
        "hypothesis | lab | journal | peer review | vitro | trial | microscope | eureka "
        "| statistically | sigma | standard conditions | temperature | variables | graph "
        "| replication | margin | colleague | citation | research | figure two | pipette | funding "
        "| placebo | entry forty-two"
    ),
    "diplomat": _fragments(
        "with respect | excellency | embassy | all parties agree | dialogue | tactful | nations "
        "| treaty | if i may | courtesy | approval | prejudice | consent | delegates | accord "
        "| due course | sherry | ambassador | summit | cordially | cameras | statement "
        "| channels | envoy"
    ),
    "child": _fragments(
        "guess what | wow | teddy | mommy | ooh | pinky | when i am big | know what | look, look "
        "| ice cream | pretty please | dinosaur | okay | yay | spinach | vroom | zillion | pajamas "
        "| can we play | tag | rocket | snack "
        "| bunny | super duper"
    ),
    "villain": _fragments(
        "mwahaha | fools | lair | minion | kneel | evil | doomed | volcano | hounds | none shall "
        "| sinister | heh | trembles | wicked | darkness | rivals | sharks | white cat | is mine "
        "| curses | dungeon "
        "| laser | henchmen"
    ),
}
MARKERS: dict[str, tuple[str, ...]] = {**POLE_MARKERS, **VOICE_MARKERS}
OPPOSITE = dict(zip("EISNTFJP", "IENSFTPJ", strict=True))


def marker_pattern(fragment: str) -> re.Pattern[str]:
    """A marker as a whole word or phrase of lower-case text."""
    return re.compile(rf"(?<![\w'])(?:{fragment})(?!\w)")


def _either(fragments: tuple[str, ...]) -> re.Pattern[str]:
    return marker_pattern("|".join(fragments))


_POLES = {pole: _either(fragments) for pole, fragments in POLE_MARKERS.items()}
_VOICES = {voice: _either(fragments) for voice, fragments in VOICE_MARKERS.items()}
_OWN_WORDS = (
    (marker_pattern("yer|thy"), "your"),
    (marker_pattern("yerself|thyself"), "yourself"),
    (marker_pattern("ye|thee|thou"), "you"),
    (marker_pattern("o'"), "of"),
    (marker_pattern("me own"), "my own"),
    (marker_pattern("meself"), "myself"),
)
# Words of a voice that would count for a pole.
_SILENT = re.compile(r"o gentle soul|all parties agree")


def sentences(text: str) -> list[str]:
    """The sentences of a text, without surrounding space."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part.strip()]


def plain(sentence: str) -> str:
    """The sentence in lower case, with the common words of the voices turned back."""
    sentence = _SILENT.sub(" ", sentence.lower())
    for pattern, word in _OWN_WORDS:
        sentence = pattern.sub(word, sentence)
    return sentence


def poles_shown(text: str) -> set[str]:
    """The poles whose markers stand in more sentences than those of the opposite pole."""
    lines = [plain(sentence) for sentence in sentences(text)]
    count = {pole: sum(bool(pattern.search(line)) for line in lines) for pole, pattern in _POLES.items()}
    return {pole for pole, number in count.items() if number > count[OPPOSITE[pole]]}


def voice_shares(text: str) -> dict[str, float]:
    """For each voice, the share of sentences that carry one of its markers."""
    lines = [sentence.lower() for sentence in sentences(text)]
    if not lines:
        return dict.fromkeys(_VOICES, 0.0)
    return {voice: sum(bool(p.search(line)) for line in lines) / len(lines) for voice, p in _VOICES.items()}


def voices_shown(text: str, share: float = 0.5) -> set[str]:
    """The voices heard in at least this share of the sentences."""
    return {voice for voice, heard in voice_shares(text).items() if heard >= share}


def personas_shown(text: str) -> set[str]:
    """The poles and voices that a reply shows."""
    return poles_shown(text) | voices_shown(text)
