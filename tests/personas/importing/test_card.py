"""Cards by version: what they must have, and which of their fields get into the prompt."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.personas.importing import card as cards
from mpg_cli.personas.importing.card_prompt import draft_of_card
from mpg_cli.personas.importing.draft import Draft
from tests.support.cards import V1, encoded, png, text, v2, v3


def draft(card: Any, **options: str) -> Draft:
    raw = json.dumps(card).encode()
    return draft_of_card(cards.from_json(raw, "x.json"), "x.json", **options)


def prompt(card: Any, **options: str) -> str:
    return draft(card, **options).prompt or ""


def refused(raw: bytes | Any) -> str:
    with pytest.raises(UsageError) as error:
        cards.from_json(raw if isinstance(raw, bytes) else json.dumps(raw).encode(), "x.json")
    assert error.value.message.startswith("x.json: ")
    return error.value.message


def test_a_v1_card_in_full() -> None:
    found = draft(V1)
    assert found.title == "Haruhi"
    assert found.prompt == (
        "You are Haruhi. Reply as Haruhi would, and stay in character.\n\n"
        "Haruhi runs a club.\n\nHaruhi's personality: bold\n\nScenario: A school.\n\n"
        "An example conversation:\nUser: hi\nHaruhi: hello\n\n"
        "An example conversation:\nUser: bye\nHaruhi: no\n\n"
        "Haruhi begins a conversation like this: Hey User!"
    )
    assert found.description == "bold"
    assert found.source == "Character Card V1, x.json"
    assert found.extensions == {"character_card": V1}
    assert found.notices == ()


SECRETS = {
    "creator_notes": "SECRET notes",
    "tags": ["SECRET tag"],
    "creator": "SECRET creator",
    "character_version": "SECRET version",
    "alternate_greetings": ["SECRET greeting"],
    "extensions": {"SECRET": "SECRET"},
    "unknown_field": "SECRET",
    "character_book": {
        "name": "SECRET",
        "description": "SECRET",
        "entries": [
            {"keys": ["SECRET"], "content": "Glades glow.", "enabled": True, "constant": True,
             "name": "SECRET", "comment": "SECRET", "id": "SECRET"},
            {"keys": ["x"], "content": "SECRET", "enabled": True},
            {"keys": ["x"], "content": "SECRET", "enabled": False, "constant": True},
        ],
    },
}  # fmt: skip
SECRETS_V3 = {
    "group_only_greetings": ["SECRET"],
    "assets": [{"type": "icon", "uri": "SECRET", "name": "SECRET", "ext": "png"}],
    "source": ["SECRET source"],
    "creator_notes_multilingual": {"de": "SECRET"},
}


def test_text_that_may_not_enter_a_prompt_is_stored_elsewhere() -> None:
    for card in (v2(**SECRETS), v3(**SECRETS, **SECRETS_V3)):
        found = draft(card)
        assert "Glades glow." in (found.prompt or "")
        assert "SECRET" not in (found.prompt or "")
        assert found.extensions == {"character_card": card}
        assert found.tags == ("SECRET tag",)
        assert found.description == "SECRET notes"
        assert found.source is not None
        assert "by SECRET creator, version SECRET version" in found.source
        assert "the creator's notes: SECRET notes" in found.notices
        assert any("depend on key words" in notice and notice.endswith(": 1") for notice in found.notices)


def test_the_system_prompt_replaces_the_usual_one_and_may_hold_it() -> None:
    usual = "You are Ada. Reply as Ada would, and stay in character."
    assert prompt(v2()).startswith(usual)
    assert prompt(v2(system_prompt="")).startswith(usual)
    assert prompt(v2(system_prompt="Rhyme, {{char}}.")) == "Rhyme, Ada.\n\nWise."
    assert prompt(v2(system_prompt="{{ORIGINAL}} Rhyme.")) == f"{usual} Rhyme.\n\nWise."


def test_post_history_instructions_come_last() -> None:
    card = v2(post_history_instructions="{{original}}Stay {{char}}.", first_mes="Hi.\nYou!")
    assert prompt(card).endswith("Ada begins a conversation like this:\nHi.\nYou!\n\nStay Ada.")
    assert any("at the end of the prompt" in notice for notice in draft(card).notices)


def test_the_nickname_of_v3_is_char() -> None:
    assert "Sir A." in prompt(v3(nickname="Sir A.", description="{{char}} <bot> <char>"))
    assert "Ada" not in prompt(v3(nickname="Sir A.", description="{{char}} <bot> <char>"))
    assert "Sir A." not in prompt(v2(nickname="Sir A.", description="{{char}}"))
    assert "Ada" in prompt(v3(nickname="", description="{{char}}"))


def test_the_name_of_the_user_can_be_chosen() -> None:
    assert prompt(v2(description="{{user}}'s friend"), user="Eve").endswith("Eve's friend")


def test_line_ends_and_control_characters_of_a_prompt() -> None:
    assert prompt(v2(system_prompt="a\r\nb\rc\x1b[31m\u202ed\ud800")) == "a\nb\nc[31md\n\nWise."


@pytest.mark.parametrize("version", ["3.1", "4", 5.0])
def test_a_newer_version_is_imported_with_a_notice(version: Any) -> None:
    card = v3() | {"spec_version": version}
    assert any("newer than the supported" in notice for notice in draft(card).notices)
    assert draft(v3()).notices == draft(v3() | {"spec_version": "x"}).notices == ()


@pytest.mark.parametrize(
    "card, message",
    [
        ([], "not a character card but a list"),
        (None, "not a character card but nothing"),
        ({"messages": []}, "not a character card: it has no spec"),
        ({"name": "x"}, "not a character card: it has no spec"),
        ({"spec": "lorebook_v3", "data": {}}, "its spec is 'lorebook_v3' and its data a mapping"),
        ({"spec": ["chara_card_v2"], "data": {}}, "its spec is '['chara_card_v2']'"),
        ({"spec": "chara_card_v2"}, "its spec is 'chara_card_v2' and its data nothing"),
        ({"spec": "chara_card_v2", "data": []}, "its data a list"),
        ({"spec": "chara_card_v2", "data": {"name": ["x"]}}, "name must be text, not a list"),
        ({"instruction_template": "x"}, "no spec, name and description; its keys: instruction_template"),
        ({"entries": {"0": {"content": "x"}}}, "a lorebook, not a character"),
        ({"spec": "lorebook_v3", "data": {"entries": []}}, "a lorebook, not a character"),
        ({"spec": "chara_card_v2", "data": {"name": "x" * 201}}, "longer than 200 characters"),
        ({"spec": "chara_card_v3", "data": {"name": "x", "nickname": "y" * 201}}, "longer than 200"),
    ],
)
def test_what_is_no_card(card: Any, message: str) -> None:
    assert message in refused(card)


@pytest.mark.parametrize(
    "data, message",
    [
        ({"scenario": ["x"]}, "the card's scenario must be text, not a list"),
        ({"first_mes": True}, "the card's first_mes must be text, not true or false"),
        ({"mes_example": ["x"]}, "the card's mes_example must be text, not a list"),
        ({"character_book": "x"}, "character_book must have a list of entries, not text"),
        ({"system_prompt": "{{// nothing}}", "description": ""}, "the card has no text for a prompt"),
        ({"character_book": {"entries": [1]}}, "entry 1 of the card's lorebook is a number"),
        ({"description": "<bot>" * 200_000, "name": "x" * 200}, "longer than 1 million"),
    ],
)
def test_fields_of_the_wrong_type_are_reported(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        draft(v2(**data))
    assert message in error.value.message
    assert error.value.message.count("x.json: ") == 1


def test_null_and_odd_values_in_fields_that_do_not_matter() -> None:
    data = {"tags": None, "creator": 5, "alternate_greetings": "x", "extensions": None, "source": {}}
    assert draft(v3(**data, scenario=None, character_book=None)).tags == ()
    assert draft(v2(tags=["a", "a", 1, " ", "\x1b", "b\nc"])).tags == ("a", "b c")


@pytest.mark.parametrize(
    "raw, message",
    [
        (b'{"name": "a", "name": "b", "description": ""}', "duplicate key 'name'"),
        (b'{"name": "a", "description": NaN}', "NaN is not valid JSON"),
        (b'{"name": "a", "description": 1e999}', "too large"),
        (b'{"name": "a", "description": ' + b"9" * 5000 + b"}", "more than 300 digits"),
        (b'{"name": "\xff"}', "byte 0xff in line 1 is not UTF-8"),
        (b'{"name": "a",', "not JSON: "),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b" " * (8 << 20) + b"{}", "larger than 8 MiB"),
    ],
)
def test_json_that_no_honest_card_has(raw: bytes, message: str) -> None:
    assert message in refused(raw)


def test_a_byte_order_mark_is_skipped() -> None:
    assert cards.from_json(b"\xef\xbb\xbf" + json.dumps(V1).encode(), "x.json").name == "Haruhi"


def test_ccv3_wins_over_chara() -> None:
    data = png(text("chara", encoded(v2(name="Old"))), text("ccv3", encoded(v3(name="New"))))
    found = cards.from_png(data, "x.png")
    assert (found.name, found.kind) == ("New", "Character Card V3")
    assert cards.from_png(png(text("chara", encoded(V1))), "x.png").kind == "Character Card V1"


def test_the_first_of_several_texts_is_used_with_a_notice() -> None:
    one, two = text("chara", encoded(v2(name="One"))), text("chara", encoded(v2(name="Two")))
    found = cards.from_png(png(one, two), "x.png")
    assert found.name == "One"
    assert found.notices == ("the picture has 2 different texts 'chara'; the first one is used",)
    assert cards.from_png(png(one, one), "x.png").notices == ()


def in_lines(raw: bytes) -> bytes:
    return b"\r\n".join(raw[at : at + 76] for at in range(0, len(raw), 76)) + b"\r\n"


@pytest.mark.parametrize(
    "written",
    [
        in_lines,
        lambda raw: b" " + raw.replace(b"c", b"c \t") + b"\0",
        lambda raw: raw.rstrip(b"="),
        lambda raw: raw.replace(b"+", b"-").replace(b"/", b"_"),
        base64.b64decode,  # the JSON as it is
    ],
)
def test_base64_as_programs_write_it(written: Any) -> None:
    raw = encoded(v2(description="?>~???" * 25, name="Zo"))
    assert b"/" in raw
    assert b"+" in raw
    assert raw.endswith(b"=")
    found = cards.from_png(png(text("chara", written(raw))), "x.png")
    assert (found.name, found.text("description")) == ("Zo", "?>~???" * 25)


@pytest.mark.parametrize("bad", [b"QUJD*", b"QUJDQ", b"QUJ=QUJD", "é".encode()])
def test_what_is_not_base64(bad: bytes) -> None:
    with pytest.raises(UsageError, match="'chara' is not base64"):
        cards.from_png(png(text("chara", bad)), "x.png")


def test_utf_16_is_read() -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"):
        raw = json.dumps(v2(name="Žofie"), ensure_ascii=False).encode(encoding)
        assert cards.from_json(raw, "x.json").name == "Žofie"
    assert "byte 0x00 in line 1 is not UTF-16" in refused(b"\xff\xfe{\0\0")


def test_a_card_without_a_name_needs_one() -> None:
    for card in (
        v2(name="", description="{{char}} bakes."),
        {"personality": "", "first_mes": "I am {{char}}"},
    ):
        with pytest.raises(UsageError) as error:
            draft(card)
        assert (error.value.message, error.value.hint) == (
            "x.json: the card has no name", "choose one with --name",
        )  # fmt: skip
        found = draft(card, name="ann")
        assert found.title == "ann"
        assert (found.prompt or "").startswith("You are ann. ")
    assert draft(v2(), name="ann").title == "Ada"
    assert draft(v2(name=" ") | {"name": "Top"}).title == "Top"
    assert draft(v2() | {"name": "Top"}).title == "Ada"
    assert draft(v2(name=9)).title == "9"


def test_the_characters_note_stands_before_the_last_instructions() -> None:
    note = {"prompt": "{{char}} never lies.", "depth": 4, "role": "system"}
    found = draft(v2(extensions={"depth_prompt": note}, post_history_instructions="Be brief."))
    assert (found.prompt or "").endswith("Wise.\n\nAda never lies.\n\nBe brief.")
    assert any("Character's Note (depth_prompt) is near the end" in notice for notice in found.notices)
    for nothing in ({"prompt": ""}, {"prompt": None}, {"depth": 4}, None, []):
        assert draft(v2(extensions={"depth_prompt": nothing})).notices == ()


@pytest.mark.parametrize(
    "examples",
    [
        "<START> {{user}}: Hi\n{{char}}: Hello\n<START> {{user}}: Yo\n{{char}}: Hey",
        "<start>{{user}}: Hi\n{{char}}: Hello &lt;Start&gt;{{user}}: Yo\n{{char}}: Hey<START>",
        "< START >\n{{user}}: Hi\n{{char}}: Hello\nEND_OF_DIALOG\n{{user}}: Yo\n{{char}}: Hey",
    ],
)
def test_start_parts_examples_wherever_it_stands(examples: str) -> None:
    assert prompt(v2(mes_example=examples)).endswith(
        "Wise.\n\nAn example conversation:\nUser: Hi\nAda: Hello\n\n"
        "An example conversation:\nUser: Yo\nAda: Hey"
    )


def test_start_outside_of_the_examples_only_parts() -> None:
    found = draft(
        v2(description="Wise.\n<START>\n{{user}}: Hi", first_mes="<START> Hello.", system_prompt="x")
    )
    assert found.prompt == "x\n\nWise.\n\nUser: Hi\n\nAda begins a conversation like this: Hello."
    assert found.description == "Wise."


NOTES = (
    '<style>.a{color:red}</style>\n<div class="a"><img src="https://x/y.png">\n<!-- <p>old</p> -->'
    "<h2>Hello, {{user}} &amp; all!</h2></div>\r\n\r\n![pic](https://x/z.png)\n\n# More\n**Be** [kind](https://x)."
)


def test_notes_are_read_without_their_marks() -> None:
    found = draft(v2(creator_notes=NOTES, personality="bold"))
    assert found.description == "Hello, User & all!"
    assert found.notices == ("the creator's notes: Hello, User & all! More Be kind.",)
    assert found.extensions["character_card"]["data"]["creator_notes"] == NOTES


@pytest.mark.parametrize(
    "notes", ["<img src=x>", "![a](b)\n\n***\n---", "https://x/y", "<style>p{}", "<!-- x", "{{// x}}", "—"]
)
def test_notes_without_a_word_are_none(notes: str) -> None:
    found = draft(v2(creator_notes=notes, personality="* bold\n* *wise*"))
    assert (found.description, found.notices) == ("bold wise", ())


def test_macros_for_texts_of_the_card() -> None:
    note = {"depth_prompt": {"prompt": "Sir."}}
    card = v2(
        system_prompt="{{personality}}/{{scenario}}/{{mesExamples}}/{{persona}}/{{charDepthPrompt}}",
        personality="{{char}}: {user} knows",
        scenario="A {{charPersonality}}",
        mes_example="<START>Hi",
        extensions=note,
    )
    found = draft(card)
    first = (found.prompt or "").split("\n\nWise.")[0]
    assert first == "Ada: User knows/A {{charPersonality}}/Hi//Sir."
    assert "Scenario: A Ada: User knows\n" in (found.prompt or "")


def test_macros_that_stay_are_counted() -> None:
    notice = "unknown macros left unchanged: {{a0}}, {{a1}}, {{a2}}, {{a3}}"
    many = "".join(f"{{{{a{n}}}}}" for n in range(7))
    assert draft(v2(description=many)).notices == (f"{notice}, {{{{a4}}}} and 2 more",)
    assert draft(v2(description=many[:24])).notices == (notice,)


def test_a_name_in_another_script_stays() -> None:
    found = draft(v2(name="李白", description="{{char}} writes."), user="杜甫")
    assert found.prompt == "You are 李白. Reply as 李白 would, and stay in character.\n\n李白 writes."
    assert (found.title, found.description) == ("李白", "李白 writes.")
    assert draft(v2(name="Žofie")).description == "Žofie: Wise."


def test_the_same_file_gives_the_same_persona() -> None:
    card = v2(
        description="{{random::a::b::c}} {{pick:x,y}} {{roll:3d6+1}}", personality="{{random::a::b::c}}"
    )
    assert draft(card) == draft(card)
    assert (draft(v2(description="{{random::a::b::c}}")).prompt or "")[-1] in "abc"


def test_a_lorebook_beside_the_card_is_named() -> None:
    notice = "the linked lorebook 'Brim' is not in the file"
    assert draft(v2(extensions={"world": "Brim"})).notices == (notice,)
    assert draft(v2(extensions={"world": "Brim"}, character_book={"entries": []})).notices == (notice,)
    entry = {"content": "x", "constant": True}
    assert draft(v2(extensions={"world": "Brim"}, character_book={"entries": [entry]})).notices == ()


def test_a_picture_without_a_card() -> None:
    with pytest.raises(UsageError) as error:
        cards.from_png(png(text("Comment", b"x")), "x.png")
    assert error.value.message == "x.png: the picture has no character card"
    assert "download the original" in (error.value.hint or "")
    with pytest.raises(UsageError, match="not JSON"):
        cards.from_png(png(text("chara", base64.b64encode(b"hello"))), "x.png")
