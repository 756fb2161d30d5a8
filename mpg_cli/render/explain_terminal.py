"""An explained reply on a terminal: a legend, tokens in the colour of the persona with the largest
contribution, bars for each sentence.

Colours are legible on dark and light terminals: text in a middle tone, then bold, then a block. Without
colour, marks replace them. Text of a model reaches rich as `Text` without control characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from mpg_cli.explain.attribution import Explanation, Sentence, Token
from mpg_cli.io.terminal import clean
from mpg_cli.personas.choice import ExpertInfo
from mpg_cli.render.palette import HUES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

MEDIUM, STRONG = 0.393, 0.777  # strengths: 0.5 and 1.5 nats
SCALE = "from 0.05 nats in colour, from 0.5 bold, from 1.5 a block"
BAR = 24  # cells
WIDTH = 100  # columns outside a terminal
KEYS = "abcdefgh"  # of personas, without colour
NEGATIVE = "-░"  # the bar of a negative value, in ASCII and in UTF-8
EIGHTHS = " ▏▎▍▌▋▊▉"


def write_explanation(
    stream: TextIO, explanation: Explanation, experts: Sequence[ExpertInfo], *, tty: bool, color: bool
) -> None:
    """Write the legend, then each sentence with its bars."""
    from rich.console import Console

    console = Console(
        file=stream,
        force_terminal=tty,
        no_color=not color,
        color_system="auto" if tty and color else None,
        width=None if tty else WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )
    _Drawing(console, explanation, experts, color=tty and color).draw()
    stream.flush()


class _Drawing:
    """One explanation on one console."""

    def __init__(
        self, console: Console, explanation: Explanation, experts: Sequence[ExpertInfo], *, color: bool
    ) -> None:
        self._console, self._explanation, self._color = console, explanation, color
        self._weights = [expert.weight for expert in experts]
        self._shown = explanation.leading(len(HUES))
        self._blocks = (console.encoding or "").lower().replace("-", "") == "utf8"

    def draw(self) -> None:
        self._print(self._legend())
        sentences = self._explanation.sentences
        if not sentences:
            self._print(self._text("The reply is empty."))
        longest = max((abs(s.contributions[i]) for s in sentences for i in self._shown), default=0.0)
        for sentence in sentences:
            self._print(self._text(""))
            prefill = self._text("")
            if sentence.first == 0:  # it was not sampled and has no colour
                prefill.append(clean(self._explanation.prefill), style="dim" if self._color else "")
            self._print(prefill + self._sentence(sentence, stripped=not prefill))
            for i in self._shown:
                self._print(self._bar(sentence, i, longest))

    # -- the legend ------------------------------------------------------------------------------

    def _legend(self) -> Text:
        line = self._text("")
        for i in self._shown:
            name = clean(self._explanation.names[i])
            line.append("  " if line else "")
            if self._color:
                line.append("██" if self._blocks else "##", style=self._hue(i))
            else:
                line.append(f"[{self._key(i)}")
            line.append(f" {name} {self._weights[i]:g}" + ("" if self._color else "]"))
        if len(self._shown) < len(self._explanation.names):
            line.append(
                f"  and {len(self._explanation.names) - len(self._shown)} more with smaller contributions"
            )
        mixture = self._explanation.unit == "share"
        what = "exceeds its share most" if mixture else "contributed most"
        if self._color:
            scale = "from 5 % of the rest in colour, from 39 % bold, from 78 % a block" if mixture else SCALE
            line.append(f"\ncolour: the persona that {what}; {scale}", style="dim")
            line.append("\naccepted draft, ", style="dim")
            line.append("corrected draft", style="underline")
            line.append(", ", style="dim")
            line.append("not drafted", style="italic")
            line.append(
                "; bars: contributions added up"
                + ("" if mixture else f", {NEGATIVE[self._blocks]} negative"),
                style="dim",
            )
        else:
            line.append(
                f"\n[a ...]: the persona that {what}; ! strong; ~corrected draft, +not drafted, else accepted"
            )
        return line

    # -- tokens ----------------------------------------------------------------------------------

    def _sentence(self, sentence: Sentence, *, stripped: bool) -> Text:
        tokens = [t for t in self._explanation.tokens[sentence.first : sentence.end] if t.text]
        line = self._text("")
        if self._color:
            for token in tokens:
                lead, word = _split(clean(token.text))
                line.append(lead)
                line.append(word, style=self._style(token))
        else:
            line.append("".join(self._signed(tokens)))
        line.rstrip()
        return line[len(line.plain) - len(line.plain.lstrip()) :] if stripped else line

    def _style(self, token: Token) -> str:
        strongest, strength = self._strongest(token)
        marks = {"accepted": "", "corrected": " underline", "bonus": " italic"}[token.origin]
        if strongest is None:
            return marks.strip()
        hue = self._hue(strongest)
        if strength >= STRONG:
            return f"bold {self._on_block()} on {hue}{marks}"
        return (f"bold {hue}" if strength >= MEDIUM else hue) + marks

    def _signed(self, tokens: Sequence[Token]) -> Iterable[str]:
        """Tokens with marks for origin and strength; consecutive tokens of one persona share a bracket."""
        before: int | None = None
        for token in tokens:
            lead, word = _split(clean(token.text))
            strongest, strength = self._strongest(token)
            if before is not None and strongest != before:
                yield "]"
            yield lead
            if strongest is not None and strongest != before:
                yield f"[{self._key(strongest)} "
            mark = {"accepted": "", "corrected": "~", "bonus": "+"}[token.origin]
            yield (mark + word + ("!" if strength >= STRONG else "")) if word else ""
            before = strongest
        yield "]" if before is not None else ""

    # -- bars ------------------------------------------------------------------------------------

    def _bar(self, sentence: Sentence, i: int, longest: float) -> Text:
        value = sentence.contributions[i]
        names = [clean(self._explanation.names[k]) for k in self._shown]
        width = min(16, max(map(len, names)))
        key = "" if self._color else f"{self._key(i)} "
        line = self._text(f"  {key}{clean(self._explanation.names[i])[:width]:<{width}} ")
        line.append(f"{self._cells(value, longest):<{BAR}}", style=self._hue(i) if self._color else "")
        line.append(f" {value:+.2f}" if self._explanation.unit == "nats" else f" {value:.1f} tokens")
        return line

    def _cells(self, value: float, longest: float) -> str:
        """The bar of a value; a negative one is drawn thin."""
        eighths = round(8 * BAR * abs(value) / longest) if longest else 0
        if value < 0:
            return NEGATIVE[self._blocks] * round(eighths / 8)
        if not self._blocks:
            return "#" * round(eighths / 8)
        return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()

    # -- colours ---------------------------------------------------------------------------------

    def _strongest(self, token: Token) -> tuple[int | None, float]:
        """The persona whose colour the token has, if any, and the strength."""
        strongest = self._explanation.strongest(token)
        if strongest is None or strongest not in self._shown:
            return None, 0.0
        return strongest, self._explanation.strength(strongest, token.contributions[strongest])

    def _hue(self, i: int) -> str:
        hue = HUES[self._shown.index(i)]
        return hue.ansi if self._console.color_system == "standard" else hue.ink

    def _on_block(self) -> str:
        return "black" if self._console.color_system == "standard" else "#ffffff"

    def _key(self, i: int) -> str:
        return KEYS[self._shown.index(i)]

    def _text(self, words: str) -> Text:
        from rich.text import Text

        return Text(words)

    def _print(self, line: Text) -> None:
        self._console.print(line)


def _split(text: str) -> tuple[str, str]:
    """The space before a word, and the word."""
    word = text.lstrip()
    return text[: len(text) - len(word)], word
