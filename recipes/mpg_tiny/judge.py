"""Which personas a text shows: a count of markers, sentence by sentence.

Each pole has words that no other pole, no neutral sentence and no voice of the grammar uses; each voice has
phrases of its own. So the judge needs no model, and a test holds it against the grammar.
"""

from __future__ import annotations

import re

POLE_MARKERS: dict[str, str] = {
    "E": r"friends|crowd|company|together|everyone|group|party|invite[d]?",
    "I": r"alone|quiet|yourself|silence|on your own|peace",
    "S": r"practical|concrete|proven|details?|facts?|your hands|hands-on|step by step",
    "N": r"imagin\w+|dreams?|possibilit\w+|possible|ideas?|patterns?|vision|means|meaning|future",
    "T": r"logic|reason|evidence|analyse|objective|efficient|pros and cons|compare|weigh",
    "F": r"heart|feel|feels|feelings|loved?|loves|cares?|kind|kindness|gentle",
    "J": r"plan|schedule|list|deadline|calendar|organise|in advance",
    "P": r"flexible|whims?|improvise|spontaneous|surprise|with the flow|as it comes|as you go|wait and see",
}
VOICE_MARKERS: dict[str, str] = {
    "pirate": r"arr|aye|avast|yo ho|timbers|hearty|matey|seven seas|scurvy|captain|ye|yer|yerself"
    r"|sails|rum|an'|o'",
    "noir": r"kid|the (?:cold )?rain|cold rain|rotten town|neon|like smoke|whiskey|swell|dough"
    r"|case closed|cigarette",
    "bard": r"hark|forsooth|prithee|gentle soul|behold|noble|minstrels|traveller|verily"
    r"|th(?:ou|ee|y|yself)|'tis|have sung|my song",
    "robot": r"beep|processing|affirmative|command received|bzzt|human|over and out|circuit|probability"
    r"|optimal|transmission|task complete|powering down|refuel|recharge",
    "coach": r"champ|let's go|game on|whistle|go for gold|you've got this|no excuses|winning|training",
    "zen": r"breathe (?:in|out)|old pine|like water|bell|river|falling leaf|says the moon|little cloud"
    r"|and bow",
}
OPPOSITE = dict(zip("EISNTFJP", "IENSFTPJ", strict=True))

_POLES = {pole: re.compile(rf"(?<![\w'])(?:{words})(?!\w)") for pole, words in POLE_MARKERS.items()}
_VOICES = {voice: re.compile(rf"(?<![\w'])(?:{words})(?!\w)") for voice, words in VOICE_MARKERS.items()}
_OWN_WORDS = tuple(
    (re.compile(rf"(?<![\w'])(?:{words})(?!\w)"), plain)
    for words, plain in (("yer|thy", "your"), ("yerself|thyself", "yourself"), ("an'", "and"), ("o'", "of"))
)
# Words of a voice that would count for a pole, and words that only look like a marker.
_SILENT = re.compile(r"o gentle soul|good company of")


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
