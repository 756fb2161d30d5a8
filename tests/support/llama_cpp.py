"""llama.cpp with a GGUF file, through the server of xllamacpp, to compare with."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import torch
from torch import Tensor


class LlamaCpp:
    """A model of llama.cpp, with a LoRA file if one is given; skips the test without xllamacpp."""

    def __init__(self, path: Path, context: int = 64, adapter: Path | None = None) -> None:
        llama = pytest.importorskip("xllamacpp", reason="llama.cpp is compared through xllamacpp")
        parameters = llama.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx, parameters.n_parallel, parameters.verbosity = context, 1, -1
        parameters.cache_type_k = parameters.cache_type_v = llama.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.warmup = parameters.fit_params = False
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
        if adapter is not None:
            info = llama.CommonAdapterLoraInfo()
            info.path, info.scale = str(adapter), 1.0
            parameters.lora_adapters = [info]
        self._server = llama.Server(parameters)

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._server

    def encode(self, text: str, around: bool = False) -> list[int]:
        """The ids of a text; `around`: with the bos and eos tokens that the file asks for."""
        body = {"content": text, "add_special": around, "parse_special": True}
        return self._post("/tokenize", body)["tokens"]

    def decode(self, ids: Sequence[int]) -> str:
        return self._post("/detokenize", {"tokens": list(ids)})["content"]

    def log_probs(self, ids: Sequence[int], seed: int = 0) -> Tensor:
        """Log-probabilities (V) of the token after these, for a vocabulary of at most 1000."""
        body = {"prompt": list(ids), "n_predict": 1, "n_probs": 1000, "cache_prompt": False, "seed": seed}
        drawn = self._post("/completion", body).get("completion_probabilities")
        if not drawn:  # it drew the end token, which has no probabilities
            return self.log_probs(ids, seed + 1)
        found = {one["id"]: one["logprob"] for one in drawn[0]["top_logprobs"]}
        assert sorted(found) == list(range(len(found)))
        return torch.tensor([found[id_] for id_ in range(len(found))])

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self._server.listening_address}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
