"""The default batch size: how many prompts fit into memory together."""

from __future__ import annotations

import os

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.io.text import size_text
from mpg_cli.sampling.drafters import MAX_ADAPTIVE

MAX_BATCH = {"cpu": 32, "cuda": 64, "mps": 32}
MEMORY_SHARE = {"cpu": 0.5, "cuda": 0.8, "mps": 0.5}  # of the free memory
TOKENS = 1024  # assumed length of a prompt with its reply
LOGITS_COPIES = 4  # logits, log-probabilities, the target, warped


def fitting_batch(rows: BlendRows) -> tuple[int, str]:
    """A batch size and its reason, from the memory that is free now; `rows` have a batch of 1."""
    device = rows.loaded.device.value
    vocabulary = rows.loaded.model.get_output_embeddings().weight.shape[0]
    per_prompt = sum(group.rows * group.candidates for group in rows.groups)
    cache = rows.memory()["cache_bytes_per_token"] * TOKENS
    positions = max(MAX_ADAPTIVE, rows.chunk_size or 0) + 1  # of a pass, whose log-probabilities are held
    each = cache + per_prompt * positions * LOGITS_COPIES * vocabulary * 4
    free = _free(device)
    most = MAX_BATCH.get(device.type, 16)
    fit = max(1, int(MEMORY_SHARE.get(device.type, 0.5) * free) // each)
    size = min(fit, most)
    if size == most:
        return size, f"the maximum on {device.type}"
    return size, f"{size_text(each)} a prompt, {size_text(free)} free"


def _free(device: torch.device) -> int:
    """Bytes of free memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 4 * 2**30
