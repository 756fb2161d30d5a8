"""The worked example of CONTRIBUTING.md: its diffs apply to the code, and the option then works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mpg_cli

PACKAGE = Path(mpg_cli.__file__).parent
TEXT = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
USE = """
import torch
from mpg_cli.batch.lines import FIELDS
from mpg_cli.cli.option_table import keys
from mpg_cli.sampling.params import SamplingLaw
from mpg_cli.sampling.targets import warp

how = SamplingLaw(epsilon_cutoff=0.2)
p = torch.tensor([0.5, 0.3, 0.1, 0.1])
print([round(x, 3) for x in warp(p.log(), how).exp().tolist()])
print(how.truncates, how.untruncated() == SamplingLaw())
print("epsilon-cutoff" in keys(), "epsilon_cutoff" in FIELDS["own"])
"""


def apply(diff: str, root: Path) -> None:
    """Apply a diff whose hunks have a heading in place of line numbers; each must fit in one place."""
    (name,) = re.findall(r"^--- a/(.*)$", diff, re.MULTILINE)
    text = (root / name).read_text(encoding="utf-8")
    for hunk in re.split(r"^@@.*\n", diff, flags=re.MULTILINE)[1:]:
        lines = hunk.splitlines()
        old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
        assert text.count(old) == 1, f"{name}: {old}"
        text = text.replace(old, new)
    (root / name).write_text(text, encoding="utf-8")


def test_the_worked_example_adds_an_option(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "mpg_cli", ignore=shutil.ignore_patterns("__pycache__", "data"))
    diffs = re.findall(r"^```diff\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(diffs) == 2
    for diff in diffs:
        apply(diff, tmp_path)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def python(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *argv], cwd=tmp_path, env=environ, capture_output=True, text=True
        )

    used = python("-c", USE)
    assert used.stdout == "[0.625, 0.375, 0.0, 0.0]\nTrue True\nTrue True\n", used.stderr
    refused = python("-m", "mpg_cli", "generate", "-p", "pirate", "Hello", "--epsilon-cutoff", "3")
    assert refused.returncode == 2
    message = "--epsilon-cutoff 3 must be between 0 and 1"
    assert message in TEXT
    assert refused.stderr == f"mpg: error: {message}\n"
