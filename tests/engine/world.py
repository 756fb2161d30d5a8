"""Tiny random models saved to folders with their personas, and requests to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mpg_cli.engine.events import Event, Finished
from mpg_cli.engine.request import Request
from mpg_cli.engine.session import Session
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import Registry, resolve
from mpg_cli.sampling.params import Sampling, Scheme

YAML = """\
name: bold
prompt: Be bold.
adapters: [{base: base, path: bold}]
---
name: calm
adapters: [{base: base, path: calm}]
---
name: terse
prompt: Say little.
---
name: full
adapters: [{base: base, checkpoint: full}]
---
name: other
adapters: [{base: elsewhere, path: calm}]
---
name: both
prompt: Be bold.
adapters: [{base: base, path: bold}]
use: both
"""


def request(world: Path, personas: str = "bold+calm:0.5", prompt: str = "Hello", **fields: Any) -> Request:
    blend = resolve(parse(personas), Registry.load([world])) if personas else None
    whole = Request(
        model=ModelOptions(str(world / "base"), device="cpu", dtype="float32"),
        prompting=Prompting(prompt),
        sampling=fields.pop("sampling", Sampling(max_tokens=24)),
        scheme=fields.pop("scheme", Scheme()),
        blend=blend,
        seed=fields.pop("seed", 7),
    )
    return replace(whole, **fields)


def run(asked: Request) -> list[Event]:
    return list(Session.open(asked).replies(asked))


def finished(asked: Request) -> Finished:
    return next(event for event in run(asked) if isinstance(event, Finished))
