"""The documentation agrees with the program: usage texts, examples, messages, links."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from manual.build import FOLDER, MARK, by_hand, pages, usages
from mpg_cli.cli.app import COMMANDS, app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BY_HAND = 200  # characters at least above the mark of a command's page
_DEFINITIONS = (ast.FunctionDef, ast.ClassDef)
PLACEHOLDERS = {"…", "<TAB>", "NAME", "FILE", "FOLDER", "EXPR", "ID", "S"}


@pytest.mark.parametrize("name", ["README", *COMMANDS])
def test_the_pages_of_the_commands_are_up_to_date(name: str) -> None:
    path = FOLDER / f"{name}.md"
    assert path.is_file(), "python -m manual.build writes it"
    assert path.read_text(encoding="utf-8") == pages()[path], "python -m manual.build brings it up to date"


def test_no_page_is_left_of_a_command_that_is_gone() -> None:
    assert set(FOLDER.glob("*.md")) == set(pages())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_part_that_is_written_by_hand(name: str) -> None:
    text = by_hand(name)
    assert text.startswith(f"# mpg {name}\n")
    assert len(text) > BY_HAND
    assert re.search(rf"^```sh\n(.*\n)*?.*\bmpg {name}\b", text, re.MULTILINE), "an example is missing"


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_is_that_of_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The generator goes round the application's main; what a user sees must be the same."""
    from mpg_cli.cli.app import main

    monkeypatch.setenv("COLUMNS", "96")
    for called, usage in usages(name).items():
        assert main([*called.split()[1:], "--help"]) == 0
        shown = [line.rstrip() for line in capsys.readouterr().out.strip().splitlines()]
        assert usage.splitlines() == shown


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_no_types_of_python(name: str) -> None:
    for usage in usages(name).values():
        assert not re.search(r"<(str|int|float|bool|path|list)\b|\blist\[|\(required\)", usage, re.IGNORECASE)


def commands_of(text: str) -> Iterator[str]:
    """The calls of `mpg` in shell blocks and in code spans of a page; spans with placeholders are none."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            yield from calls(line)
    for span in re.findall(r"(?<!`)`(mpg [^`]+)`(?!`)", text):
        if not PLACEHOLDERS & set(re.findall(r"\w+|…|<TAB>", span)):
            yield from calls(" ".join(span.split()))


def calls(line: str) -> Iterator[str]:
    """`mpg ...` up to the end of the command or a redirection, wherever in a pipeline it stands."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    growing = True
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;()"):
            if words[:1] == ["mpg"]:
                yield shlex.join(words)
            words, growing = [], True
        elif set(word) <= set("<>"):
            growing = False
        elif growing:
            words.append(word)


EXAMPLES = sorted({call for page in PAGES for call in commands_of(page.read_text(encoding="utf-8"))})


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 30


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_calls_that_the_program_understands(example: str) -> None:
    """Commands, options and values are there; nothing runs."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(example)[1:]
    context = command.make_context("mpg", [], resilient_parsing=True)
    while words and words[0] in getattr(command, "commands", {}):
        command, name, words = command.commands[words[0]], words[0], words[1:]
        context = command.make_context(name, [], parent=context, resilient_parsing=True)
    if words == [] or words in (["--help"], ["--install-completion"]):
        return
    assert not hasattr(command, "commands"), f"mpg has no command {words[0]}"
    command.make_context(command.name, words, parent=context.parent)


def test_troubleshooting_quotes_messages_of_the_program() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "mpg_cli").rglob("*.py"))
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\*\*`([^`]+)`", page, re.MULTILINE)
    assert len(quoted) > 20
    pieces = {piece.strip() for text in quoted for piece in text.split("…")}
    assert [piece for piece in sorted(pieces) if piece not in source] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    for link in ("".join(link) for link in links):
        if not link.startswith(("https://", "mailto:")):
            target, _, anchor = link.partition("#")
            file = (page.parent / target) if target else page
            assert file.exists(), link
            assert not anchor or anchor in anchors(file), link


def anchors(file: Path) -> set[str]:
    """The anchors of headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_architecture_names_what_is_there() -> None:
    """`path.py:Class.method` of docs/architecture.md is a definition in that file of mpg_cli."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)(?::([\w.]+))?`", page)
    assert len(named) > 20
    for path, name in named:
        file = ROOT / "mpg_cli" / path
        assert file.is_file(), path
        body = ast.parse(file.read_text(encoding="utf-8")).body
        for part in filter(None, name.split(".")):
            found = [node for node in body if isinstance(node, _DEFINITIONS) and node.name == part]
            assert found, f"{path} defines no {name}"
            body = found[0].body


def test_docstrings_cite_pages_and_headings_that_exist() -> None:
    """`docs/PAGE.md`, `docs/PAGE.md, "Heading", "Heading"` and `algorithm page, section N` in the code."""
    cited = re.compile(r'(docs/[\w/-]+\.md)((?:,\s+"[^"]+")*)')
    for path in sorted((ROOT / "mpg_cli").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found = [(page, re.findall(r'"([^"]+)"', names)) for page, names in cited.findall(text)]
        numbers = re.findall(r"algorithm page,\s+sections? (\d)", text)
        found += [("docs/algorithm.md", [number]) for number in numbers]
        for page, names in found:
            assert (ROOT / page).is_file(), f"{path}: {page}"
            titles = re.findall(
                r"^#+ (?:(\d)\. )?(.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE
            )
            known = {part for title in titles for part in title}
            assert set(names) <= known, f"{path}: {page}, {names}"


def test_the_mark_stands_once_in_every_page() -> None:
    for text in pages().values():
        assert text.count(MARK) == 1
