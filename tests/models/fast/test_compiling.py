"""`--compile`: the same numbers, also for a folded copy; a clear error where it cannot."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.errors import ModelError
from mpg_cli.models.fast import accelerate
from mpg_cli.models.fast.compiling import compile_model
from mpg_cli.models.load.adapter import read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.run.attention import use_few_queries
from mpg_cli.models.run.lora_bank import LoraBank
from tests.support.adapters import tiny_adapter
from tests.support.models import log_probs, random_tokens, tiny_model
from tests.support.rows import AlikeRows


def is_compiled(model: Any) -> bool:
    return model._compiled_call_impl is not None


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_rows_are_the_plain_ones_and_compile_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a prompt, steps and score passes over a growing context."""
    monkeypatch.setenv("MPG_FAST", "1")
    path = tiny_adapter(tmp_path / "a", base=tiny_model("llama", num_hidden_layers=1))
    prompts = random_tokens(batch=2, length=9).tolist()
    results = []
    for compiled in (False, True):
        model = tiny_model("llama", num_hidden_layers=1)
        adapter = fit_adapter(read_adapter(path, "a"), model)
        bank = LoraBank.of(model)
        if compiled:
            use_few_queries(model)
            assert accelerate(model, compiled=True)
        folded = bank.folded([(adapter, 1.0)])
        assert is_compiled(model) == is_compiled(folded) == compiled
        rows = AlikeRows(model, ["reference", "a"], adapters=[[(adapter, 1.0)]])
        rows.prefill([[prompts[0], prompts[1][:6]]])
        found = []
        for size in (0, 0, 3, 3, 2, 0):
            found.append(rows.score(torch.full((1, 1, size), 7, dtype=torch.long)).log_probs.flatten())
            rows.commit([size], [[5]])
        results.append(torch.cat(found))
    assert float((results[0] - results[1]).abs().max()) <= 1e-4
    counts = torch._dynamo.utils.counters["stats"]
    assert counts["unique_graphs"] <= 8


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_other_adapters_do_not_compile_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views and gathered rows, other stacks and ranks, none at all, stacks that grow."""
    monkeypatch.setenv("MPG_FAST", "1")
    fields = {"num_hidden_layers": 1}
    compiled, plain = (tiny_model("llama", **fields) for _ in range(2))
    assert accelerate(compiled, compiled=True)
    banks = [LoraBank.of(model) for model in (compiled, plain)]
    adapters = [
        fit_adapter(read_adapter(tiny_adapter(tmp_path / str(n), seed=n, r=r, base=plain), str(n)), plain)
        for n, r in ((1, 4), (2, 5), (3, 20), (4, 6))
    ]
    a, b, c, d = ([(adapter, 1.0)] for adapter in adapters)
    merged = [(adapters[0], 0.5), (adapters[2], -0.5)]
    for bank in banks:
        bank.retain([a, b, c, merged])
    stats = torch._dynamo.utils.counters["stats"]
    before = stats["unique_graphs"]
    for length in (6, 4, 9):
        for rows in ([[], a, b], [b, c, a], [merged, a, [], merged], [[], []], [a, d, c]):
            if d in rows and length == 6:
                for bank in banks:
                    bank.retain([d])
            tokens = random_tokens(batch=len(rows), length=length)
            found = []
            for model, bank in zip((compiled, plain), banks, strict=True):
                with bank.active(bank.assign(rows)):
                    found.append(log_probs(model, tokens))
            assert float((found[0] - found[1]).abs().max()) <= 1e-4
    assert stats["unique_graphs"] - before <= 2


def test_a_compiler_that_fails_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler found\nwith a second line")

    monkeypatch.setattr(
        type(model), "compile", lambda self, **_: setattr(self, "_compiled_call_impl", broken)
    )
    with pytest.raises(ModelError, match=r"torch.compile does not work here: no compiler found$"):
        compile_model(model)
    assert not is_compiled(model)
    assert model(input_ids=random_tokens(batch=1)).logits.isfinite().all()
