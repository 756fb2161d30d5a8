"""The output of `mpg personas show`: a persona or an expression as a tree, plain lines or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TextIO

from mpg_cli.io.terminal import Streams, clean
from mpg_cli.io.text import visible
from mpg_cli.personas import expression, overview
from mpg_cli.personas.base import find_base
from mpg_cli.personas.expression import format_weight
from mpg_cli.personas.overview import Available, Node, place
from mpg_cli.personas.registry import Registry, resolve

if TYPE_CHECKING:
    from rich.tree import Tree

    from mpg_cli.personas.schema import AdapterEntry, Persona

ShowFormat = Literal["tree", "plain", "json"]


@dataclass(frozen=True)
class Portrait:
    """An expression: its tree, its experts with effective weights, and their kinds for the model.

    `persona` is set if the expression is the name of a single persona.
    """

    expression: str
    model: str
    nodes: tuple[Node, ...]
    experts: tuple[tuple[str, float], ...]
    available: dict[str, tuple[Available, ...]]
    persona: Persona | None = None


def portrait_of(text: str, known: Registry, model: str) -> Portrait:
    """The persona or the expression on the model. Raises UsageError for invalid or unknown names."""
    terms = expression.parse(text)
    nodes = overview.tree(terms, known)
    blend = resolve(terms, known)
    base = find_base(model)
    single = known.get(terms[0].name) if len(terms) == 1 and terms[0].weight == 1 else None
    return Portrait(
        expression=blend.expression,
        model=model,
        nodes=nodes,
        experts=tuple((expert.persona.name, expert.weight) for expert in blend.experts),
        available={one.name: overview.available(one, base) for one in known.personas if one.parts is None},
        persona=single,
    )


def write_portrait(streams: Streams, portrait: Portrait, chosen: ShowFormat) -> None:
    """Print the portrait."""
    out = streams.stdout
    if chosen == "json":
        out.write(json.dumps(_as_json(portrait)) + "\n")
        out.flush()
        return
    if portrait.persona is not None:
        _write_about(out, portrait.persona, portrait, _columns(streams) if chosen == "tree" else None)
    composite = portrait.persona is None or portrait.persona.parts is not None
    if composite and chosen == "tree":
        from rich.console import Console

        console = Console(file=out, no_color=not streams.color, highlight=False, soft_wrap=True)
        console.print(_tree(portrait))
    elif composite:
        out.write("".join(f"{line}\n" for line in _indented(portrait)))
    if composite:
        experts = "  ".join(f"{name} {format_weight(weight)}" for name, weight in portrait.experts)
        out.write(f"\nexperts on {visible(portrait.model)}: {experts}\n")
    out.flush()


def _columns(streams: Streams) -> int | None:
    """The width of the terminal, None if stdout is not one."""
    import shutil

    return shutil.get_terminal_size().columns if streams.stdout_tty else None


def _write_about(out: TextIO, persona: Persona, portrait: Portrait, columns: int | None) -> None:
    """Write the fields, wrapped to `columns`, without control characters."""
    fields = list(_fields(persona, portrait))
    width = max(len(key) for key, _ in fields)
    for key, value in fields:
        lines = value.split("\n")
        if columns is not None:
            from mpg_cli.render.wrap import wrap

            lines = [part for line in lines for part in wrap(line, columns - width - 2)]
        first, *rest = lines
        out.write(f"{key:<{width}}  {first}\n")
        out.write("".join(f"{'':<{width}}  {line}".rstrip() + "\n" for line in rest))
    if persona.parts is not None:
        out.write("\n")


def _fields(persona: Persona, portrait: Portrait) -> Iterator[tuple[str, str]]:
    yield "name", persona.name
    if persona.description:
        yield "description", clean(persona.description)
    if persona.parts is not None:
        yield "parts", visible(persona.parts)
    if persona.prompt:
        yield "prompt", clean(persona.prompt)
    used = _used(portrait, persona)
    for index, entry in enumerate(persona.adapters):
        yield "adapters" if index == 0 else "", _entry(entry)
    if persona.parts is None:
        yield f"on {visible(portrait.model)}", "; ".join([used, *_reasons(portrait, persona)])
    if persona.use != "auto":
        yield "use", persona.use
    if persona.weight != 1:
        yield "weight", format_weight(persona.weight)
    for key, value in (
        ("tags", ", ".join(persona.tags)),
        ("license", persona.license),
        ("source", persona.source),
        ("extensions", ", ".join(persona.extensions)),
    ):
        if value:
            yield key, visible(value)
    yield "file", f"{place(persona.file)}:{persona.line}"


def _entry(entry: AdapterEntry) -> str:
    where = next(
        f"{kind} {place}" for kind, place in _places(entry) if place is not None
    )  # the schema has exactly one
    details = [part for part in (entry.revision, entry.subfolder) if part]
    return visible(f"{entry.base}: {where}" + (f" ({', '.join(details)})" if details else ""))


def _places(entry: AdapterEntry) -> Iterable[tuple[str, str | None]]:
    return ("path", entry.path), ("repo", entry.repo), ("checkpoint", entry.checkpoint)


def _used(portrait: Portrait, persona: Persona) -> str:
    """The kinds of experts that a persona uses on the model, with their state."""
    used = [one.words for one in portrait.available.get(persona.name, ()) if one.used]
    return " + ".join(used) or "none"


def _reasons(portrait: Portrait, persona: Persona) -> Iterator[str]:
    """The reasons for using an adapter whose base has another name."""
    for one in portrait.available.get(persona.name, ()):
        if one.used and one.match is not None and one.match.reason is not None:
            yield f"{one.match.words}, {one.match.reason}"


def _label(node: Node, portrait: Portrait) -> str:
    """The name, the weight, the effective weight if different, and the kind of expert."""
    words = [node.persona.name, format_weight(node.weight)]
    if node.effective != node.weight:
        words.append(f"= {format_weight(node.effective)}")
    if node.persona.parts is None:
        words.append(f"({_used(portrait, node.persona)})")
    return " ".join(words) + (" …" if node.cut else "")


def _indented(portrait: Portrait) -> Iterator[str]:
    def lines(nodes: Iterable[Node], depth: int) -> Iterator[str]:
        for node in nodes:
            yield "  " * depth + _label(node, portrait)
            yield from lines(node.parts, depth + 1)

    return lines(portrait.nodes, 0)


def _tree(portrait: Portrait) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    def grow(parent: Tree, nodes: Iterable[Node]) -> None:
        for node in nodes:
            label = Text(_label(node, portrait), style="bold" if node.persona.parts else "")
            if node.persona.description and node.persona.parts is None:
                label.append(f"  {visible(node.persona.description)}", style="dim")
            label.no_wrap, label.overflow = True, "ellipsis"
            grow(parent.add(label), node.parts)

    if len(portrait.nodes) == 1:
        top = portrait.nodes[0]
        root = Tree(Text(_label(top, portrait), style="bold"))
        grow(root, top.parts)
        return root
    root = Tree(Text(portrait.expression, style="bold"))
    grow(root, portrait.nodes)
    return root


def _as_json(portrait: Portrait) -> dict[str, Any]:
    about = {} if portrait.persona is None else _about(portrait.persona)
    return {
        **about,
        "expression": portrait.expression,
        "model": portrait.model,
        "tree": [_node(node) for node in portrait.nodes],
        "experts": [
            {"name": name, "weight": weight, "kinds": [_kind(one) for one in portrait.available[name]]}
            for name, weight in portrait.experts
        ],
    }


def _about(persona: Persona) -> dict[str, Any]:
    return {
        "name": persona.name,
        "description": persona.description,
        "prompt": persona.prompt,
        "parts": persona.parts,
        "adapters": [
            {
                "base": entry.base,
                **{kind: place for kind, place in _places(entry) if place is not None},
                **({"revision": entry.revision} if entry.revision else {}),
                **({"subfolder": entry.subfolder} if entry.subfolder else {}),
            }
            for entry in persona.adapters
        ],
        "use": persona.use,
        "weight": persona.weight,
        "tags": list(persona.tags),
        "license": persona.license,
        "source": persona.source,
        "extensions": persona.extensions,
        "file": str(persona.file),
        "line": persona.line,
    }


def _kind(one: Available) -> dict[str, Any]:
    return {"kind": one.kind, "used": one.used, "state": one.state, **one.basis}


def _node(node: Node) -> dict[str, Any]:
    return {
        "name": node.persona.name,
        "weight": node.weight,
        "effective": node.effective,
        "parts": [_node(part) for part in node.parts],
        "cut": node.cut,
    }
