"""What a sequence takes of the memory, and what there is."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from mpg_cli.engine.scheduler import Need
from mpg_cli.engine.sequence import Sequence
from mpg_cli.io.text import size_text
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.text.vocabulary import logits_width
from mpg_cli.sampling.chunk_size import MAX_ADAPTIVE

MAX_BATCH = {"cpu": 32, "cuda": 64, "mps": 32}  # slots, if their number is not given
MEMORY_SHARE = {"cpu": 0.5, "cuda": 0.8, "mps": 0.5}  # of the free memory
SCORE_COPIES = 4  # logits, log-probabilities, the target, warped


def need_of(sequence: Sequence) -> Need:
    """What a sequence takes."""
    rows, scheme = sequence.rows, sequence.rows.scheme
    count = sum(count for _, count in rows.counts)
    chunk = MAX_ADAPTIVE if scheme.chunk_size is None else scheme.chunk_size * scheme.threshold.ahead
    scores = count * (chunk + 1) * SCORE_COPIES * logits_width(rows.loaded.model) * 4
    return Need(count, sequence.positions + chunk + 1, rows.position_bytes // count, scores)


def with_adapters(need: Need, sequence: Sequence) -> Need:
    """The same with the adapters that it would bring now."""
    rows = sequence.rows
    return replace(need, adapters=LoraBank.of(rows.loaded.model).needed(rows.adapted))


def room(device: torch.device) -> int:
    """Bytes that may be taken now."""
    return int(MEMORY_SHARE.get(device.type, 0.5) * _free(device))


def fitting_slots(need: Need, device: torch.device) -> tuple[int, str]:
    """How many such sequences run together, and why."""
    most = MAX_BATCH.get(device.type, 16)
    each = need.rows * need.positions * need.row_bytes + need.scores
    fit = max(1, room(device) // each)
    if fit >= most:
        return most, f"the maximum on {device.type}"
    return fit, f"{size_text(each)} a prompt, {size_text(_free(device))} free"


def _free(device: torch.device) -> int:
    """Bytes of free memory."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
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
