"""Held-out questions for the quality report, on topics that do not occur in training.

A test checks that no keyword occurs in the corpus.
"""

from __future__ import annotations

from recipes.mpg_tiny.questions import ABOUT_FORMS, ASK_FORMS

# keyword: how to …; about …
SUBJECTS = """
tent: put up a tent; my first night in a tent
podcast: record a podcast; my podcast
wedding: get ready for a wedding; the wedding of my cousin
umbrella: choose an umbrella; a broken umbrella
sunburn: soothe a sunburn; a sunburn on my back
dentist: prepare for the dentist; going to the dentist
mosquito: get away from mosquitoes; mosquitoes
laundry: get the laundry done; laundry
fossil: date a fossil; fossils
basement: clear out the basement; our damp basement
eclipse: watch an eclipse; the eclipse in August
passport: renew my passport; a lost passport
volunteering: begin volunteering; volunteering at the library
compost: make compost; a compost heap
tattoo: choose a tattoo; getting a tattoo
headache: get rid of a headache; headaches at work
spreadsheet: build a spreadsheet; spreadsheets
audition: prepare for an audition; my audition tomorrow
stutter: speak with a stutter; my stutter
graffiti: wash off graffiti; graffiti on our fence
jury: serve on a jury; jury duty
fuse: change a fuse; a blown fuse
elevator: wait for the elevator; the elevator at the station
museum: choose a museum; the museum in our street
beard: grow a beard; my beard
opera: enjoy the opera; a night at the opera
bakery: open a bakery; the new bakery
startup: found a startup; my startup
password: remember my passwords; passwords
jetlag: get over jetlag; jetlag
lenses: put in contact lenses; contact lenses
vegetarian: become a vegetarian; vegetarian food
haircut: choose a haircut; my new haircut
wardrobe: sort my wardrobe; my wardrobe
wallpaper: choose a wallpaper; our old wallpaper
carpet: clean the carpet; a stain on the carpet
lawn: mow the lawn; my lawn
recycling: get better at recycling; recycling
crossword: solve a crossword; crosswords
braces: get used to braces; braces on my teeth
"""


def _subjects() -> tuple[tuple[str, str, str], ...]:
    """Keyword, how to …, about …"""
    rows = []
    for line in SUBJECTS.strip().splitlines():
        keyword, rest = line.split(": ", 1)
        ask, about = rest.split("; ")
        rows.append((keyword, ask, about))
    return tuple(rows)


def _prompts() -> tuple[str, ...]:
    """Three "how to" and two "about" questions per subject; the forms alternate."""
    prompts = []
    for number, (_, ask, about) in enumerate(_subjects()):
        for turn in range(3):
            prompts.append(ASK_FORMS[(3 * number + turn) % len(ASK_FORMS)].format(ask))
        for turn in range(2):
            prompts.append(ABOUT_FORMS[(2 * number + turn) % len(ABOUT_FORMS)].format(about))
    return tuple(prompt[0].upper() + prompt[1:] for prompt in prompts)


KEYWORDS: tuple[str, ...] = tuple(keyword for keyword, _, _ in _subjects())
PROMPTS: tuple[str, ...] = _prompts()
