"""The torch-free layer runs on every supported Python that this machine has, and imports nothing heavy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mpg_cli.personas.registry import library_dir

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
CURRENT = f"{sys.version_info[0]}.{sys.version_info[1]}"
REPOSITORY = Path(__file__).parents[2]
SELF_CHECK = Path(__file__).with_name("self_check.py")


def run(
    interpreter: str, *arguments: str, path: tuple[Path, ...], home: Path
) -> subprocess.CompletedProcess[str]:
    """`interpreter` with only `path` to import from, in an empty folder that is also its home."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
    }
    return subprocess.run(
        [interpreter, *arguments], env=environment, cwd=home, capture_output=True, text=True, timeout=60
    )


def interpreter_of(version: str, home: Path) -> str | None:
    """An interpreter of that version that starts: this one, one of PATH, or one of pyenv."""
    if version == CURRENT:
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(str(path) for path in pyenv.glob(f"{version}.*/bin/python{version}"))
    for candidate in (shutil.which(f"python{version}"), *installed):
        if candidate is None:
            continue
        # The shims of pyenv are on PATH even for versions that are switched off: ask.
        probe = run(candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])", path=(), home=home)
        if probe.returncode == 0 and probe.stdout.strip() == version:
            return candidate
    return None


@pytest.fixture
def pure_yaml(tmp_path: Path) -> Path:
    """A folder with PyYAML without its extension, which fits one version of Python only."""
    folder = tmp_path / "site"
    shutil.copytree(
        Path(yaml.__file__).parent,
        folder / "yaml",
        ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"),
    )
    return folder


@pytest.mark.parametrize("version", VERSIONS)
def test_self_check_on(version: str, pure_yaml: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    interpreter = interpreter_of(version, home)
    if interpreter is None:
        pytest.skip(f"no Python {version} that starts")
    library = library_dir()
    arguments = [str(SELF_CHECK), str(home), *([str(library)] if library else [])]
    done = run(interpreter, *arguments, path=(REPOSITORY, pure_yaml), home=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == version


@pytest.mark.parametrize(
    "module",
    [
        "mpg_cli.config.file",
        "mpg_cli.io.log",
        "mpg_cli.io.safe_yaml",
        "mpg_cli.engine.request",
        *(f"mpg_cli.personas.{name}" for name in ("expression", "registry", "schema")),
    ],
)
def test_import_is_light(module: str, tmp_path: Path) -> None:
    names = "torch transformers rich typer pydantic numpy safetensors peft"
    code = f"import sys, {module}; print(*[name for name in '{names}'.split() if name in sys.modules])"
    done = run(sys.executable, "-c", code, path=(REPOSITORY,), home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
