"""One forward pass over the physical rows of a cache: positions, masks and cache writes.

Independent of experts, sequences and drafts.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mpg_cli.models.load.checkpoint import cache_argument
from mpg_cli.models.run.cache import PositionCache
from mpg_cli.models.run.masks import Masks
from mpg_cli.models.run.plan import PassPlan, plan_of
from mpg_cli.sampling.scorer import to_device

WIDTH = 64  # positions; in bfloat16 a CPU reads a multiple: kernels differ in what they do with a rest


def position_bytes(model: Any) -> int:
    """Bytes of the keys and values of one position of one row, over all layers.

    Measured by a pass over one token, once for a model: layers differ in heads and sizes or share keys, and
    configurations describe that in many ways.
    """
    found: int | None = getattr(model, "_mpg_position_bytes", None)
    if found is None:
        forward = Forward(model)
        cache = forward.new_cache(1)
        forward.read(cache, torch.zeros(1, 1, dtype=torch.long), 0, None)
        found = model._mpg_position_bytes = cache.position_bytes()
    return found


class Forward:
    """The forward passes of one group of rows.

    `size` is for a drafter with fewer embeddings than the base: ids from `size` on are read as `size` - 1.
    Its drafts after such a token are worse; the text is the same.
    """

    def __init__(self, model: Any, size: int | None = None, plan: PassPlan | None = None) -> None:
        self._model, self._device, self._size = model, model.device, size
        self.masks = Masks(model.config.get_text_config(), model.dtype, self._device)
        self._plan = plan_of(model) if plan is None else plan
        self.recorder = self._plan.recorder()
        # An index instead of the number 1, which slices: for a strided input of three dimensions PyTorch
        # copies the weight of the head once a row.
        accepts = inspect.signature(model.forward).parameters
        keeps = "logits_to_keep" in accepts
        self._last_only = {"logits_to_keep": torch.tensor([-1], device=self._device)} if keeps else {}
        self._cache_name = cache_argument(type(model))

    def new_cache(self, total: int) -> PositionCache:
        """An empty cache of `total` physical rows."""
        return PositionCache(self._model.config.get_text_config().num_hidden_layers, total)

    def read(self, cache: PositionCache, tokens: Tensor, start: int | Tensor, rows: Tensor | None) -> None:
        """A pass that only fills the cache, over tokens (rows, T) from the positions `start` on.

        `rows` are the physical rows that take part (None: all).
        """
        tokens, start = self._set_span(cache, tokens, start, rows)
        with torch.inference_mode():
            self._pass(cache, tokens, start, **self._last_only)
        cache.note(tokens)

    def score(
        self,
        cache: PositionCache,
        tokens: Tensor,
        start: int | Tensor,
        rows: Tensor | None,
        *,
        alone: bool,
        version: int = 0,
    ) -> Tensor:
        """The same, returning logits (rows, T, V); those of a recorded pass are valid until the next pass.

        The rounding of a sequence that is `alone` depends on its length only. `version` is that of the
        adapters of the rows.
        """
        tokens, start = self._set_span(cache, tokens, start, rows)
        span = cache.span
        if self._device.type == "cpu" and rows is None and span.count <= 2 and not alone:
            span.width = self._plan.step_width(cache.layers[0].keys, span.width)
        with torch.inference_mode():
            if self.recorder is not None and rows is None and cache.holds(span.width):
                if isinstance(start, int):
                    start = torch.full(tokens.shape[:1], start, device=self._device)  # (rows,)
                do = partial(self._pass, cache)
                logits = self.recorder.run(do, tokens, start, span.width, (span.version, version))
            else:
                logits = self._pass(cache, tokens, start)
        span.begin(start)
        cache.note(tokens)
        return logits

    def _set_span(
        self, cache: PositionCache, tokens: Tensor, start: int | Tensor, rows: Tensor | None
    ) -> tuple[Tensor, int | Tensor]:
        """Set the span of the pass; returns tokens and start on the device."""
        span, last = cache.span, start if isinstance(start, int) else int(start.max())
        span.count, span.width = tokens.shape[1], last + tokens.shape[1]
        span.width = self._plan.width(span.width, self._device)
        if self._device.type == "cpu" and self._model.dtype == torch.bfloat16:
            span.width = -(-span.width // WIDTH) * WIDTH
        span.rows = None if rows is None else to_device(rows, self._device)
        if self._size is not None:
            tokens = tokens.clamp(max=self._size - 1)
        return to_device(tokens, self._device), start if isinstance(start, int) else to_device(
            start, self._device
        )

    def _pass(self, cache: PositionCache, tokens: Tensor, start: int | Tensor, **kwargs: Any) -> Tensor:
        """Run the model; tokens and start are on the device."""
        span = cache.span
        span.begin(start)
        first: Any = start if isinstance(start, int) else start[:, None]
        positions = first + torch.arange(span.count, device=self._device).view(1, -1)  # (1 or rows, T)
        output = self._model(
            input_ids=tokens,
            position_ids=self.masks.clamp(positions),
            attention_mask=self.masks.build(positions, span.width),
            use_cache=True,
            **{self._cache_name: cache},
            **kwargs,
        )
        logits: Tensor = output.logits
        return logits
