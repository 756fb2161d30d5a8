"""Choose the layers to adapt: every linear layer but the output embedding, or the requested ones."""

from __future__ import annotations

from typing import Any

from mpg_cli.errors import ModelError, UsageError
from mpg_cli.io.text import did_you_mean, visible
from mpg_cli.models.linear import linear_shape


def choose_targets(model: Any, wanted: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Suffixes of module names (q_proj, …) that match only layers that LoRA and `mpg` can adapt.

    Raises ModelError if the model has no such layer, UsageError for a name that it does not have.
    """
    head = model.get_output_embeddings()
    good: dict[str, int] = {}
    bad: dict[str, str] = {}
    for path, module in model.named_modules():
        if not path:
            continue
        suffix = path.rpartition(".")[2]
        if module is head:
            bad[suffix] = "is the output embedding"
        elif linear_shape(module) is None:
            bad.setdefault(suffix, f"names a module of type {type(module).__name__}, not a linear layer")
        elif ".experts." in path:
            bad[suffix] = "names an expert of a mixture-of-experts layer"
        else:
            good[suffix] = good.get(suffix, 0) + 1
    usable = tuple(sorted(suffix for suffix in good if suffix not in bad))
    if not usable:
        raise ModelError(
            f"model {name} ({model.config.model_type}) has no layer that LoRA can adapt",
            hint="choose a model with linear layers in its attention or feed-forward blocks",
        )
    for target in wanted:
        if target not in usable:
            why = bad.get(target) or f"is not a layer of this model{did_you_mean(target, usable)}"
            raise UsageError(
                f"--targets: '{visible(target, 60)}' {why}", hint=f"choose from {', '.join(usable)}"
            )
    return tuple(sorted(set(wanted))) or usable
