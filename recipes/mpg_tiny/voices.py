"""Character voices: how a sentence is said, whatever it says.

A voice rewrites one sentence at a time, so every sentence of a reply carries it: words are exchanged, and a
call in front, a tail at the end, or both are added. No voice touches what the sentence chooses, so any pole
can be heard through any voice.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

PROPER = ("I", "Monday", "Friday", "Saturday", "Sunday", "March", "French")
NEUTRAL_CLOSINGS = ("Good luck.", "Enjoy it.", "Have a good time.", "That is all.", "I hope this helps.")


@dataclass(frozen=True)
class Voice:
    """One character: calls come before a sentence, tails before its full stop; words are exchanged."""

    name: str
    calls: tuple[str, ...]
    tails: tuple[str, ...]
    closings: tuple[str, ...]
    words: tuple[tuple[str, str], ...] = ()
    stop: str = "."

    def say(self, sentence: str, rng: random.Random, first: bool = False) -> str:
        """The sentence in this voice; the first one of a reply always begins with a call."""
        body = sentence.rstrip(".")
        for word, other in self.words:
            body = re.sub(rf"\b{word}\b", other, body)
            body = re.sub(rf"\b{word.capitalize()}\b", other.capitalize(), body)
        call, tail = rng.choice(self.calls), rng.choice(self.tails)
        pick = rng.random()
        if first or pick < 0.7:
            body = call + _lower_first(body)
        if pick >= 0.4:
            body += tail
        return body + self.stop


def _lower_first(text: str) -> str:
    return text if text.split(" ", 1)[0].rstrip(",:") in PROPER else text[0].lower() + text[1:]


VOICES: dict[str, Voice] = {
    voice.name: voice
    for voice in (
        Voice(
            "pirate",
            calls=("Arr, ", "Aye, ", "Avast, ", "Yo ho, ", "Shiver me timbers, ", "Arr, me hearty: "),
            tails=(", matey", ", by the seven seas", ", ye scurvy dog", ", arr", ", says the captain"),
            closings=("Fair winds to ye, matey.", "Arr, hoist the sails.", "Now fetch the rum, matey."),
            words=(("yourself", "yerself"), ("your", "yer"), ("you", "ye"), ("and", "an'"), ("of", "o'")),
        ),
        Voice(
            "noir",
            calls=(
                "Listen, kid: ",
                "The rain kept falling: ",
                "In this rotten town, ",
                "Midnight, neon light: ",
            ),
            tails=(
                ", kid",
                ", like smoke in an alley",
                ", before the whiskey runs out",
                ", in the cold rain",
            ),
            closings=(
                "Case closed, kid.",
                "The rain never stops in this town.",
                "I lit a cigarette and left.",
            ),
            words=(("good", "swell"), ("nice", "swell"), ("money", "dough")),
        ),
        Voice(
            "bard",
            calls=("Hark, ", "Forsooth, ", "Prithee, ", "O gentle soul, ", "Lo and behold: "),
            tails=(", my noble lord", ", as the minstrels sing", ", good traveller", ", verily"),
            closings=("Fare thee well, noble soul.", "Thus ends my song.", "Verily, I have sung."),
            words=(
                ("yourself", "thyself"),
                ("your", "thy"),
                ("you are", "thou art"),
                ("you have", "thou hast"),
                ("you can", "thou canst"),
                ("you must", "thou must"),
                ("you do", "thou dost"),
                ("you need", "thou dost need"),
                ("you think", "thou dost think"),
                ("you go", "thou goest"),
                ("you want", "thou dost want"),
                ("you know", "thou dost know"),
                ("you feel", "thou dost feel"),
                ("you meet", "thou dost meet"),
                ("you wake", "thou dost wake"),
                ("you work", "thou dost work"),
                ("you", "thee"),
                ("it is", "'tis"),
                ("before", "ere"),
                ("often", "oft"),
            ),
        ),
        Voice(
            "robot",
            calls=("Beep: ", "Processing: ", "Affirmative, human: ", "Command received: ", "Bzzt, "),
            tails=(", human", ", beep", ", over and out", ", says my circuit", ", with high probability"),
            closings=("End of transmission.", "Beep, task complete.", "Powering down, human."),
            words=(("good", "optimal"), ("nice", "optimal"), ("eat", "refuel"), ("sleep", "recharge")),
        ),
        Voice(
            "coach",
            calls=("Come on, champ, ", "Let's go: ", "Listen up, champ: ", "Game on: ", "Whistle blows: "),
            tails=(", champ", ", and go for gold", ", you've got this", ", no excuses"),
            closings=("You've got this, champ!", "Now go for gold!", "Drop and give me ten, champ!"),
            words=(("work", "training"), ("good", "winning"), ("nice", "winning")),
            stop="!",
        ),
        Voice(
            "zen",
            calls=(
                "Breathe in: ",
                "Breathe out: ",
                "Under the old pine, ",
                "Like water, ",
                "The bell rings: ",
            ),
            tails=(", as the river knows", ", like a falling leaf", ", says the moon", ", little cloud"),
            closings=("The bell fades, little cloud.", "The river smiles.", "Now breathe, and bow."),
            words=(("quickly", "slowly"), ("rest", "sit")),
        ),
    )
}
