"""Explained replies as a self-contained HTML page: light and dark, usable by mouse and keyboard.

All text of models and users is escaped, and the content security policy allows only the page's own script.
Colours, bars and tables work without scripts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from string import Template

from mpg_cli.engine.events import Finished
from mpg_cli.explain.attribution import Explanation, Sentence, Token
from mpg_cli.io.terminal import clean
from mpg_cli.render.palette import HUES
from mpg_cli.render.tally import acceptance_words

FOLDER = Path(__file__).parent / "page"
LEVELS = 10  # of colour strength
BAR = 200  # width of a bar in SVG units

ORIGINS = {"accepted": "drafted and accepted", "corrected": "corrected", "bonus": "not drafted"}


def write_page(replies: Sequence[Finished], prompt: str) -> str:
    """The page for one or more samples of a request."""
    script, style = _read("page.js"), _style()
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    title = f"{replies[0].spec.persona}: contributions of each persona to each token"
    return Template(_read("page.html")).substitute(
        policy=escape(policy),
        title=_text(title),
        style=style,
        script=script,
        body=_Body(replies, prompt).html(),
    )


class _Body:
    """The content of <main>."""

    def __init__(self, replies: Sequence[Finished], prompt: str) -> None:
        self._replies, self._prompt = replies, prompt
        first = _explanation(replies[0])
        together = replace(first, tokens=tuple(t for r in replies for t in _explanation(r).tokens))
        self._names, self._shares, self._nats = first.names, first.shares, first.unit == "nats"
        self._shown = together.leading(len(HUES))
        sums = [s.contributions[i] for r in replies for s in _explanation(r).sentences for i in self._shown]
        self._low, self._high = min([0.0, *sums]), max([0.0, *sums])

    def html(self) -> str:
        return "\n".join([*self._header(), self._legend(), *self._sections(), self._footer()])

    def _header(self) -> Iterable[str]:
        spec = self._replies[0].spec
        yield '<header><p class="eyebrow">mpg explain</p>'
        yield f"<h1>{_text(spec.persona)}</h1>"
        yield f'<p class="asked" lang="" dir="auto">{_text(self._prompt)}</p></header>'

    def _legend(self) -> str:
        experts = self._replies[0].spec.experts
        chips = "".join(
            f'<button type="button" aria-pressed="false" data-hue="p{hue}" '
            f'data-name="{_text(self._names[i])}" data-share="{self._shares[i]:.6g}"'
            f' class="p{hue}" title="Colour the reply by this persona alone">'
            f"<i></i>{_text(self._names[i])} <small>{experts[i].weight:g} · {experts[i].kind}</small>"
            "</button>"
            for hue, i in enumerate(self._shown)
        )
        rest = len(self._names) - len(self._shown)
        more = f"<span>{rest} more with smaller contributions are grey</span>" if rest else ""
        steps = "".join(f'<span class="s{level}"></span>' for level in (1, 3, 5, 7, 9, 10))
        what = "contributed most to it" if self._nats else "most exceeds its share of the blend"
        ends = ("0", "3 nats and more") if self._nats else ("its share", "it alone")
        return (
            f'<div class="legend"><div class="chips" role="group" aria-label="Personas">{chips}</div>'
            f'<p class="key"><span>A token has the colour of the persona that {what}: '
            f"{ends[0]}{_span('scale', steps)}{ends[1]}</span>"
            '<span><b>plain</b> accepted draft</span><span><b><u class="corrected">underlined</u></b> '
            'corrected draft</span><span><b><u class="bonus">dotted</u></b> not drafted</span>'
            f"{more}</p></div>"
        )

    def _sections(self) -> Iterable[str]:
        for place, reply in enumerate(self._replies):
            several = len(self._replies) > 1
            yield f'<section data-unit="{_explanation(reply).unit}">'
            yield f"<h2>Sample {_text(str(reply.sequence))}</h2>" if several else ""
            yield self._facts(reply)
            yield '<div class="reply" lang="" dir="auto">'
            sentences = _explanation(reply).sentences
            yield "".join(self._sentence(place, _explanation(reply), s) for s in sentences)
            yield "" if sentences else '<div class="sentence"><p class="words">The reply is empty.</p></div>'
            yield f"</div>{self._numbers(place, _explanation(reply))}</section>"

    def _facts(self, reply: Finished) -> str:
        spec, stats = reply.spec, reply.stats
        model, scheme = spec.model, spec.scheme
        revision = f" at {model.revision}" if model.revision else ""
        per_pass = stats.committed_per_pass
        facts = [
            ("model", model.id + revision),
            ("target", scheme.target),
            ("rule", scheme.rule),
            ("drafter", scheme.drafter),
            ("chunk", str(spec.chunk_size)),
            ("tokens", str(reply.usage.completion_tokens)),
            ("accepted", acceptance_words(stats)),
            ("a pass", f"{per_pass:.2f} tokens" if per_pass is not None else ""),
            ("bias", f"at most {stats.bias_bound:.2g} a round" if stats.bias_bound is not None else ""),
            ("seed", str(spec.seed)),
            ("sequence", str(spec.sequence) if spec.sequence != 0 else ""),
            ("ended by", reply.finish_reason),
        ]
        rows = (f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in facts if value)
        return f'<dl class="facts">{"".join(rows)}</dl>'

    # -- sentences -------------------------------------------------------------------------------

    def _sentence(self, place: int, explanation: Explanation, sentence: Sentence) -> str:
        words = "".join(
            self._token(f"r{place}t{at}", explanation, explanation.tokens[at])
            for at in range(sentence.first, sentence.end)
        )
        if sentence.first == 0:  # the prefill was not sampled and has no colour
            words = _text(clean(explanation.prefill)) + words
        words = words.strip()
        bars = "".join(self._bar(sentence.contributions[i], hue, i) for hue, i in enumerate(self._shown))
        unit = "nats" if self._nats else "expected tokens"
        return (
            f'<div class="sentence"><p class="words">{words}</p>'
            f'<table class="bars" lang="en" dir="ltr" aria-label="Contributions of each persona in {unit}">'
            f"{bars}</table></div>"
        )

    def _token(self, id_: str, explanation: Explanation, token: Token) -> str:
        most = explanation.strongest(token)
        classes, data = f"t {token.origin}", ""
        if most is not None:
            hue = f"p{self._shown.index(most)}" if most in self._shown else "px"
            classes += f" {hue} s{round(LEVELS * explanation.strength(most, token.contributions[most]))}"
            data = f' data-most="{most}"'
        text = clean(token.text)
        word = text.lstrip()
        classes += "" if text else " part"
        lead = text[: len(text) - len(word)] if word else ""  # the space before a word has no colour
        return f'{_text(lead)}<span class="{classes}" id="{id_}"{data}>{_text(word or text)}</span>'

    def _bar(self, value: float, hue: int, i: int) -> str:
        scale = BAR / ((self._high - self._low) or 1.0)
        zero = -self._low * scale
        width = abs(value) * scale
        x = zero if value >= 0 else zero - width
        against = ' class="against"' if value < 0 else ""
        name, shown = _text(self._names[i]), f"{value:+.2f}" if self._nats else f"{value:.1f}"
        return (
            f'<tr class="p{hue}"><th scope="row" title="{name}">{name}</th><td>'
            f'<svg viewBox="0 0 {BAR} 10" preserveAspectRatio="none" aria-hidden="true"{against}>'
            f'<rect x="{x:.2f}" y="1" width="{width:.2f}" height="8"/>'
            f'<line x1="{zero:.2f}" x2="{zero:.2f}" y1="0" y2="10"/></svg></td>'
            f"<td>{_minus(shown)}</td></tr>"
        )

    # -- numbers ---------------------------------------------------------------------------------

    def _numbers(self, place: int, explanation: Explanation) -> str:
        """A table of all tokens, for readers, screen readers and the script."""
        head = "".join(f'<th scope="col">{_text(name)}</th>' for name in self._names)
        rows = []
        for at, token in enumerate(explanation.tokens):
            form = "+.3f" if self._nats else ".3f"
            values = "".join(f"<td>{_minus(f'{value:{form}}')}</td>" for value in token.contributions)
            rows.append(
                f'<tr id="r{place}n{at}"><td>{at}</td><td lang="">{_text(_visible(token.text))}</td>'
                f"<td>{_text(_origin(token))}</td>{values}</tr>"
            )
        what = "wδ in nats" if self._nats else "the share of each persona"
        return (
            f"<details><summary>Every token in numbers ({what})</summary><div class='scroll'>"
            '<table class="numbers"><thead><tr><th scope="col">#</th><th scope="col">token</th>'
            f'<th scope="col">draft</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
            "</details>"
        )

    def _footer(self) -> str:
        if self._nats:
            text = (
                "A value is w·δ: the persona's weight times the log-ratio of the token's probability under "
                "its expert and under the plain model, in nats. +1 means e ≈ 2.7 times as likely. Values add "
                "up: a bar is the sum over its sentence, left of the line for a negative sum."
            )
        else:
            text = (
                "A value is the share of a persona in a token: the probability that its expert produced it. "
                "A bar is the sum over its sentence: the expected number of tokens from the persona."
            )
        return (
            f"<footer><p>{text} Point at a token, or move with Tab and the arrow keys, for all values. "
            "Press a persona's name to show only its contributions.</p></footer>"
        )


def _explanation(reply: Finished) -> Explanation:
    assert reply.explanation is not None
    return reply.explanation


def _origin(token: Token) -> str:
    words = ORIGINS[token.origin]
    if token.rejected is None:
        return words
    draft = f"“{_visible(token.rejected.text)}”" if token.rejected.text else "the end"
    return f"{words}: the draft was {draft}"


def _visible(text: str) -> str:
    """The text with line ends and tabs as symbols, to keep a token on one line."""
    return clean(text).replace("\n", "⏎").replace("\t", "⇥")


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _text(text: str) -> str:
    return escape(clean(text), quote=True)


def _span(name: str, content: str) -> str:
    return f'<span class="{name}">{content}</span>'


def _style() -> str:
    """The style sheet, with the rules generated from the palette."""
    levels = "".join(f".s{n} {{ --mix: calc(var(--full) * {n / LEVELS:g}); }}\n" for n in range(LEVELS + 1))
    light = "".join(f".t.p{i}, .p{i} {{ --hue: {hue.light}; }}\n" for i, hue in enumerate(HUES))
    dark = "".join(f".t.p{i}, .p{i} {{ --hue: {hue.dark}; }}\n" for i, hue in enumerate(HUES))
    rest = ".t.px { --hue: #8a8781; }\n"
    levels = levels.replace(".s", ".t.s") + levels
    return f"{_read('page.css')}{levels}{light}{rest}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """The hash of inline content for the content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
