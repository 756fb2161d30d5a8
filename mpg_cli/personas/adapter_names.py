"""Maps the tensor names of adapter files to modules of a model, across naming conventions.

A key is the name of a module, with prefixes, and the role of the tensor. The prefixes differ between trainers
and versions of PEFT and transformers: `base_model.model.model.layers.0…`, `layers.0…`,
`language_model.model.layers.0…`. They do not affect the computation, so modules are matched without them, but
only if the match is unique. Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

PREFIX = "base_model.model."
# Leading segments added by wrappers of the model: PEFT, TRL, transformers' multimodal models.
WRAPPERS = frozenset(
    {"base_model", "language_model", "llm", "model", "pretrained_model", "text_model", "thinker"}
)
# Segments added by torch.compile and FSDP anywhere in a name.
_WRAPPED = re.compile(r"\b_(?:orig_mod|fsdp_wrapped_module|checkpoint_wrapped_module)\\?\.")
_PARALLEL = re.compile(r"module\\?\.")  # prefix added by DDP and DeepSpeed
# Parts of a model for images and audio.
_NOT_TEXT = re.compile(r"vision|visual|image|audio|speech|projector|connector")
# `lora_A.weight`, with the adapter's name `lora_A.default.weight`; `lora_A` alone by loralib.
_HALF = re.compile(
    r"(?P<module>.+)\.lora_(?P<half>[AB])(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?(?:\.weight)?"
)
# A weight of the base, as stored in PEFT's layers.
_BASE_WEIGHT = re.compile(r"\.(?:base_layer|original_module|modules_to_save(?:\.[^.]+)?)(?=\.)")


@dataclass(frozen=True)
class Key:
    """A parsed key: `half` is A or B of a LoRA on the module `name`, None for any other tensor, named `name`.

    `adapter` is the adapter's name if the key contains it.
    """

    name: str
    half: str | None = None
    adapter: str | None = None


def parse_key(key: str) -> Key:
    """The key without the prefixes of PEFT and the frameworks, as named in the trained model."""
    name = unwrapped(key)
    while name.startswith(PREFIX):
        name = unwrapped(name.removeprefix(PREFIX))
    half = _HALF.fullmatch(name)
    if half is not None:
        return Key(half["module"], half["half"], half["adapter"])
    return Key(_BASE_WEIGHT.sub("", name))


def unwrapped(name: str) -> str:
    """A name, or a regular expression for names, without the segments of torch.compile, FSDP and DDP."""
    name = _WRAPPED.sub("", name)
    while found := _PARALLEL.match(name):
        name = name[found.end() :]
    return name


def is_not_text(name: str) -> bool:
    """Whether a module of this name belongs to an image or audio tower, or projects it to the text model."""
    return _NOT_TEXT.search(name) is not None


class Names:
    """Finds the names of a model's modules or parameters under other naming conventions."""

    def __init__(self, names: Iterable[str], backbone: str = "") -> None:
        """`backbone` is the attribute of the model's body, such as `transformer`."""
        self._wrappers = WRAPPERS | {backbone}
        self._by_core: dict[str, list[str]] = {}
        for name in names:
            self._by_core.setdefault(self.split(name)[1], []).append(name)

    def find(self, spelled: str) -> list[str]:
        """The names that `spelled` can refer to: itself if it exists, else all with the same core."""
        same = self._by_core.get(self.split(spelled)[1], [])
        return [spelled] if spelled in same else same

    def respell(self, places: Mapping[str, Sequence[str]]) -> Callable[[str], list[str]]:
        """A function from the model's names to the names that a file would use, inferred from its other
        names.

        `places` maps the file's spellings to the names found for them.
        """
        wrappers: dict[str, dict[str, None]] = {}
        for spelled, found in places.items():
            for name in found:
                own, core = self.split(name)
                wrappers.setdefault(own, {})[spelled.removesuffix(core)] = None

        def spellings(name: str) -> list[str]:
            own, core = self.split(name)
            return [f"{other}{core}" for other in wrappers.get(own, [own])]

        return spellings

    def split(self, name: str) -> tuple[str, str]:
        """The wrapper prefix of a name (with its last dot) and the core."""
        parts = name.split(".")
        count = 0
        while count < len(parts) - 1 and parts[count] in self._wrappers:
            count += 1
        core = ".".join(parts[count:])
        return name[: len(name) - len(core)], core
