"""A walk through the torch-free layer with nothing but the standard library and yaml.

Run by test_interpreters.py: `python self_check.py FOLDER [LIBRARY]`. Needs no pytest, so that any
interpreter can run it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mpg_cli.config import file as config
from mpg_cli.config.key import Key
from mpg_cli.errors import ExpressionError, PersonaError
from mpg_cli.personas.expression import Term, format_expression, parse
from mpg_cli.personas.registry import Registry, load_default, resolve
from mpg_cli.personas.schema import load_file

FILE = """\
name: I
prompt: You are quiet.
adapters: [{base: mpg-tiny, path: adapters/I}]
---
name: both
parts: I:0.5 + pirate
---
name: pirate
prompt: no
weight: 2
"""


def fails(expected: type[Exception], action: object, *arguments: object) -> str:
    try:
        action(*arguments)  # type: ignore[operator]
    except expected as error:
        return str(error)
    raise AssertionError(f"{arguments} did not raise {expected.__name__}")


def main(folder: Path, library: Path | None) -> None:
    terms = parse("INTJ:0.7 + pirate:-.5")
    assert terms == (Term("INTJ", 0.7), Term("pirate", -0.5))
    assert parse(format_expression(terms)) == terms
    assert fails(ExpressionError, parse, "a:1e3").endswith("\n  a:1e3\n     ^")

    file = folder / "p.yaml"
    file.write_text(FILE, encoding="utf-8")
    quiet, both, pirate = load_file(file)
    assert quiet.adapters[0].resolved_path() == (folder / "adapters" / "I").resolve()
    assert both.parts == "I:0.5 + pirate"
    assert pirate.prompt == "no"
    blend = resolve(parse("BOTH+pirate:-0.5"), Registry.load([folder]))
    assert [(expert.persona.name, expert.weight) for expert in blend.experts] == [("I", 0.5), ("pirate", 1.0)]

    wrong = folder / "wrong.yaml"
    wrong.write_text("name: x\nprompt: 3\nuse: bth\n", encoding="utf-8")
    message = fails(PersonaError, load_file, wrong)
    assert ":2: prompt: " in message
    assert ":3: use: " in message
    wrong.write_text("a: &a [*a]", encoding="utf-8")
    assert "anchors" in fails(PersonaError, load_file, wrong)
    assert "unknown persona" in fails(PersonaError, load_default([folder]).get, "nobody-of-that-name")

    settings = folder / "config.yaml"
    settings.write_text("max-tokens: 5\nstats: true\n", encoding="utf-8")
    kinds = {"max-tokens": int, "stats": bool}
    keys = {name: Key(name, kind, check=bool) for name, kind in kinds.items()}
    assert config.load_config(keys, settings).values == {"max_tokens": 5, "stats": True}

    if library is not None:
        found = Registry.load([library])
        assert not found.problems, found.problems
        for persona in found.personas:
            assert resolve([Term(persona.name)], found).experts

    heavy = {"torch", "transformers", "rich", "typer", "pydantic", "numpy"} & sys.modules.keys()
    assert not heavy, heavy


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    print(f"{sys.version_info[0]}.{sys.version_info[1]}")
