"""Colours of personas, distinguishable with colour blindness (after Okabe and Ito, and Tol)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hue:
    """One persona's colour in each medium."""

    name: str
    light: str  # on a light page: bars, and tints behind dark text
    dark: str  # on a dark page: the same behind light text
    ink: str  # in a terminal: legible as text on black and on white, and as background of white text
    ansi: str  # in a terminal of 16 colours


HUES = (
    Hue("blue", "#3d9be0", "#2f7fc4", "#2276c4", "blue"),
    Hue("vermilion", "#f0803c", "#c2571a", "#c4561a", "red"),
    Hue("green", "#2fb98c", "#12805f", "#138262", "green"),
    Hue("purple", "#d68fc0", "#a0568a", "#b0529a", "magenta"),
    Hue("gold", "#e0a800", "#8f6a00", "#937000", "yellow"),
    Hue("cyan", "#7fcdee", "#22758f", "#1f7f94", "cyan"),
    Hue("wine", "#c0576f", "#9c3450", "#b84a64", "bright_red"),
    Hue("indigo", "#8a86e0", "#5d58c4", "#6f67d4", "bright_blue"),
)
