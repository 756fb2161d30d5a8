"""TRL's trainers without their noise: no bars, logs, model cards and telemetry, no change of the model."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import transformers
from datasets import Dataset, disable_progress_bars
from huggingface_hub import constants as hub_constants
from trl import DPOTrainer, SFTTrainer


class _QuietTrainer:
    """Mixin: the rows are token ids already; no model card and no telemetry."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        return

    def _send_telemetry(self) -> None:
        return


class QuietDPO(_QuietTrainer, DPOTrainer):  # type: ignore[misc]
    pass


class QuietSFT(_QuietTrainer, SFTTrainer):  # type: ignore[misc]
    pass


@contextlib.contextmanager
def own_forward(model: Any) -> Iterator[None]:
    """Give the model its own forward pass back: TRL wraps that of every model that it trains."""
    before = model.__dict__.get("forward")
    try:
        yield
    finally:
        model.__dict__.pop("forward", None)
        if before is not None:
            model.forward = before


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Turn off progress bars, logs, warnings and telemetry of the libraries."""
    disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub_constants.HF_HUB_DISABLE_TELEMETRY = True
    for name in ("transformers", "trl", "peft", "accelerate", "datasets"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
