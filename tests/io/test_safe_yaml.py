"""Untrusted YAML: what is refused, how quickly, and how plain scalars are read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from mpg_cli.errors import PersonaError, UsageError
from mpg_cli.io.safe_yaml import MAX_BYTES, MAX_DEPTH, parse, read

FILE = Path("p.yaml")


@pytest.fixture(params=["libyaml", "python"])
def loader(request: pytest.FixtureRequest) -> Any:
    """Both of PyYAML's parsers, with which every test runs: one of them is all that some systems have."""
    if request.param == "python":
        return yaml.SafeLoader
    if not yaml.__with_libyaml__:
        pytest.skip("PyYAML without libyaml")
    return yaml.CSafeLoader


@pytest.mark.parametrize(
    "scalar, value",
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("N", "N"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("''", ""),
        ("'true'", "true"),
        ("12", 12),
        ("-3", -3),
        ("+4", 4),
        ("0", 0),
        ("0123", "0123"),
        ("0x1f", "0x1f"),
        ("0o7", "0o7"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2001-12-14", "2001-12-14"),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-1.", -1.0),
        ("'1e3'", "1e3"),
        ("1.2.3", "1.2.3"),
        ("<<", "<<"),
        ("9" * 400, "9" * 400),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("!!int 12", 12),
        ('"\\u263a\\t"', "☺\t"),
        ("'👩\u200d🚀'", "👩\u200d🚀"),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(scalar: str, value: Any, loader: Any) -> None:
    found = parse(f"key: {scalar}", FILE, loader=loader)[0].data["key"]
    assert found == value
    assert type(found) is type(value)


def test_lines_and_paths_of_every_key(loader: Any) -> None:
    text = "\n# comment\na: 1\nb:\n  - x\n  - c: {d: 2}\n---\na: 3\n"
    first, second = parse(text, FILE, loader=loader)
    assert first.data == {"a": 1, "b": ["x", {"c": {"d": 2}}]}
    assert first.lines == {
        ("a",): 3,
        ("b",): 4,
        ("b", 0): 5,
        ("b", 1): 6,
        ("b", 1, "c"): 6,
        ("b", 1, "c", "d"): 6,
    }
    assert (first.line, second.line) == (3, 8)
    assert first.where(("b", 1, "c")) == "p.yaml:6: b[1].c"
    assert first.where(("b", 0, "new")) == "p.yaml:5: b[0].new"
    assert first.where(("missing",)) == "p.yaml:3: missing"


def test_empty_documents_are_left_out(loader: Any) -> None:
    assert parse("", FILE, loader=loader) == ()
    assert [document.data for document in parse("# only\n---\n---\na: 1\n---\n", FILE, loader=loader)] == [
        {"a": 1}
    ]


@pytest.mark.parametrize(
    "text, where, words",
    [
        ("a: &x 1\nb: *x", "p.yaml:1: a", "anchors (&x)"),
        ("a: 1\nb: *x", "p.yaml:2: b", "aliases (*x)"),
        ("a: 1\nb:\n  c: 1\n  c: 2", "p.yaml:4: b.c", "duplicate key, first in line 3"),
        ("a: {b: 1, b: 2}", "p.yaml:1: a.b", "duplicate key"),
        ("a: !!python/object/apply:os.system [id]", "p.yaml:1: a", "tag"),
        ("a: !!binary aGk=", "p.yaml:1: a", "tag"),
        ("a: !!set {x}", "p.yaml:1: a", "tag"),
        ("a: !mine 1", "p.yaml:1: a", "tag"),
        ("a: !!int x", "p.yaml:1: a", "tag"),
        ("!!omap\na: 1", "p.yaml:1", "tag"),
        ("a: .nan", "p.yaml:1: a", "finite"),
        ("a:\n- 1\n- -.inf", "p.yaml:3: a[1]", "finite"),
        ("a: 1e999", "p.yaml:1: a", "finite"),
        ('a: "\\e[31m"', "p.yaml:1: a", "U+001B"),
        ('a: "\\u202e"', "p.yaml:1: a", "RIGHT-TO-LEFT OVERRIDE"),
        ("a: x\u2066y", "p.yaml:1: a", "LEFT-TO-RIGHT ISOLATE"),
        ('a: "\\0"', "p.yaml:1: a", "U+0000"),
        ('a: "\\x9b1m"', "p.yaml:1: a", "U+009B"),
        ('a: "\\r"', "p.yaml:1: a", "U+000D"),
        ('"\\e": 1', "p.yaml:1", "U+001B"),
        ('a: "\\ud800"', "p.yaml:1: a", ""),
        ('a: "\\UFFFFFFFF"', "p.yaml:1: a", ""),
        ("a: 1\nb: x\x1b[31m", "p.yaml:2: b", "U+001B"),
        ("# \x00", "p.yaml:1", "U+0000"),
        ("a: 1\n\ufeffb: 2", "p.yaml:2: a", "U+FEFF"),
        ("1: a", "p.yaml:1", "a key must be text, not a number"),
        ("true: a", "p.yaml:1", "a key must be text, not true or false"),
        ("a:\n  ~: 1", "p.yaml:2: a", "a key must be text, not nothing"),
        ("[a]: b", "p.yaml:1", "a key must be text"),
        ("- a", "p.yaml:1", "must be a mapping"),
        ("just text", "p.yaml:1", "must be a mapping"),
        ("a: b: c", "p.yaml:1: a", "not YAML"),
        ("a: 1\nb: [1, 2", "p.yaml:", "not YAML"),
        ("a: 'x", "p.yaml:", "not YAML"),
        ("a:\n\t- b", "p.yaml:2: a", "not YAML"),
        ("%YAML 3.0\n---\na: 1", "p.yaml:1", "not YAML"),
    ],
)
def test_refused_with_file_line_and_key(text: str, where: str, words: str, loader: Any) -> None:
    with pytest.raises(PersonaError) as caught:
        parse(text, FILE, loader=loader)
    assert caught.value.message.startswith(where)
    assert words in caught.value.message
    assert caught.value.message.isprintable()


def test_alias_bomb_is_refused_at_its_first_anchor(loader: Any) -> None:
    rows = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(PersonaError, match=r"p\.yaml:1: a0: anchors"):
        parse("\n".join(rows), FILE, loader=loader)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_quickly(opening: str, loader: Any) -> None:
    text = opening * 5000
    start = time.perf_counter()
    with pytest.raises(PersonaError):
        parse(f"a:\n  {text}", FILE, loader=loader)
    assert time.perf_counter() - start < 5


def test_depth_is_bounded_exactly(loader: Any) -> None:
    fits = "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert parse(fits, FILE, loader=loader)
    with pytest.raises(PersonaError, match="deeper than 32"):
        parse(fits.replace("[]", "[[]]"), FILE, loader=loader)


def test_file_size_is_bounded(tmp_path: Path, loader: Any) -> None:
    file = tmp_path / "big.yaml"
    file.write_bytes(b"a: 1\n#" + b"x" * (MAX_BYTES - 6))
    assert read(file, loader=loader)[0].data == {"a": 1}
    file.write_bytes(b"a: 1\n#" + b"x" * (MAX_BYTES - 5))
    with pytest.raises(PersonaError, match=r"big\.yaml: larger than 1 MiB"):
        read(file, loader=loader)


def test_bytes_and_files_that_cannot_be_read(tmp_path: Path, loader: Any) -> None:
    file = tmp_path / "p\x1b.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(PersonaError, match=r"p\\x1b\.yaml:2: byte 0xff is not UTF-8"):
        read(file, loader=loader)
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "missing.yaml", error=UsageError, loader=loader)
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read(file, loader=loader)[0].data == {"a": 1, "b": 2}
