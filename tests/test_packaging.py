"""Wheel, sdist and editable installs all carry or find the persona library and the bundled model."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from mpg_cli.personas import persona_data

ROOT = Path(__file__).parents[1]
PROBE = """
from mpg_cli.personas.registry import library_dir, load_default
from mpg_cli.models.load.loader import load_model
registry = load_default()
adapters = [e.resolved_path() for p in registry.personas for e in p.adapters]
assert len(adapters) == 37
assert all((path / "adapter_model.safetensors").is_file() for path in adapters), adapters
from mpg_cli.personas import persona_data
assert [len(persona_data.replies(name)) for name in persona_data.NAMES] == [80] * 17
assert [len(persona_data.references(name)) for name in persona_data.NAMES] == [60] * 17
print(library_dir())
print(persona_data.digest())
print(load_model("mpg-tiny").id)
"""


def build(source: Path, kind: str, out: Path) -> Path:
    """Build a distribution without a network: the build backend is part of the test requirements."""
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        f"--{kind}",
        "--outdir",
        str(out),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


def probe(place: Path, elsewhere: Path) -> list[str]:
    """Run the probe with the package from `place` only, in another folder."""
    code = f"import sys; sys.path.insert(0, {str(place)!r})\n{PROBE}"
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_carries_library_and_model(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    names = {str(p.relative_to(tmp_path / "site")) for p in (tmp_path / "site").rglob("*")}
    assert {"mpg_cli/py.typed", "mpg_cli/data/mpg-tiny/model.safetensors"} <= names
    assert "mpg_cli/data/personas/poles.yaml" in names
    assert {f"mpg_cli/render/page/page.{kind}" for kind in ("html", "css", "js")} <= names
    library, data, model = probe(tmp_path / "site", tmp_path)
    assert Path(library) == tmp_path / "site" / "mpg_cli" / "data" / "personas"
    assert data == persona_data.digest()
    assert model == "mpg-tiny"
    assert not any(part.startswith(".") for name in names for part in name.split("/"))
    assert not any(name.startswith(("tests", "recipes", "personas")) for name in names)


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    archive = build(ROOT, "sdist", tmp_path / "sdist")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "source", filter="data")
    source = next((tmp_path / "source").iterdir())
    assert all((source / name).exists() for name in ("manual", "pictures", "docs", "CHANGELOG.md", "tests"))
    again = build(source, "wheel", tmp_path / "again")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert sorted(one.namelist()) == sorted(two.namelist())


def test_the_lowest_versions_are_those_of_pyproject() -> None:
    allowed = re.findall(r'"([\w-]+)>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    pinned = re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "constraints-lowest.txt").read_text(), re.MULTILINE)
    assert {(name, Version(version)) for name, version in allowed} == {
        (name, Version(version)) for name, version in pinned
    }


def test_a_checkout_finds_the_library_beside_the_package(tmp_path: Path) -> None:
    """An editable install puts nothing but this folder on the path."""
    library, data, model = probe(ROOT, tmp_path)
    assert Path(library) == ROOT / "personas"
    assert data == persona_data.digest()
    assert model == "mpg-tiny"
