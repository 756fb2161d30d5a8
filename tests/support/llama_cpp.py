"""llama.cpp's tokenizer, through the server of xllamacpp, and tiny GGUF files for it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest


def write_gguf(path: Path, metadata: Mapping[str, Any]) -> Path:
    """A Llama of one layer with this metadata (its tokenizer), in which every weight is zero."""
    import gguf

    width = 32
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(width)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    kinds = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}
    for key, value in metadata.items():
        kinds[type(value)](key, value)
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (len(metadata["tokenizer.ggml.tokens"]), width),
        "output_norm": (width,),
        "blk.0.attn_norm": (width,),
        "blk.0.ffn_norm": (width,),
        **{f"blk.0.{name}": (width, width) for name in square},
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class LlamaTokenizer:
    """The tokenizer that llama.cpp makes of a GGUF file; skips the test without xllamacpp."""

    def __init__(self, path: Path) -> None:
        llama = pytest.importorskip("xllamacpp", reason="llama.cpp is compared through xllamacpp")
        parameters = llama.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx, parameters.n_parallel = 64, 1
        parameters.warmup, parameters.verbosity = False, -1
        self._server = llama.Server(parameters)
        address = urlsplit(self._server.listening_address)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port)

    def __enter__(self) -> LlamaTokenizer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        del self._server

    def encode(self, text: str, around: bool = False) -> list[int]:
        """The ids of a text; `around`: with the bos and eos tokens that the file asks for."""
        body = {"content": text, "add_special": around, "parse_special": True}
        return self._post("/tokenize", body)["tokens"]

    def decode(self, ids: list[int]) -> str:
        return self._post("/detokenize", {"tokens": ids})["content"]

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())
