"""The public names, on the bundled model."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mpg_cli
from mpg_cli.errors import ExpressionError, PersonaError
from mpg_cli.request import Sampling, Scheme


def test_generate_replies_in_the_blend() -> None:
    greedy = Sampling(max_tokens=12, temperature=0)
    reply = mpg_cli.generate("How should I spend my weekend?", "pirate", sampling=greedy)
    assert reply.text
    lock_step = mpg_cli.generate(
        "How should I spend my weekend?",
        mpg_cli.blend("Pirate"),
        sampling=greedy,
        scheme=Scheme(chunk_size=0),
    )
    assert lock_step.text == reply.text
    assert lock_step.stats.passes > reply.stats.passes


def test_errors() -> None:
    with pytest.raises(ExpressionError):
        mpg_cli.blend("pirate:")
    with pytest.raises(PersonaError):
        mpg_cli.blend("nobody-of-that-name")
    with pytest.raises(AttributeError):
        mpg_cli.nothing  # noqa: B018


def test_importing_the_package_is_light() -> None:
    code = "import sys, mpg_cli; print({'torch', 'transformers', 'yaml', 'typer'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
