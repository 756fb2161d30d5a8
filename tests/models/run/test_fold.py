"""The folded copy of a model against the stacked row of the same adapters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.adapter import Adapter, LoraPair, read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.run.fold import fold
from mpg_cli.models.run.lora import LoraBank
from tests.support.adapters import tiny_adapter
from tests.support.models import ALL, log_probs, random_tokens, tiny_model


def adapters_for(model: torch.nn.Module, folder: Path, architecture: str) -> list[tuple[Adapter, float]]:
    row = []
    for seed, weight in ((1, 1.0), (2, -0.5)):
        path = tiny_adapter(folder / str(seed), architecture, seed=seed, r=seed + 1)
        adapter = fit_adapter(read_adapter(path, path.name), model)
        row.append((adapter, weight))
    return row


@pytest.mark.parametrize("architecture", ALL)
def test_a_folded_copy_is_the_merged_row(architecture: str, tmp_path: Path) -> None:
    model, tokens = tiny_model(architecture), random_tokens()
    before = {name: p.clone() for name, p in model.named_parameters()}
    base = log_probs(model, tokens)
    row = adapters_for(model, tmp_path, architecture)
    bank = LoraBank(model)
    bank.add("merged", [row])
    with bank.active("merged"):
        merged = log_probs(model, tokens)
    folded = bank.folded(row)
    assert float((log_probs(folded, tokens) - merged).abs().max()) <= 1e-4
    assert float((merged - base).abs().max()) > 1e-2
    assert float((log_probs(model, tokens) - base).abs().max()) == 0  # the model is as it was
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_a_folded_copy_shares_what_no_adapter_touches(tmp_path: Path) -> None:
    model = tiny_model("llama")
    row = adapters_for(model, tmp_path, "llama")
    touched = set(row[0][0].pairs)
    folded = LoraBank.of(model).folded(row)
    theirs = dict(folded.named_parameters())
    for name, parameter in model.named_parameters():
        assert (theirs[name] is parameter) == (name.removesuffix(".weight") not in touched), name


def test_one_copy_is_shared_and_freed_with_the_last_user(tmp_path: Path) -> None:
    model = tiny_model("llama")
    row = adapters_for(model, tmp_path, "llama")
    bank = LoraBank.of(model)
    first = bank.folded(row)
    assert bank.folded(list(row)) is first
    assert bank.folded([(row[0][0], 0.5)]) is not first
    del first
    assert len(bank._folded) == 0


def test_a_sum_beyond_the_precision_is_an_error(tmp_path: Path) -> None:
    model = tiny_model("llama").to(torch.float16)
    (adapter, _), *_ = adapters_for(model, tmp_path, "llama")
    huge = {name: LoraPair(pair.a, pair.b * 1e6, 1.0) for name, pair in adapter.pairs.items()}
    with pytest.raises(AdapterError, match="exceeds the range of float16"):
        fold(model, [(replace(adapter, pairs=huge), 1.0)])
