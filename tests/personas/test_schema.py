"""The schema of persona files: all errors of a document are reported at once with their lines."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from mpg_cli.errors import PersonaError
from mpg_cli.personas.schema import MAX_PROBLEMS, AdapterEntry, load_file
from tests.support.files import Write

FULL = """\
    name: pirate
    description: |
      An old sea captain;
      salt and swagger.
    prompt: |
      You are a pirate.
      Arr.
    adapters:
      - base: mpg-tiny
        path: adapters/pirate
      - base: Qwen/Qwen3-0.6B
        repo: someone/qwen3-pirate
        revision: 0123abcd
        subfolder: pirate/v2
      - base: Qwen/Qwen3-0.6B
        checkpoint: someone/qwen3-pirate-full
    use: both
    weight: 2
    tags: [character, sea]
    license: CC0-1.0
    source: https://example.org
    extensions: {depth: {prompt: no, at: 4}}
    ---
    name: INTJ
    parts: I:0.5 + N:0.5
    weight: 0.5
"""


def errors_of(file: Path) -> list[str]:
    with pytest.raises(PersonaError) as caught:
        load_file(file)
    return [line.removeprefix(f"{file}:") for line in caught.value.message.split("\n")]


def test_every_key_is_read(write: Write) -> None:
    file = write("p.yaml", FULL)
    pirate, intj = load_file(file)
    assert pirate.name == "pirate"
    assert pirate.description == "An old sea captain; salt and swagger."
    assert pirate.prompt == "You are a pirate.\nArr."
    assert [entry.base for entry in pirate.adapters] == ["mpg-tiny", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"]
    local, hub, full = pirate.adapters
    assert (local.path, hub.repo, full.checkpoint) == (
        "adapters/pirate",
        "someone/qwen3-pirate",
        "someone/qwen3-pirate-full",
    )
    assert (hub.revision, hub.subfolder) == ("0123abcd", "pirate/v2")
    assert (pirate.use, pirate.weight, pirate.tags) == ("both", 2.0, ("character", "sea"))
    assert (pirate.license, pirate.source) == ("CC0-1.0", "https://example.org")
    assert json.dumps(pirate.extensions) == '{"depth": {"prompt": "no", "at": 4}}'
    assert (pirate.parts, pirate.file, pirate.line) == (None, file, 1)
    assert (intj.parts, intj.weight, intj.prompt, intj.adapters) == ("I:0.5 + N:0.5", 0.5, None, ())
    assert intj.where == f"{file}:24"


def test_personas_are_frozen_and_hashable(write: Write) -> None:
    pirate = load_file(write("p.yaml", FULL))[0]
    assert len({pirate, pirate}) == 1
    with pytest.raises(FrozenInstanceError):
        pirate.weight = 3.0  # type: ignore[misc]


def test_defaults(write: Write) -> None:
    (plain,) = load_file(write("p.yaml", "name: x\nprompt: hi"))
    assert (plain.use, plain.weight, plain.description, plain.tags) == ("auto", 1.0, "", ())
    assert (plain.license, plain.source, plain.extensions) == (None, None, {})


OK = "name: x\nprompt: hi\n"
NOT_A_NAME = "is not a valid name: it must be a letter, then letters, digits, - and _"


@pytest.mark.parametrize(
    "text, error",
    [
        ("prompt: hi", "1: name: is missing"),
        ("name: x", "1: a persona needs a prompt, adapters or parts"),
        (
            "name: 4ever\nprompt: hi",
            f"1: name: '4ever' {NOT_A_NAME}",
        ),
        (
            "name: a b\nprompt: hi",
            f"1: name: 'a b' {NOT_A_NAME}",
        ),
        (
            "name: ñ\nprompt: hi",
            f"1: name: 'ñ' {NOT_A_NAME}",
        ),
        (f"name: {'a' * 65}\nprompt: hi", "1: name: longer than 64 characters"),
        ("name: true\nprompt: hi", "1: name: must be text, not true or false; put it in quotes"),
        ("name: 7\nprompt: hi", "1: name: must be text, not a number; put it in quotes"),
        ("name: x\nprompt:", "2: prompt: must be text, not nothing; put it in quotes"),
        ("name: x\nprompt: ' '", "2: prompt: is empty; remove the key"),
        ("name: x\nprompt: [hi]", "2: prompt: must be text, not a list"),
        (OK + "promt: hi", "3: promt: unknown key; did you mean prompt?"),
        (OK + "wieght: 1", "3: wieght: unknown key; did you mean weight?"),
        (OK + "Weight: 1", "3: Weight: unknown key; did you mean weight?"),
        (OK + "weight: heavy", "3: weight: must be a number, not text"),
        (OK + "weight: true", "3: weight: must be a number, not true or false"),
        (OK + "weight: '1'", "3: weight: must be a number, not text"),
        (OK + "weight: 1e4", "3: weight: must be within ±1000"),
        (OK + f"weight: {'9' * 300}", "3: weight: must be within ±1000"),
        (
            OK + "use: prmpt",
            "3: use: unknown value 'prmpt' (choose from auto, adapter, prompt, both); did you mean prompt?",
        ),
        (OK + "use: adapter", "3: use: 'adapter' needs the key adapters"),
        (OK + "use: both", "3: use: 'both' needs the key adapters"),
        (OK + "tags: sea", "3: tags: must be a list, not text"),
        (OK + "tags:\n- a\n- 3", "5: tags[1]: must be text, not a number"),
        (OK + "tags: ['']", "3: tags[0]: is empty"),
        (OK + "license: 0.1", "3: license: must be text, not a number; put it in quotes"),
        (OK + "extensions: 3", "3: extensions: must be a mapping, not a number"),
        (OK + "adapters: {}", "3: adapters: must be a list, not a mapping"),
        (OK + "adapters: []", "3: adapters: is empty; remove the key"),
        (OK + "adapters: [x]", "3: adapters[0]: must be a mapping, not text"),
        (
            OK + "adapters:\n- path: a",
            "4: adapters[0].base: is missing: the base model of this adapter",
        ),
        (
            OK + "adapters:\n- base: b",
            "4: adapters[0]: needs exactly one of path, repo, checkpoint, but has none of them",
        ),
        (
            OK + "adapters:\n- base: b\n  path: a\n  repo: a/b",
            "4: adapters[0]: needs exactly one of path, repo, checkpoint, but has path and repo",
        ),
        (
            OK + "adapters:\n- base: b\n  pth: a\n  repo: a/b",
            "5: adapters[0].pth: unknown key; did you mean path?",
        ),
        (
            OK + "adapters:\n- base: b\n  path: a\n  revision: v1",
            "6: adapters[0].revision: is only for a repository, not for a path",
        ),
        (
            OK + "adapters:\n- base: b\n  repo: https://evil.example/x",
            "5: adapters[0].repo: 'https://evil.example/x' is not a hub repository OWNER/NAME",
        ),
        (
            OK + "adapters:\n- base: b\n  repo: a/b\n  revision: 1234567",
            "6: adapters[0].revision: must be text, not a number; put it in quotes",
        ),
        (
            OK + "adapters:\n- base: b\n  path: a\n  base_digest: abcd",
            "6: adapters[0].base_digest: 'abcd' is not a digest of mpg train, which has "
            "24 hexadecimal digits",
        ),
        (
            OK + "adapters:\n- base: b\n  repo: a/b\n  revision: ../x",
            "6: adapters[0].revision: '../x' is not a commit, tag or branch",
        ),
        (
            OK + "adapters:\n- base: b\n  repo: a/b\n  subfolder: ../x",
            "6: adapters[0].subfolder: must not contain '..'",
        ),
        ("name: x\nparts: a\nprompt: hi", "3: prompt: is not allowed with parts"),
        ("name: x\nparts: a\nuse: prompt", "3: use: is not allowed with parts"),
        ("name: x\nparts: [a]", "2: parts: must be text, not a list"),
    ],
)
def test_mistake_is_reported_with_line_and_key(write: Write, text: str, error: str) -> None:
    assert errors_of(write("p.yaml", text)) == [error]


def test_broken_parts_keep_their_caret(write: Write) -> None:
    lines = errors_of(write("p.yaml", "name: x\nparts: I:0.5 + N;2"))
    hint = "  an expression is NAME or NAME:WEIGHT, joined by +, such as INTJ:0.7+pirate"
    assert lines == ["2: parts: ';' does not belong here", "  I:0.5 + N;2", "           ^", hint]


def test_all_mistakes_of_all_documents_are_one_error(write: Write) -> None:
    text = "name: x\nprompt: 3\nuse: bth\nweight: a\n---\nname: fine\nprompt: p\n---\nnme: y\nparts: a"
    assert errors_of(write("p.yaml", text)) == [
        "2: prompt: must be text, not a number; put it in quotes",
        "3: use: unknown value 'bth' (choose from auto, adapter, prompt, both); did you mean both?",
        "4: weight: must be a number, not text",
        "9: nme: unknown key; did you mean name?",
        "9: name: is missing",
    ]


def test_mistakes_without_end_are_cut(write: Write) -> None:
    lines = errors_of(write("p.yaml", OK + "".join(f"key{n}: 1\n" for n in range(20_000))))
    assert len(lines) == MAX_PROBLEMS + 1
    assert lines[-1] == f"1: and {20_000 - MAX_PROBLEMS} more errors"


@pytest.mark.parametrize(
    "place, words",
    [
        ("/etc", "not absolute"),
        ("C:/x", "not absolute"),
        ("\\\\server\\x", "not absolute"),
        ("../x", "must not contain '..'"),
        ("a/../../x", "must not contain '..'"),
        ("a\\..\\x", "must not contain '..'"),
        ("~/x", "~ is not expanded"),
        ("out", "is outside"),
        ("out/deeper", "is outside"),
        ("chain", "is outside"),
    ],
)
@pytest.mark.parametrize("key", ["path", "checkpoint"])
def test_places_outside_of_the_folder_are_refused(
    write: Write, tmp_path: Path, key: str, place: str, words: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "personas"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (folder / "chain").symlink_to("out")
    file = write("personas/p.yaml", f"name: x\nadapters:\n- base: b\n  {key}: '{place}'")
    (error,) = errors_of(file)
    assert error.startswith(f"4: adapters[0].{key}: ")
    assert words in error


def test_resolved_path_follows_links_inside_and_checks_again(write: Write, tmp_path: Path) -> None:
    file = write("personas/p.yaml", "name: x\nadapters:\n- base: b\n  path: link/a")
    folder = file.parent
    (folder / "real" / "a").mkdir(parents=True)
    (folder / "link").symlink_to("real")
    entry = load_file(file)[0].adapters[0]
    assert entry.resolved_path() == (folder / "real" / "a").resolve()
    # The link is turned after the file was read.
    (folder / "link").unlink()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(PersonaError, match="is outside"):
        entry.resolved_path()


def test_folder_reached_through_a_link_is_no_escape(write: Write, tmp_path: Path) -> None:
    write("real/p.yaml", "name: x\nadapters:\n- base: b\n  path: a")
    (tmp_path / "alias").symlink_to("real")
    entry = load_file(tmp_path / "alias" / "p.yaml")[0].adapters[0]
    assert entry.resolved_path() == (tmp_path / "real" / "a").resolve()


def test_checkpoint_is_local_if_its_folder_exists(tmp_path: Path) -> None:
    entry = AdapterEntry(base="b", folder=tmp_path, checkpoint="owner/model")
    assert entry.resolved_path() is None
    (tmp_path / "owner" / "model").mkdir(parents=True)
    assert entry.resolved_path() == (tmp_path / "owner" / "model").resolve()
    assert AdapterEntry(base="b", folder=tmp_path, repo="owner/model").resolved_path() is None


def test_link_that_goes_in_circles_is_refused_or_harmless(write: Write) -> None:
    file = write("p.yaml", "name: x\nadapters:\n- base: b\n  path: loop")
    (file.parent / "loop").symlink_to("loop")
    try:
        path = load_file(file)[0].adapters[0].resolved_path()
    except PersonaError as error:
        assert "cannot be followed" in error.message  # noqa: PT017 - before Python 3.13
    else:
        assert path is not None
        assert not path.exists()
