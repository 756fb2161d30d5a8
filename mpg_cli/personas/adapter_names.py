"""What the keys of adapter files mean, however they are spelled.

A key is a wrapped name of a module and what the tensor is for. Trainers, and versions of PEFT and
transformers, wrap differently: `base_model.model.model.layers.0…`, `layers.0…`,
`language_model.model.layers.0…`. The wrappers change nothing about the mathematics, so a module is known by
what is left without them, and only where the model has exactly one such module. Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

PREFIX = "base_model.model."
# Segments in front of a name that say who holds the model: PEFT, TRL, transformers' multimodal models.
WRAPPERS = frozenset(
    {"base_model", "language_model", "llm", "model", "pretrained_model", "text_model", "thinker"}
)
# What torch.compile and FSDP leave anywhere in a name.
_SHELL = re.compile(r"\b_(?:orig_mod|fsdp_wrapped_module|checkpoint_wrapped_module)\\?\.")
_PARALLEL = re.compile(r"module\\?\.")  # in front, by DDP and DeepSpeed
# Parts of a model that pictures and sound pass, and text never does.
_BESIDE_TEXT = re.compile(r"vision|visual|image|audio|speech|projector|connector")
# `lora_A.weight`, with the adapter's name `lora_A.default.weight`; `lora_A` alone by loralib.
_HALF = re.compile(
    r"(?P<module>.+)\.lora_(?P<half>[AB])(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?(?:\.weight)?"
)
# A weight of the base, as PEFT's layers hold it.
_HELD = re.compile(r"\.(?:base_layer|original_module|modules_to_save(?:\.[^.]+)?)(?=\.)")


@dataclass(frozen=True)
class Key:
    """A parsed key: `half` (A or B) of a LoRA on the module `name`; None for other tensors, called `name`.

    `adapter` is the adapter's own name where the key carries it.
    """

    name: str
    half: str | None = None
    adapter: str | None = None


def parse_key(key: str) -> Key:
    """The key without PEFT's prefix and what frameworks add, in the names of the model that was trained."""
    name = unshelled(key)
    while name.startswith(PREFIX):
        name = unshelled(name.removeprefix(PREFIX))
    half = _HALF.fullmatch(name)
    if half is not None:
        return Key(half["module"], half["half"], half["adapter"])
    return Key(_HELD.sub("", name))


def unshelled(name: str) -> str:
    """A name, or an expression for names, without what torch.compile, FSDP and DDP put around modules."""
    name = _SHELL.sub("", name)
    while found := _PARALLEL.match(name):
        name = name[found.end() :]
    return name


def beside_text(name: str) -> bool:
    """Whether what is called so belongs to a tower for pictures or sound, or leads from it to the text."""
    return _BESIDE_TEXT.search(name) is not None


class Names:
    """Names of a model's modules or parameters, found under other spellings."""

    def __init__(self, names: Iterable[str], backbone: str = "") -> None:
        """`backbone` is what the model calls its own body, such as `transformer`."""
        self._wrappers = WRAPPERS | {backbone}
        self._by_core: dict[str, list[str]] = {}
        for name in names:
            self._by_core.setdefault(self.split(name)[1], []).append(name)

    def find(self, spelled: str) -> list[str]:
        """The names that `spelled` can mean: itself if there is such a one, else all with the same core."""
        same = self._by_core.get(self.split(spelled)[1], [])
        return [spelled] if spelled in same else same

    def respell(self, places: Mapping[str, Sequence[str]]) -> Callable[[str], list[str]]:
        """How a file would call a name, by the wrappers that it has around those it does call.

        `places` are the file's spellings with what was found for them.
        """
        wrappers: dict[str, dict[str, None]] = {}
        for spelled, found in places.items():
            for name in found:
                own, core = self.split(name)
                wrappers.setdefault(own, {})[spelled.removesuffix(core)] = None

        def calls(name: str) -> list[str]:
            own, core = self.split(name)
            return [f"{other}{core}" for other in wrappers.get(own, [own])]

        return calls

    def split(self, name: str) -> tuple[str, str]:
        """The wrappers in front of a name (with the last dot), and its core."""
        parts = name.split(".")
        count = 0
        while count < len(parts) - 1 and parts[count] in self._wrappers:
            count += 1
        core = ".".join(parts[count:])
        return name[: len(name) - len(core)], core
