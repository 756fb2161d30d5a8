"""Imports point downward, in mpg_cli also those inside functions and by a module's name in a text; tests go
through public doors.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mpg_cli

PACKAGE = Path(mpg_cli.__file__).parent

# From top to bottom; a module may import its own room and what stands in a later line. Rooms in one line do
# not import one another.
LAYERS = """
    __main__
    cli
    __init__ api
    server
    render
    evaluation training tuning diagnostics batch chat
    engine
    explain
    models
    personas
    sampling
    options
    config
    io
    errors
"""
PLANNED = {"server"}  # rooms that have their layer and no module yet
EXCEPTIONS = {"mpg_cli:__version__"}  # a constant, which has no imports of its own
NAME = re.compile(r"mpg_cli(\.\w+)*(:\w+)?")  # of a module, or of a name in it, as `import_module` takes it

RANK = {room: n for n, line in enumerate(LAYERS.strip().splitlines()) for room in line.split()}
MODULES = {
    ".".join(["mpg_cli", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def room(module: str) -> str:
    """`engine` of `mpg_cli.engine.events`, and `__init__` of the package itself."""
    _, _, below = module.partition(".")
    return below.split(".")[0] or "__init__"


def imported(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, or `module:name` for a name that is no module.

    A text that is the name of a module counts as an import: commands are imported so.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else f"{node.module}:{alias.name}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
            yield node.value


def upward(module: str, path: Path) -> list[str]:
    """What the module imports against the order of the layers. Names of modules that do not exist fail."""
    own = room(module)
    found = []
    for name in imported(path):
        target = name.partition(":")[0]
        if target.partition(".")[0] != "mpg_cli" or name in EXCEPTIONS:
            continue
        assert target in MODULES, f"{path}: there is no module {target}"
        other = room(target)
        if other != own and not (RANK[own] < RANK[other] or {own, other} == {"__init__", "api"}):
            found.append(name)
    return found


def test_every_room_has_its_layer() -> None:
    assert {room(module) for module in MODULES} == set(RANK) - PLANNED
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "api", "errors"}
    assert len(EXCEPTIONS) <= 3


@pytest.mark.parametrize("name", sorted({room(module) for module in MODULES}))
def test_imports_point_downward(name: str) -> None:
    found = {
        module: wrong
        for module, path in MODULES.items()
        if room(module) == name and (wrong := upward(module, path))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line, wrong",
    [
        ("from mpg_cli.engine import events", True),
        ("def f():\n    from mpg_cli.cli.app import main", True),
        ("if TYPE_CHECKING:\n    from mpg_cli.render import make_renderer", True),
        ("import mpg_cli.engine.events", True),
        ('run = import_module("mpg_cli.cli.app").main', True),
        ('HOMES = {"main": "mpg_cli.cli.app:main"}', True),
        ("from mpg_cli import __version__", False),
        ("from mpg_cli.models.text.vocabulary import embedded", False),
        ('vocabulary = import_module("mpg_cli.models.text.vocabulary")', False),
        ('"""mpg_cli.cli is above."""', False),
        ("from mpg_cli.sampling import params", False),
    ],
)
def test_an_arrow_that_points_up_is_seen(line: str, wrong: bool, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(line)
    assert bool(upward("mpg_cli.models.module", path)) is wrong


def test_the_name_of_a_module_that_does_not_exist_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("from mpg_cli.models.tokenizer import embedded")
    with pytest.raises(AssertionError, match=r"there is no module mpg_cli\.models\.tokenizer"):
        upward("mpg_cli.models.module", path)


def test_no_test_imports_another_one() -> None:
    """What tests share stands in modules that hold no tests."""
    tests = Path(__file__).parent
    imports = re.compile(r"^\s*(?:from|import) tests\.[\w.]*?\b(?:test_\w+|conftest)\b.*", re.MULTILINE)
    found = [f"{file}: {line}" for file in tests.rglob("*.py") for line in imports.findall(file.read_text())]
    assert found == []


def patched(path: Path) -> Iterator[str]:
    """Private names of others that a file of tests replaces."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("setattr", "delattr"):
                words = [word.value for word in node.args[:2] if isinstance(word, ast.Constant)]
                yield from (str(word) for word in words if str(word).rpartition(".")[2].startswith("_"))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                own = ast.unparse(target).startswith(("self.", "cls."))
                private = isinstance(target, ast.Attribute) and re.match(r"_(?!_)", target.attr)
                if private and not own:
                    yield ast.unparse(target)


def test_no_test_patches_a_private_name() -> None:
    """What a test needs to change is an argument, a file, the environment or a limit of the system."""
    tests = Path(__file__).parent
    found = {str(path.relative_to(tests)): [*patched(path)] for path in tests.rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "line, names",
    [
        ('monkeypatch.setattr(trainer, "_loss", spy)', ["_loss"]),
        ('monkeypatch.setattr("mpg_cli.cli.app._run", spy)', ["mpg_cli.cli.app._run"]),
        ("session._rows = rows", ["session._rows"]),
        ("self._rows = rows", []),
        ('monkeypatch.setattr(os, "fsync", full)', []),
    ],
)
def test_a_patched_private_name_is_seen(line: str, names: list[str], tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(line)
    assert [*patched(path)] == names
