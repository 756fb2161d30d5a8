"""Options of the blend: personas, adapters, weights. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mpg_cli.options.option import check_fields, option


@dataclass(frozen=True)
class BlendOptions:
    """The personas and adapters of a blend as given by the user; personas/blending.py resolves them."""

    personas: tuple[str, ...] = option(
        (),
        "--persona",
        short="-p",
        metavar="EXPR",
        help="Personas to blend: NAME[:WEIGHT] + …; repeat to add.",
        complete="expression",
    )
    adapters: tuple[str, ...] = option(
        (),
        "--adapter",
        metavar="PATH|REPO[:WEIGHT]",
        help="A LoRA adapter as another expert: a PEFT folder, FILE.gguf, OWNER/NAME[/FOLDER][@REVISION].",
        in_config=False,
    )
    scale: float = option(1.0, metavar="X", help="Multiplies every weight of the blend.")
    persona_dirs: tuple[Path, ...] = option(
        (),
        "--persona-dir",
        metavar="DIR",
        help="A folder of persona files, searched first.",
        home=True,
    )

    def __post_init__(self) -> None:
        check_fields(self)
