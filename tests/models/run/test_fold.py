"""The folded copy of a model against the stacked row of the same adapters."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.adapter import Adapter, LoraPair, read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.run.fold import FoldedCopies, fold
from mpg_cli.models.run.lora_bank import LoraBank
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
    bank.retain([row])
    with bank.active(bank.assign([row] * len(tokens))):
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


def test_one_copy_is_shared(tmp_path: Path) -> None:
    model = tiny_model("llama")
    row = adapters_for(model, tmp_path, "llama")
    bank = LoraBank.of(model)
    first = bank.folded(row)
    assert bank.folded(row[::-1]) is first
    assert bank.folded([(row[0][0], 0.5)]) is not first


def test_the_copies_used_last_are_kept_up_to_a_limit(tmp_path: Path) -> None:
    model, tokens = tiny_model("llama"), random_tokens()
    row = adapters_for(model, tmp_path, "llama")
    touched = sum(model.get_submodule(name).weight.nbytes for name in row[0][0].pairs)
    copies = FoldedCopies(model, limit=2 * touched)
    rows = [[(row[0][0], weight)] for weight in (0.1, 0.2, 0.3, 0.4)]
    alive = [weakref.ref(copies.get(rows[n])) for n in (0, 1, 0, 2)]
    assert copies.nbytes() == 2 * touched
    assert alive[0]() is alive[2]() is copies.get(rows[0])
    assert alive[1]() is None
    held = copies.get(rows[1])
    for n in (2, 3):
        copies.get(rows[n])
    assert alive[0]() is None
    assert copies.nbytes() == 2 * touched
    assert copies.get(rows[1]) is held, "in use, so not folded again"
    assert torch.equal(log_probs(held, tokens), log_probs(fold(model, rows[1]), tokens))


def test_a_copy_above_the_limit_lives_as_long_as_its_users(tmp_path: Path) -> None:
    model = tiny_model("llama")
    copies, row = FoldedCopies(model, limit=1), adapters_for(model, tmp_path, "llama")
    held = copies.get(row)
    assert copies.get(row[::-1]) is held
    assert copies.nbytes() == 0
    alive = weakref.ref(held)
    del held
    assert alive() is None


def test_a_sum_beyond_the_precision_is_an_error(tmp_path: Path) -> None:
    model = tiny_model("llama").to(torch.float16)
    (adapter, _), *_ = adapters_for(model, tmp_path, "llama")
    huge = {name: LoraPair(pair.a, pair.b * 1e6, 1.0) for name, pair in adapter.pairs.items()}
    with pytest.raises(AdapterError, match="exceeds the range of float16"):
        fold(model, [(replace(adapter, pairs=huge), 1.0)])
