"""Cards, pictures and archives built by hand, honest ones and hostile ones."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

SIGNATURE = b"\x89PNG\r\n\x1a\n"

V1 = {
    "name": "Haruhi",
    "description": "{{char}} runs a club.",
    "personality": "bold",
    "scenario": "A school.",
    "first_mes": "Hey <USER>!",
    "mes_example": "<START>\n{{user}}: hi\n{{Char}}: hello\n<start>\n{{user}}: bye\n<BOT>: no",
}


def v2(**data: Any) -> dict[str, Any]:
    """A V2 card with these fields."""
    return {
        "spec": "chara_card_v2",
        "spec_version": "2.0",
        "data": {"name": "Ada", "description": "Wise.", **data},
    }


def v3(**data: Any) -> dict[str, Any]:
    """A V3 card with these fields."""
    return v2(**data) | {"spec": "chara_card_v3", "spec_version": "3.0"}


def encoded(card: Any) -> bytes:
    """As it lies in a picture."""
    return base64.b64encode(json.dumps(card).encode())


def chunk(kind: bytes, content: bytes, *, crc: int | None = None, length: int | None = None) -> bytes:
    """One chunk of a PNG, with the right checksum and length unless given."""
    right = zlib.crc32(kind + content)
    size = len(content) if length is None else length
    return struct.pack(">I", size) + kind + content + struct.pack(">I", right if crc is None else crc)


HEAD = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
PIXELS = chunk(b"IDAT", zlib.compress(b"\0\0"))
TAIL = chunk(b"IEND", b"")


def png(*chunks: bytes) -> bytes:
    """A picture of one pixel with these chunks in the middle."""
    return SIGNATURE + HEAD + b"".join(chunks) + PIXELS + TAIL


def text(keyword: str, content: bytes) -> bytes:
    """A tEXt chunk."""
    return chunk(b"tEXt", keyword.encode() + b"\0" + content)


def charx(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with these entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def safetensors(**shapes: int) -> bytes:
    """A safetensors file of float32 zeros: so many numbers under each name."""
    header: dict[str, Any] = {}
    end = 0
    for name, count in shapes.items():
        header[name] = {"dtype": "F32", "shape": [count], "data_offsets": [end, end + 4 * count]}
        end += 4 * count
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(end)


ADAPTER = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj"],
    "base_model_name_or_path": "Qwen/Qwen3-0.6B",
}


def adapter_folder(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({**ADAPTER, **config}))
    (folder / "adapter_model.safetensors").write_bytes(safetensors(a=4, b=4))
    return folder
