"""Whatever the bytes are, the outcome is a persona file that loads again, or one sentence."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpg_cli.errors import UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.text import HARMFUL
from mpg_cli.personas import schema
from mpg_cli.personas.importing import place
from mpg_cli.personas.importing.draft import Draft
from mpg_cli.personas.importing.source import read_draft
from tests.support.cards import V1, charx, chunk, encoded, png, text, v2, v3

MODELFILE = b'FROM llama3.2\nPARAMETER stop "x"\nSYSTEM """a\nb"""\nMESSAGE user hi\nADAPTER ./x\nLICENSE y\n'
SEEDS = [
    json.dumps(V1).encode(),
    json.dumps(v2(tags=["a"], character_book={"entries": []})).encode(),
    json.dumps(v3(system_prompt="{{original}} {{random:a,b}} {{//x}}", nickname="B")).encode(),
    MODELFILE,
    MODELFILE.decode().encode("utf-16"),
    b"name: Chiharu\ngreeting: |-\n  Hey!\ncontext: |-\n  <START>{{user}}: {{roll:2d6}}\n",
    json.dumps({"char_name": "Kate", "char_persona": "x", "example_dialogue": "<START>y"}).encode(),
    png(text("chara", encoded(V1)), text("ccv3", encoded(v3()))),
    png(chunk(b"zTXt", b"chara\0\0" + zlib.compress(encoded(V1)))),
    png(chunk(b"iTXt", b"ccv3\0\1\0\0\0" + zlib.compress(encoded(v3())))),
    charx({"card.json": json.dumps(v3()).encode(), "assets/x": b"x"}),
]
# Values that JSON can hold and that are seldom what a reader expects.
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=12),
        st.sampled_from(
            ["{{char}}", "<user>", "a\r\nb", "\x1b[2J", "\u202e", "\ud800", "no", "1e3", "@@activate\nx"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)
FIELDS = (
    "name", "nickname", "description", "personality", "scenario", "first_mes", "mes_example", "system_prompt",
    "post_history_instructions", "creator_notes", "tags", "creator", "character_version", "source",
    "alternate_greetings", "character_book", "extensions", "assets", "creator_notes_multilingual",
)  # fmt: skip
SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def outcome(data: bytes) -> str | UsageError:
    """The persona file that `data` becomes, read back; or the words in which it was refused."""
    try:
        draft = read_draft("-", io.BytesIO(data))
        return loaded(draft).text
    except UsageError as refusal:
        return refusal


def is_harmless(message: str | UsageError) -> bool:
    """A file, or a message, without characters that a terminal would obey."""
    text = message if isinstance(message, str) else f"{message.message}{message.hint or ''}"
    return bool(text) and HARMFUL.search(text) is None


def loaded(draft: Draft) -> place.Imported:
    """The persona file of a draft, which must load again as the same persona."""
    new = place.prepare(draft, Path("personas"), "somebody", "x")
    assert len(new.text.encode()) <= safe_yaml.MAX_BYTES
    (document,) = safe_yaml.parse(new.text, Path("somebody.yaml"))
    assert schema.parse_document(document).prompt == draft.prompt
    return new


@pytest.mark.parametrize("seed", SEEDS)
def test_the_seeds_are_good(seed: bytes) -> None:
    good = seed.replace(b"ADAPTER ./x\n", b"").replace("ADAPTER ./x\n".encode("utf-16-le"), b"")
    assert isinstance(outcome(good), str)


@SETTINGS
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    assert is_harmless(outcome(data))


@SETTINGS
@given(st.sampled_from(SEEDS), st.data())
def test_seeds_with_bytes_changed_cut_and_doubled(seed: bytes, data: st.DataObject) -> None:
    mutated = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(mutated) - 1)))
        size = data.draw(st.integers(0, 8))
        mutated[at : at + size] = data.draw(st.binary(max_size=8))
    assert is_harmless(outcome(bytes(mutated)))


@SETTINGS
@given(
    st.sampled_from((b"tEXt", b"zTXt", b"iTXt")), st.sampled_from((b"ccv3", b"chara")), st.binary(max_size=80)
)
def test_any_text_in_a_picture_with_a_right_checksum(kind: bytes, keyword: bytes, content: bytes) -> None:
    assert is_harmless(outcome(png(chunk(kind, keyword + b"\0" + content))))
    assert is_harmless(outcome(png(chunk(kind, content))))


@SETTINGS
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6), st.sampled_from((2, 3)))
def test_any_values_in_the_fields_of_a_card(fields: dict[str, Any], version: int) -> None:
    card = (v2 if version == 2 else v3)(**fields)
    assert is_harmless(outcome(png(text("ccv3", base64.b64encode(json.dumps(card).encode())))))


@SETTINGS
@given(JSON)
def test_extensions_come_back_as_they_were(extensions: Any) -> None:
    """What has no control characters is kept to the last bit."""
    card = v2(extensions={"app": extensions})
    new = loaded(read_draft("-", io.BytesIO(json.dumps(card).encode())))
    kept = schema.parse_document(safe_yaml.parse(new.text, Path("x.yaml"))[0]).extensions["character_card"]
    if not any("extensions.app" in notice for notice in new.notices):
        assert kept == card


@SETTINGS
@given(st.text(alphabet='FROMSYTEAPLG \n\t#"abc:/.{}\\', max_size=120))
def test_any_modelfile(lines: str) -> None:
    assert is_harmless(outcome(f"FROM x\nSYSTEM y\n{lines}".encode()))


def extended(value: Any) -> place.Imported:
    return loaded(Draft(title="x", prompt="y", extensions={"card": {"value": value, "kept": "yes"}}))


def document(new: place.Imported) -> Any:
    return schema.parse_document(safe_yaml.parse(new.text, Path("x.yaml"))[0]).extensions["card"]


def test_what_is_nested_too_deeply_is_left_out_and_named() -> None:
    deep: Any = "bottom"
    for _ in range(29):
        deep = [deep]
    assert document(extended(deep))["value"] == deep
    new = extended([deep])
    assert document(new)["value"] != [deep]
    assert any("nested too deeply" in notice and "card.value[0][0]" in notice for notice in new.notices)


def test_control_characters_are_taken_out_and_named() -> None:
    new = extended({"a": "x\x1b[2Jy\r\nz", "b\x00": 1, "b": 2, "c": "\ud800", "d": "a\r\nb"})
    assert document(new)["value"] == {"a": "x[2Jy\nz", "b": 1, "c": "", "d": "a\nb"}
    (line_ends, cleaned, dropped) = new.notices
    assert line_ends == "Windows line ends replaced in card.value.a, card.value.d"
    assert cleaned == "control characters removed from card.value.a, card.value.b, card.value.c"
    assert dropped.endswith("card.value.b")


def test_what_is_too_large_is_left_out_and_named() -> None:
    assets = [{"name": "small", "uri": "x" * 100}, {"name": "large", "uri": "data:" + "A" * (2 << 20)}]
    new = extended({"assets": assets, "more": "z" * 900_000})
    assert document(new) == {
        "value": {"assets": [assets[0], {"name": "large"}], "more": "z" * 900_000},
        "kept": "yes",
    }
    assert new.notices == ("too large for a persona file and left out: card.value.assets[1].uri",)


def test_many_small_things_that_are_too_large_together() -> None:
    new = extended([[str(k) * 20 for k in range(1000)] for _ in range(60)])
    assert document(new)["kept"] == "yes"
    assert any("too large" in notice for notice in new.notices)


def test_a_prompt_that_is_too_large_is_refused() -> None:
    with pytest.raises(UsageError, match="the prompt is larger than the 1 MiB of a persona file"):
        loaded(Draft(title="x", prompt="y" * (1 << 20), extensions={"a": "b"}))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    with file.open("wb") as stream:
        stream.write(png()[:8])
        stream.truncate(1 << 40)
    with pytest.raises(UsageError, match="larger than 64 MiB"):
        read_draft(str(file), io.BytesIO())
    zipped = tmp_path / "x.charx"
    with zipped.open("wb") as stream:
        stream.write(b"PK\3\4")
        stream.truncate(1 << 40)
    tracemalloc.start()
    with pytest.raises(UsageError, match="larger than 512 MiB"):
        read_draft(str(zipped), io.BytesIO())
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_device_without_end() -> None:
    with pytest.raises(UsageError, match="larger than 64 MiB"):
        read_draft("/dev/zero", io.BytesIO())


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("x.png", b"hello", "not a PNG file, despite its name"),
        ("x.charx", b"hello", "not a zip file"),
        ("x.json", b"hello", "not JSON"),
        ("x.webp", b"RIFF\0\0\0\0WEBP", "a WebP picture has no character card"),
        ("x.json.gz", b"\x1f\x8b\x08\0", "a gzip archive has no character card"),
        ("x.png", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer has no character"),
        ("x.png", b"\xff\xd8\xff\xe0", "a JPEG picture has no character card"),
        ("x.gguf", b"GGUF\3\0\0\0", "a GGUF file has weights, not a persona"),
        ("x.yaml", b"name: x", "not a character card: it has no spec, name and description; its keys: name"),
        ("x.txt", b"Dear all,", "unknown instruction 'Dear'"),
        ("x", b"\x7fELF\0\0", "neither a character nor a Modelfile"),
        ("x.jsonl", b'{"user_name": "a", "chat_metadata": {}}\n{"mes": "b"}', "a SillyTavern chat, not"),
        ("x.jsonl", b'{"name": "a"}\n{"name": "b"}', "not JSON: extra data at line 2"),
        ("x", b'{"gamestarted": true, "prompt": "a", "memory": "b"}', "a KoboldAI story, not"),
        ("x", b'{"scenarioVersion": 3, "title": "a", "prompt": "b"}', "a NovelAI scenario, not"),
        (
            "x",
            b'{"temp": 1, "top_p": 1, "name": "a", "prompt": "b", "prompts": []}',
            "its keys: temp, top_p,",
        ),
        (
            "x",
            b'{"name": "a", "desciption": "c", "prompt": "b", "tag": []}',
            "a persona file, which needs no",
        ),
        ("x", b"FROM: llama3", "unknown instruction 'FROM:'; did you mean FROM?"),
        ("x", b" \n", "is empty"),
        ("x.yaml", b"# nothing\n", "is empty"),
        ("x.yaml", b"name: a\ncontext: b\n---\nname: c\ncontext: d\n", "2 documents in one file"),
        ("x.yaml", b"name: {{char}}\n", "x.yaml:1: name: a key must be text"),
    ],
)
def test_other_files_are_distinguished(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as error:
        read_draft(str(tmp_path / name), io.BytesIO())
    assert message in error.value.message


def test_a_character_that_has_a_prompt_too_is_no_persona_file() -> None:
    card = {"name": "a", "description": "b", "personality": "c", "prompt": "d", "tags": []}
    assert read_draft("-", io.BytesIO(json.dumps(card).encode())).title == "a"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for name, message in (("gone", "No such file"), (".", "is a folder"), ("a\0b", "null byte")):
        with pytest.raises(UsageError, match=message):
            read_draft(str(tmp_path) + "/" + name, io.BytesIO())
