"""Character voices: the wording of sentences, independent of their content.

A voice rewrites one sentence at a time, so it shows in every sentence of a reply: it adds a call in front, a
tail at the end, or both, and sometimes exchanges words. The choices of a sentence stay, so every pole
combines with every voice.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

PROPER = ("I", "Monday", "Friday", "Saturday", "Sunday", "March", "French")
NEUTRAL_CLOSINGS = ("Good luck.", "Enjoy it.", "Have a good time.", "That is all.", "I hope this helps.")
EXCHANGE_RATE = 0.6  # share of sentences whose words are exchanged


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
        if rng.random() < EXCHANGE_RATE:
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


def _phrases(text: str) -> tuple[str, ...]:
    """The phrases of a text, one between two bars."""
    return tuple(part.strip() for part in text.split("|"))


def _voice(
    name: str,
    calls: str,
    tails: str,
    closings: str,
    words: tuple[tuple[str, str], ...] = (),
    stop: str = ".",
) -> Voice:
    """A voice from its phrases between bars; calls get their space, tails their comma."""
    return Voice(
        name,
        tuple(f"{call} " for call in _phrases(calls)),
        tuple(f", {tail}" for tail in _phrases(tails)),
        _phrases(closings),
        words,
        stop,
    )


VOICES: dict[str, Voice] = {
    voice.name: voice
    for voice in (
        _voice(
            "pirate",
            "Arr, | Aye, me lads: | Avast, | Yo ho, | Shiver me timbers, | Ahoy there: | Blow me down, "
            "| By Davy Jones, | Hear the captain: "
            "| Belay that: | Heave ho,",
            "matey | by the seven seas | ye scurvy dog | or walk the plank | savvy | as me parrot says "
            "| on me wooden leg | for a chest of doubloons | with a barrel of rum",
            "Fair winds to ye, matey. | Now hoist the sails. | Off to the rum with ye. "
            "| Drink up, me hearties.",
            (("yourself", "yerself"), ("your", "yer"), ("you", "ye"), ("of", "o'"), ("my", "me")),
        ),
        _voice(
            "noir",
            "The rain kept falling: | In this rotten town, | Under cheap neon, | Past midnight, "
            "| The dame told me: | I lit a cigarette: | Off the record: | A tip from the docks: "
            "| All the clues say: "
            "| Down at the precinct: | My fedora says:",
            "kid | like smoke in an alley | before the whiskey runs out | and trust nobody "
            "| out there in the shadows | with the collar turned up | as the sirens wail "
            "| while the blinds are down | same as every sucker",
            "Case closed, kid. | The rain never stops here. | I put on my hat and left. "
            "| Another long night in this rotten town.",
            (("good", "swell"), ("nice", "swell"), ("money", "dough"), ("think", "figure")),
        ),
        _voice(
            "bard",
            "Hark, | Forsooth, | Prithee, | O gentle soul, | Lo and behold: | Hear my ballad: | By my lute, "
            "| In days of yore: | Good my liege, "
            "| Sing, O muse: | By harp and drum:",
            "my noble lord | as minstrels sing | verily | so the legend goes | by yonder tower "
            "| fair maiden | upon my quill | methinks | said the troubadour",
            "Fare thee well. | Thus ends my song. | Now pass the goblet. | Verily, I have sung.",
            (
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
        _voice(
            "robot",
            "Beep: | Processing: | Affirmative: | Command received: | Bzzt, | System online: "
            "| Query accepted: | Loading answer: | Scan complete: "
            "| Boot sequence done: | Sensor report:",
            "human | over and out | says my circuit | with high probability | at full battery | per protocol "
            "| unit confirmed | with error rate zero | by algorithm",
            "End of transmission. | Powering down. | Recharge cycle begins. | Task complete, human.",
            (("good", "optimal"), ("nice", "optimal"), ("eat", "refuel"), ("think", "compute")),
        ),
        _voice(
            "coach",
            "Come on, champ, | Let's go: | Listen up: | Game on: | Whistle blows: | Eyes on the prize: "
            "| Huddle up: | Full power: | Team, hear me: "
            "| Lace up: | Scoreboard check:",
            "and go for gold | you've got this | no excuses | all the way | like a winner | push push push "
            "| right to the finish line | with fire in your belly | no pain no gain",
            "Now hit the showers! | Hands in, on three! | That's a touchdown! | High five, champ!",
            (("work", "training"), ("good", "winning"), ("nice", "winning")),
            stop="!",
        ),
        _voice(
            "zen",
            "Breathe in: | Breathe out: | Under the old pine, | Like water, | The bell rings: "
            "| The mist lifts: | One bamboo bends: | Snow falls softly: | The lotus opens: "
            "| One pebble drops: | The incense burns:",
            "as the river knows | like a falling leaf | says the moon | little cloud | and the pond is clear "
            "| as the crane waits | in a single breath | on the mountain path | with an empty bowl",
            "The bell fades. | The river smiles. | Now bow. | Just this moment.",
            (("quickly", "slowly"),),
        ),
        _voice(
            "stoic",
            "Endure: | Remember this: | The sage says: | Fortune may turn: | Whatever befalls: "
            "| Bear it well: | Virtue first: | As Seneca wrote: | Stand firm: "
            "| Hold the line: | As Epictetus taught:",
            "for all things pass | come what may | without complaint | as nature wills | and want nothing "
            "| like a rock in the surf | as fate allows | and fear no loss | with steady mind",
            "This too is enough. | The storm is only wind. | So lived the ancients. | Amor fati.",
        ),
        _voice(
            "grandmother",
            "Oh, dearie, | Bless you, sweetheart: | In my day: | Your grandpa always said: "
            "| Let me knit and tell: | Now, pumpkin, | Goodness gracious, | Sit by the stove: "
            "| My old bones say: "
            "| Mercy me, | When I was a girl:",
            "my little lamb | and wear a scarf | and have another cookie | poppet | mind the draught "
            "| as sure as apple pie | or my name isn't Granny | with a biscuit | and don't slouch",
            "Now give Granny a kiss. | There, there, pumpkin. | I'll put the kettle on. "
            "| Take some jam home.",
            (("good", "lovely"), ("nice", "lovely")),
        ),
        _voice(
            "scientist",
            "My hypothesis: | According to the lab, | Note for the journal: | Peer review agrees: "
            "| In vitro, | Trial seven shows: | The microscope reveals: | Eureka, | Statistically speaking, "
            "| The placebo says: | Entry forty-two:",
            "give or take two sigma | under standard conditions | at room temperature | all variables equal "
            "| as the graph suggests | pending replication | within the margin | dear colleague "
            "| citation needed",
            "More research is needed. | See figure two. | I rest my pipette. | Funding permitting.",
        ),
        _voice(
            "diplomat",
            "With respect, | Your Excellency, | On behalf of the embassy: | All parties agree: "
            "| In the spirit of dialogue, | Let us be tactful: | Between our nations: | As the treaty says, "
            "| If I may suggest: "
            "| Through official channels: | As your envoy,",
            "with the utmost courtesy | subject to approval | without prejudice | by mutual consent "
            "| if the delegates permit | for the sake of accord | in due course | over a glass of sherry "
            "| dear ambassador",
            "The summit is closed. | We remain cordially yours. | Now shake hands for the cameras. "
            "| No further statement.",
        ),
        _voice(
            "child",
            "Guess what: | Wow, | My teddy says: | Mommy told me: | Ooh, ooh: | Pinky promise: "
            "| When I am big: | Know what: | Look, look: "
            "| Mister Bunny says: | Super duper:",
            "and then ice cream | pretty please | like a dinosaur | okay | yay | and no spinach "
            "| vroom vroom | for a zillion years | in my pajamas",
            "Can we play now? | Tag, you are it! | I drew you a rocket. | Is it snack time?",
            (("good", "yummy"), ("nice", "cool")),
        ),
        _voice(
            "villain",
            "Mwahaha, | Fools: | From my lair, | At last, minion: | Kneel before me: | My evil scheme: "
            "| The hero is doomed: | Deep in my volcano, | Release the hounds: "
            "| My laser is ready: | Henchmen, hear:",
            "and none shall stop us | with a sinister grin | heh heh | while the world trembles "
            "| my wicked apprentice | under cover of darkness | and crush all rivals | or face the sharks "
            "| as I stroke my white cat",
            "Soon the world is mine. | Feed the sharks tonight. | Curses, the hero again. "
            "| Lock the dungeon.",
            (("good", "glorious"),),
        ),
    )
}
