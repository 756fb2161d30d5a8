"""Characters of programs that have names of their own for the fields of a card."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mpg_cli.personas.importing import card as cards
from mpg_cli.personas.importing.card_prompt import draft_of_card
from mpg_cli.personas.importing.draft import Draft
from tests.support.cards import V1, v2


def draft(card: Any) -> Draft:
    return draft_of_card(cards.from_json(json.dumps(card).encode(), "x.json"), "x.json")


KATE = (
    "You are Kate. Reply as Kate would, and stay in character.\n\n"
    "An innkeeper.\n\n"
    "Scenario: A tavern.\n\n"
    "An example conversation: User: Hi\n\n"
    "Kate begins a conversation like this: Welcome, User!"
)
PYGMALION = {
    "char_name": "Kate",
    "char_persona": "An innkeeper.",
    "char_greeting": "Welcome, {{user}}!",
    "world_scenario": "A tavern.",
    "example_dialogue": "<START>{{user}}: Hi",
}
WEBUI = {
    "name": "Kate",
    "context": "An innkeeper.\n<START>\n{{user}}: Hi",
    "greeting": "Welcome, <USER>!",
    "example_dialogue": "",
    "turn_template": "",
}
AGNAI = {
    "kind": "character",
    "name": "Kate",
    "description": "A note to users.",
    "persona": {"kind": "text", "attributes": {"text": ["An innkeeper."]}},
    "scenario": "A tavern.",
    "greeting": "Welcome, {{user}}!",
    "sampleChat": "{{user}}: Hi",
    "characterBook": {"entries": [{"content": "Rain falls.", "constant": True}]},
}
CHARACTER_AI = {
    "character": {
        "name": "Kate",
        "title": "keeper",
        "description": "An innkeeper.",
        "greeting": "Welcome, {{user}}!",
        "definition": "{{random_user_1}}: Hi\nEND_OF_DIALOG",
    }
}

BACKYARD = {
    "character": {
        "aiName": "kate-2",
        "aiDisplayName": "Kate",
        "basePrompt": "A transcript of {character} and {user}.",
        "aiPersona": "An innkeeper.",
        "scenario": "A tavern.",
        "customDialogue": "#{user}: Hi",
        "firstMessage": "Welcome, {user}!",
        "authorNote": "",
        "temperature": 1.2,
    },
    "version": 1,
}


def test_pygmalion() -> None:
    found = draft(PYGMALION)
    assert (found.title, found.prompt) == ("Kate", KATE)
    assert found.source == "Pygmalion character, x.json"
    assert found.extensions == {"character_card": PYGMALION}


def test_files_that_have_the_names_of_pygmalion_and_of_v1() -> None:
    assert draft(V1 | {"char_name": "Kate", "char_persona": "x"}).prompt == draft(V1).prompt
    assert draft(PYGMALION | {"name": "", "description": ""}).prompt == KATE


@pytest.mark.parametrize("name", ["name", "bot"])
def test_text_generation_webui(name: str) -> None:
    found = draft({name: "Kate"} | {key: value for key, value in WEBUI.items() if key != "name"})
    assert (found.title, found.source) == ("Kate", "text-generation-webui character, x.json")
    assert (found.prompt or "").endswith(
        "An innkeeper.\n\nUser: Hi\n\nKate begins a conversation like this: Welcome, User!"
    )
    assert "Welcome, Kim!" in (draft(WEBUI | {"your_name": "Kim"}).prompt or "")


def test_agnai() -> None:
    found = draft(AGNAI)
    assert found.prompt == KATE.replace("An example", "Rain falls.\n\nAn example")
    assert found.description == "A note to users."
    listed = {"kind": "boostyle", "attributes": {"job": ["innkeeper", "cook"], "mood": []}}
    assert "job: innkeeper, cook\n" in (draft(AGNAI | {"persona": listed}).prompt or "")


def test_character_ai() -> None:
    found = draft(CHARACTER_AI)
    assert found.prompt == KATE.replace("Scenario: A tavern.\n\n", "")
    assert found.source == "Character.AI character, x.json"


def test_backyard() -> None:
    found = draft(BACKYARD)
    assert found.source == "Backyard character, x.json"
    first, rest = (found.prompt or "").split("\n\n", 1)
    assert first == "A transcript of Kate and User."
    assert rest == KATE.split("\n\n", 1)[1]


def test_a_card_without_its_spec_and_a_spec_without_its_card() -> None:
    card = v2(system_prompt="Rhyme.")
    assert draft({"data": card["data"]}).prompt == draft(card).prompt
    assert draft(V1 | {"spec": "chara_card_v2"}).prompt == draft(V1).prompt
    found = draft(card | {"spec": "chara_card_v9"})
    assert found.prompt == draft(card).prompt
    assert found.notices == ("unknown spec 'chara_card_v9'; it was read as a Character Card V2",)
