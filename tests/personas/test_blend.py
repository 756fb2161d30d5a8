"""From terms to experts: weights multiply, equal experts add, composites expand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpg_cli.errors import PersonaError, UsageError
from mpg_cli.personas.expression import Term, parse
from mpg_cli.personas.registry import MAX_DEPTH, MAX_WEIGHT, Blend, Registry, resolve
from mpg_cli.personas.schema import Persona


def expert(name: str, weight: float = 1.0) -> Persona:
    return Persona(name=name, file=Path("p.yaml"), line=1, prompt="p", weight=weight)


def composite(name: str, parts: str, weight: float = 1.0, line: int = 7) -> Persona:
    return Persona(name=name, file=Path("c.yaml"), line=line, parts=parts, weight=weight)


def registry(*personas: Persona) -> Registry:
    return Registry([], personas)


POLES = registry(
    *(expert(name) for name in "INTJP"),
    composite("INTJ", "I:0.5 + N:0.5 + T:0.5 + J:0.5"),
    composite("half", "INTJ:2 + pirate", weight=0.5),
    expert("pirate", weight=2.0),
)


def experts(blend: Blend) -> list[tuple[str, float]]:
    return [(item.persona.name, item.weight) for item in blend.experts]


@pytest.mark.parametrize(
    "text, scale, canonical, expected",
    [
        ("I", 1, "I", [("I", 1)]),
        ("i:0.5+N", 1, "I:0.5+N", [("I", 0.5), ("N", 1)]),
        ("pirate:0.5", 1, "pirate:0.5", [("pirate", 1)]),
        ("intj", 1, "INTJ", [("I", 0.5), ("N", 0.5), ("T", 0.5), ("J", 0.5)]),
        ("T+INTJ:2", 1, "T+INTJ:2", [("T", 2), ("I", 1), ("N", 1), ("J", 1)]),
        ("half", 1, "half", [("I", 0.5), ("N", 0.5), ("T", 0.5), ("J", 0.5), ("pirate", 1)]),
        ("INTJ+T:-0.5", 1, "INTJ+T:-0.5", [("I", 0.5), ("N", 0.5), ("J", 0.5)]),
        ("INTJ+pirate:-0.5", 1, "INTJ+pirate:-0.5", [*((n, 0.5) for n in "INTJ"), ("pirate", -1)]),
        ("I:0.1+I:0.2+i:-0.3+N", 1, "N", [("N", 1)]),
        ("I+P:0", 1, "I", [("I", 1)]),
        ("I+N:-1", 0.5, "I:0.5+N:-0.5", [("I", 0.5), ("N", -0.5)]),
        ("I:0.7", 3, "I:2.1", [("I", 2.1)]),
        ("pirate:5", 1, "pirate:5", [("pirate", 10)]),
        ("I:20+I:-10", 1, "I:10", [("I", 10)]),
    ],
)
def test_effective_weights(
    text: str, scale: float, canonical: str, expected: list[tuple[str, float]]
) -> None:
    blend = resolve(parse(text), POLES, scale)
    assert experts(blend) == expected
    assert blend.expression == canonical
    # The canonical expression, which reports name, is the whole blend.
    assert resolve(parse(blend.expression), POLES) == blend


def test_negative_names_the_experts() -> None:
    assert resolve(parse("INTJ+N:-2+pirate:-1"), POLES).negative == ("N", "pirate")
    assert resolve(parse("INTJ"), POLES).negative == ()


@pytest.mark.parametrize(
    "text, scale, message",
    [
        ("I:10.1", 1, "the weight of I comes to 10.1, beyond ±10"),
        ("I:-6+i:-6", 1, "the weight of I comes to -12, beyond ±10"),
        ("pirate:5.5", 1, "the weight of pirate comes to 11, beyond ±10"),
        ("I:6+INTJ:9", 1, "the weight of I comes to 10.5, beyond ±10"),
        ("I", 11, "the weight of I comes to 11, beyond ±10"),
        ("I:0", 1, "the blend is empty: every weight is zero"),
        ("I+I:-1", 1, "the blend is empty: every weight is zero"),
        ("I+N", 0, "the blend is empty: every weight is zero"),
        ("pirat", 1, "unknown persona 'pirat'; did you mean pirate?"),
        ("I+zzz:0", 1, "unknown persona 'zzz'"),
    ],
)
def test_blends_that_cannot_be(text: str, scale: float, message: str) -> None:
    with pytest.raises(PersonaError) as caught:
        resolve(parse(text), POLES, scale)
    assert caught.value.message == message


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -float("inf")])
def test_the_scale_is_finite(scale: float) -> None:
    with pytest.raises(UsageError, match="scale"):
        resolve(parse("I"), POLES, scale)


def test_unknown_part_names_the_composite() -> None:
    found = registry(expert("I"), composite("both", "I+Nn"))
    with pytest.raises(PersonaError, match=r"^c\.yaml:7: parts of both: unknown persona 'Nn'"):
        resolve(parse("both"), found)


@pytest.mark.parametrize(
    "parts, asked, chain",
    [
        ({"a": "a"}, "a", "a → a"),
        ({"a": "x+b", "b": "C:0.5", "C": "A"}, "b", "b → C → a → b"),
        ({"top": "a", "a": "b", "b": "a"}, "top", "a → b → a"),
        ({"a": "x+b:0", "b": "a"}, "a", "a → b → a"),
    ],
)
def test_cycle_names_its_chain(parts: dict[str, str], asked: str, chain: str) -> None:
    found = registry(expert("x"), *(composite(name, text) for name, text in parts.items()))
    with pytest.raises(PersonaError, match=r"^c\.yaml:7: parts: a composite contains itself: ") as caught:
        resolve(parse(asked), found)
    assert caught.value.message.endswith(f": {chain}")


def test_depth_is_bounded() -> None:
    tower = [composite(f"c{n}", f"c{n + 1}") for n in range(MAX_DEPTH + 1)]
    found = registry(*tower, expert(f"c{MAX_DEPTH + 1}"))
    assert experts(resolve(parse("c1"), found)) == [(f"c{MAX_DEPTH + 1}", 1)]
    with pytest.raises(PersonaError, match=f"deeper than {MAX_DEPTH}"):
        resolve(parse("c0"), found)


def test_composites_that_double_at_each_level_expand_at_once() -> None:
    wide = 12
    layers = [
        composite(f"c{n}x{k}", "+".join(f"c{n + 1}x{j}:0.083333" for j in range(wide)))
        for n in range(MAX_DEPTH - 1)
        for k in range(wide)
    ]
    found = registry(*layers, *(expert(f"c{MAX_DEPTH - 1}x{k}") for k in range(wide)))
    assert len(resolve(parse("c0x0"), found).experts) == wide


@given(
    st.lists(
        st.builds(Term, st.sampled_from([*"INTJP", "INTJ", "half", "pirate"]), st.floats(-3, 3)),
        min_size=1,
        max_size=6,
    ),
    st.floats(-2, 2),
)
def test_weights_are_linear_in_the_terms(terms: list[Term], scale: float) -> None:
    sums = dict.fromkeys([*"INTJP", "pirate"], 0.0)
    for term in terms:
        inside = {
            "INTJ": dict.fromkeys("INTJ", 0.5),
            "half": {**dict.fromkeys("INTJ", 0.5), "pirate": 1.0},
            "pirate": {"pirate": 2.0},
        }.get(term.name, {term.name: 1.0})
        for name, weight in inside.items():
            sums[name] += scale * term.weight * weight
    try:
        blend = resolve(terms, POLES, scale)
    except PersonaError:
        largest = max(map(abs, sums.values()))
        assert largest > MAX_WEIGHT - 1e-9 or largest < 1e-9
        return
    assert {**dict.fromkeys(sums, 0.0), **dict(experts(blend))} == pytest.approx(sums, abs=1e-9)
