"""Self-check of architectures that the tests do not cover: rows must equal the plain forward pass.

Architectures differ in their use of positions, masks and a cache. One that violates the assumptions of
`Forward` would give wrong probabilities without an error.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from mpg_cli.errors import ModelError
from mpg_cli.models.run.row_pool import NewRow, NewRows, RowPool
from mpg_cli.models.text.vocabulary import served_tokens
from mpg_cli.sampling.sampler import not_a_number
from mpg_cli.sampling.scorer import Kept

# Equal to PEFT's and to an uncached pass in tests/models/run/test_rows.py.
TESTED = frozenset(
    {"llama", "qwen2", "qwen3", "mistral", "gemma3_text", "gemma4_text", "phi3", "gpt2", "gpt_neox"}
)
LENGTHS = (5, 9)  # two sequences of different length, a rollback in between
CLOSE = {torch.float32: 1e-3}  # mean difference of log-probabilities
CLOSE_HALF = 0.05
WINDOW = 4  # of sliding layers during the check, shorter than the sequences


def check_rows(model: Any, name: str, tested: Collection[str] = TESTED) -> None:
    """Compare ragged, cached, rolled back rows with plain passes, unless the architecture is `tested`.

    Raises ModelError where they differ.
    """
    config = model.config.get_text_config()
    if model.config.model_type in tested:
        return
    generator = torch.Generator().manual_seed(0)
    streams = [torch.randint(0, served_tokens(model), (n,), generator=generator) for n in LENGTHS]
    window = getattr(config, "sliding_window", None)
    try:
        if window:
            config.sliding_window = WINDOW
        gaps = _gaps(model, streams)
    except (TypeError, ValueError, AttributeError, RuntimeError, KeyError, IndexError) as error:
        raise ModelError(
            f"model {name} ({config.model_type}) cannot be served: {type(error).__name__}: {error}",
            hint=f"tested architectures: {', '.join(sorted(TESTED))}",
        ) from error
    finally:
        if window:
            config.sliding_window = window
    if not all(gap <= CLOSE.get(model.dtype, CLOSE_HALF) for gap in gaps):  # false for NaN
        raise ModelError(
            f"model {name} ({config.model_type}) cannot be served exactly: with the cache its "
            f"log-probabilities differ by {max(gaps):.2g} on average from those without",
            hint=f"tested architectures: {', '.join(sorted(TESTED))}",
        )


def _gaps(model: Any, streams: list[torch.Tensor]) -> list[float]:
    """Mean difference of the log-probabilities after the last two tokens of each stream."""
    pool, slots = RowPool(model), range(len(streams))
    pool.insert({b: NewRows([NewRow("reference", (), own[:-2].tolist())]) for b, own in enumerate(streams)})
    while pool.unread:
        pool.read(sum(LENGTHS))
    pool.score(torch.zeros(len(streams), 1, 3, dtype=torch.long), slots)  # all rejected
    pool.commit({b: Kept(0, [int(stream[-2])]) for b, stream in enumerate(streams)})
    last = torch.stack([stream[-1:] for stream in streams])[:, None]  # (B, 1, 1)
    scores = pool.score(last, slots).of(slots)
    if bool(scores.bad.any()):
        raise not_a_number(pool.name(0, 0))
    served = scores.log_probs[0, :, 0]  # (B, 2, V)
    gaps = []
    for b, stream in enumerate(streams):
        with torch.inference_mode():
            logits = model(input_ids=stream[None].to(model.device), use_cache=False).logits
        gaps.append(float((served[b] - logits[0, -2:].float().log_softmax(-1)).abs().mean()))
    return gaps
