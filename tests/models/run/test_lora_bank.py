"""The adapted layers against PEFT, for nine architectures, and the bank's own properties."""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.linear import base_layer
from mpg_cli.models.load.adapter import Adapter, LoraPair, Row, read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.personas.adapter_config import Targets
from tests.support.adapters import peft_log_probs, tiny_adapter
from tests.support.models import ALL, SIZES, log_probs, random_tokens, tiny_model

TOLERANCE = 1e-5  # of log-probabilities in float32
MOVED = 1e-2  # adapters must move them by more


def read(folder: Path, model: nn.Module) -> Adapter:
    return fit_adapter(read_adapter(folder, folder.name), model)


def expert(adapter: Adapter) -> Row:
    return [(adapter, 1.0)]


def passed(model: nn.Module, bank: LoraBank, rows: Sequence[Row], tokens: Tensor) -> Tensor:
    """Log-probabilities (P, T, V) of a pass over tokens (P, T), or (T,) for every row."""
    with bank.active(bank.assign(rows)):
        return log_probs(model, tokens if tokens.dim() > 1 else tokens.expand(len(rows), -1))


def gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("architecture", ALL)
def test_each_row_is_pefts_model(architecture: str, tmp_path: Path) -> None:
    """In the order of the stack, and in another one, with a reference between and a row twice."""
    model, tokens = tiny_model(architecture), random_tokens(batch=1)
    folders = [
        tiny_adapter(tmp_path / "a", architecture, seed=1, r=2),
        tiny_adapter(tmp_path / "b", architecture, seed=2, r=5, use_rslora=True),
        tiny_adapter(tmp_path / "c", architecture, seed=3, r=9),
    ]
    a, b, c = (expert(read(folder, model)) for folder in folders)
    exact = [peft_log_probs(architecture, folder, tokens)[0] for folder in (None, *folders)]
    bank = LoraBank(model)
    bank.retain([a, b, c])
    for rows, which in (
        ([[], [], a, b, c], (0, 0, 1, 2, 3)),
        ([c, [], b, a, c, c], (3, 0, 2, 1, 3, 3)),
        ([b, a], (2, 1)),
    ):
        found = passed(model, bank, rows, tokens[0])
        for row, index in zip(found, which, strict=True):
            assert gap(row, exact[index]) <= TOLERANCE
    assert min(gap(one, other) for one in exact for other in exact if one is not other) > MOVED


def test_a_merged_row_is_pefts_sum(tmp_path: Path) -> None:
    """The `cat` of PEFT, a negative weight included, beside other weights and one adapter alone."""
    model, tokens = tiny_model(), random_tokens(batch=1)
    folders = [tiny_adapter(tmp_path / name, seed=len(name), r=2 + len(name)) for name in ("a", "bb")]
    a, b = (read(folder, model) for folder in folders)
    weights = [(0.7, -0.4), (0.3, 1.5)]
    exact = []
    for pair in weights:
        peft = PeftModel.from_pretrained(tiny_model(), str(folders[0]), adapter_name="a")
        peft.load_adapter(str(folders[1]), adapter_name="b")
        peft.add_weighted_adapter(["a", "b"], list(pair), "merged", combination_type="cat")
        peft.set_adapter("merged")
        exact.append(log_probs(peft.eval(), tokens)[0])
    rows: list[Row] = [[(a, first), (b, second)] for first, second in weights]
    bank = LoraBank(model)
    bank.retain([*rows, expert(b)])
    found = passed(model, bank, [rows[1], expert(b), rows[0], [], rows[1]], tokens[0])
    assert gap(found[0], exact[1]) <= TOLERANCE
    assert gap(found[1], peft_log_probs("llama", folders[1], tokens)[0]) <= TOLERANCE
    assert gap(found[2], exact[0]) <= TOLERANCE
    assert gap(found[3], log_probs(tiny_model(), tokens)[0]) <= TOLERANCE
    assert torch.equal(found[0], found[4])
    assert gap(*exact) > MOVED


def test_a_merged_row_of_convolutions_is_the_sum_of_the_updates(tmp_path: Path) -> None:
    """GPT-2's Conv1D has its weight transposed; the second adapter has one layer of the first."""
    model, tokens = tiny_model("gpt2"), random_tokens(batch=1)
    weights = (0.7, -0.4)
    adapters = [
        read(tiny_adapter(tmp_path / "a", "gpt2", seed=1, r=2), model),
        read(tiny_adapter(tmp_path / "b", "gpt2", seed=2, r=5, targets=["c_fc"]), model),
    ]
    row = list(zip(adapters, weights, strict=True))
    bank = LoraBank(model)
    bank.retain([row])
    summed = tiny_model("gpt2")
    for adapter, weight in row:
        for name, pair in adapter.pairs.items():
            summed.get_submodule(name).weight += (weight * pair.scale * (pair.b @ pair.a)).T  # (in, out)
    assert gap(passed(model, bank, [row], tokens), log_probs(summed, tokens)) <= TOLERANCE
    assert torch.equal(passed(model, bank, [row[::-1]], tokens), passed(model, bank, [row], tokens))


def test_adapters_with_different_layers_and_ranks_leave_each_other_alone(tmp_path: Path) -> None:
    model, tokens = tiny_model(), random_tokens(batch=1)
    folders = [
        tiny_adapter(tmp_path / "a", seed=1, targets=["q_proj"]),
        tiny_adapter(tmp_path / "b", seed=2, targets=["down_proj", "lm_head"]),
        tiny_adapter(tmp_path / "c", seed=3, rank_pattern={"q_proj": 17}),
    ]
    a, b = (expert(read(folder, model)) for folder in folders[:2])
    bank = LoraBank(model)
    bank.retain([a, b])
    untouched = [name for name, module in model.named_modules() if base_layer(module) is module]
    assert "lm_head" not in untouched
    assert "model.layers.1.mlp.down_proj" not in untouched
    assert "model.layers.1.self_attn.k_proj" in untouched
    c = expert(read(folders[2], model))  # fits the layers that were replaced
    bank.retain([c])
    for rows, which in (([a, [], b], (0, None, 1)), ([c, b, a, b, [], c], (2, 1, 0, 1, None, 2))):
        for row, index in zip(passed(model, bank, rows, tokens[0]), which, strict=True):
            folder = None if index is None else folders[index]
            assert gap(row, peft_log_probs("llama", folder, tokens)[0]) <= TOLERANCE


def test_any_rows_in_any_order_are_those_of_one_pass_each(tmp_path: Path) -> None:
    """Random passes, while adapters come and go and the stacks move."""
    model, draw = tiny_model("llama", num_hidden_layers=1), random.Random(0)
    adapters = [
        read(tiny_adapter(tmp_path / str(n), seed=n, r=(2, 3, 11)[n % 3], base=model), model)
        for n in range(1, 10)
    ]
    known: list[Row] = [expert(adapter) for adapter in adapters]
    known += [[(a, 0.6), (b, -0.3)] for a, b in zip(adapters, adapters[3:], strict=False)]
    tokens = random_tokens(batch=40, length=5)
    bank = LoraBank(model)
    held: list[list[Row]] = []
    for _ in range(20):
        while held and (len(held) > 5 or draw.random() < 0.4):
            bank.release(held.pop(draw.randrange(len(held))))
        held.append(draw.sample(known, draw.randint(1, 6)))
        bank.retain(held[-1])
        choices: list[Row] = [[], *(row for rows in held for row in rows)]
        rows = [draw.choice(choices) for _ in range(draw.randint(1, 40))]
        found = passed(model, bank, rows, tokens[: len(rows)])
        for index, row in enumerate(rows):
            alone = passed(model, bank, [row], tokens[index : index + 1])[0]
            assert gap(found[index], alone) <= TOLERANCE
    for rows in held:
        bank.release(rows)
    assert bank.memory() == 0


def test_an_adapter_is_stored_once_and_freed_with_its_last_user(tmp_path: Path) -> None:
    model, tokens = tiny_model(), random_tokens(batch=1)
    a, b = (
        expert(read(tiny_adapter(tmp_path / name, seed=seed), model)) for name, seed in (("a", 1), ("b", 2))
    )
    bank = LoraBank(model)
    bank.retain([a])
    size, exact = bank.memory(), passed(model, bank, [a], tokens)
    assert bank.needed([a, b, [], list(b)]) == size
    bank.retain([a, b, []])
    assert bank.memory() == 2 * size
    bank.release([a])
    assert torch.equal(passed(model, bank, [a], tokens), exact)
    bank.release([a, b])
    assert bank.memory() == 0
    with pytest.raises(RuntimeError, match="is not retained"):
        bank.assign([a])
    with pytest.raises(RuntimeError, match="is not retained"):
        bank.release([a])


def test_adapters_that_leave_a_large_stack_free_memory(tmp_path: Path) -> None:
    model = tiny_model("llama", num_hidden_layers=1)
    rows = [expert(read(tiny_adapter(tmp_path / str(n), seed=n, base=model), model)) for n in range(1, 9)]
    bank = LoraBank(model)
    bank.retain(rows[:1])
    one = bank.memory()
    for row in rows[1:]:
        bank.retain([row])
    assert 8 * one <= bank.memory() <= 12 * one
    exact = passed(model, bank, rows[:1], random_tokens(batch=1))
    bank.release(rows[1:])
    assert bank.memory() == one
    assert torch.equal(passed(model, bank, rows[:1], random_tokens(batch=1)), exact)


def test_equal_rows_are_one_assignment_until_something_moves(tmp_path: Path) -> None:
    model = tiny_model()
    a, b, c = (expert(read(tiny_adapter(tmp_path / str(n), seed=n), model)) for n in (1, 2, 3))
    bank = LoraBank(model)
    bank.retain([a, b])
    assert bank.assign([[], []]) is None
    first = bank.assign([[], a, b])
    assert first is not None
    assert bank.assign([[], list(a), b]) is first
    other = bank.assign([[], b, a])
    assert other is not None
    assert other.version != first.version
    bank.retain([c])  # the stack grows
    again = bank.assign([[], a, b])
    assert again is not None
    assert again.version not in (first.version, other.version)
    with pytest.raises(RuntimeError, match="outdated"), bank.active(first):
        pass
    bank.release([b])
    with pytest.raises(RuntimeError, match="outdated"), bank.active(again):
        pass
    bank.retain([b])
    assert bank.assign([[], a, b]) is not again


def test_contexts_nest(tmp_path: Path) -> None:
    model, tokens = tiny_model(), random_tokens(batch=1)
    base = log_probs(model, tokens)
    row = expert(read(tiny_adapter(tmp_path / "a"), model))
    bank = LoraBank.of(model)
    assert LoraBank.of(model) is bank
    bank.retain([row])
    outer = passed(model, bank, [row, row], tokens[0])
    with bank.active(bank.assign([row, row])):
        assert torch.equal(passed(model, bank, [[]], tokens), base)
        assert torch.equal(log_probs(model, tokens.repeat(2, 1)), outer)
        with pytest.raises(ZeroDivisionError), bank.active(None):
            _ = 1 / 0
        assert torch.equal(log_probs(model, tokens.repeat(2, 1)), outer)
        with pytest.raises(RuntimeError, match="3 sequences cannot be 2 rows"):
            log_probs(model, tokens.repeat(3, 1))
    assert torch.equal(log_probs(model, tokens), base)
    assert gap(outer[0], base[0]) > MOVED


def test_the_model_keeps_its_parameters(tmp_path: Path) -> None:
    model = tiny_model("qwen3")  # tied embeddings, an adapted lm_head
    names = list(model.state_dict())
    bank = LoraBank(model)
    bank.retain([expert(read(tiny_adapter(tmp_path / "a", "qwen3"), model))])
    assert list(model.state_dict()) == names
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_flattened_tokens_are_served(tmp_path: Path) -> None:
    """A mixture-of-experts layer hands its shared expert all tokens in one dimension, (P·T, d)."""
    from transformers import AutoModelForCausalLM, Qwen2MoeConfig

    own = {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24}
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(Qwen2MoeConfig(**SIZES, **own)).eval().requires_grad_(False)
    tokens, targets = random_tokens(batch=1), ["q_proj", "shared_expert.gate_proj", "shared_expert.down_proj"]
    folders = [
        tiny_adapter(tmp_path / name, seed=len(name), base=model, targets=targets) for name in ("a", "bb")
    ]
    exact = [log_probs(model, tokens)] + [
        log_probs(PeftModel.from_pretrained(deepcopy(model), str(folder)), tokens) for folder in folders
    ]
    a, b = (expert(read(folder, model)) for folder in folders)
    bank = LoraBank(model)
    bank.retain([a, b])
    for rows, which in (([[], a, b], (0, 1, 2)), ([b, a, [], b, a], (2, 1, 0, 2, 1))):
        for row, index in zip(passed(model, bank, rows, tokens[0]), which, strict=True):
            assert gap(row, exact[index][0]) <= TOLERANCE
    assert gap(exact[1], exact[0]) > MOVED


def test_a_sliced_input_is_served(tmp_path: Path) -> None:
    """`logits_to_keep` hands lm_head a view that is not contiguous."""
    model, tokens = tiny_model("qwen3"), random_tokens(batch=1).repeat(5, 1)
    a, b = (expert(read(tiny_adapter(tmp_path / str(n), "qwen3", seed=n), model)) for n in (1, 2))
    bank = LoraBank(model)
    bank.retain([a, b])
    for rows in ([[], a, a, b, b], [b, a, [], b, a]):
        with torch.inference_mode(), bank.active(bank.assign(rows)):
            whole = model(tokens).logits[:, -3:]
            assert gap(model(tokens, logits_to_keep=3).logits, whole) <= TOLERANCE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stacks_are_kept_in_the_models_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    model, tokens = tiny_model(), random_tokens(batch=1)
    row = expert(read(tiny_adapter(tmp_path / "a"), model))
    exact = peft_log_probs("llama", tmp_path / "a", tokens)[0]
    bank = LoraBank(model.to(dtype))
    bank.retain([row])
    found = passed(model, bank, [[], row], tokens[0])
    assert found[1].sub(exact).abs().mean() < 0.03
    assert found[0].sub(exact).abs().mean() > 0.1


def pairs_of(name: str, pairs: dict[str, LoraPair]) -> Adapter:
    return Adapter(name, Path(name), pairs, None, name, Targets(tuple(pairs)))


def test_a_factor_beyond_float16_is_an_error() -> None:
    """What is retained stays; what came with it does not."""
    model = nn.ModuleDict({"up": nn.Linear(2, 2)}).half()
    pair = LoraPair(torch.ones(1, 2), torch.full((2, 1), 1e4), scale=1.0)
    quiet, other = (expert(pairs_of(name, {"up": pair})) for name in ("quiet", "other"))
    loud = expert(pairs_of("loud", {"up": replace(pair, scale=10.0)}))
    bank = LoraBank(model)
    bank.retain([quiet])
    with pytest.raises(AdapterError, match="adapter loud: up exceeds the range of float16"):
        bank.retain([quiet, other, loud])
    bank.release([quiet])
    assert bank.memory() == 0


class Bits:
    """One layer in 16 bits whose own output is its bias: what a row gets besides is its adapter's."""

    def __init__(self, d_in: int, d_out: int, dtype: torch.dtype) -> None:
        self.draw = torch.Generator().manual_seed(d_in)
        layer = nn.Linear(d_in, d_out)
        layer.weight.data.zero_()
        layer.bias.data.copy_(self.random(d_out))
        self.model = nn.ModuleDict({"up": layer}).to(dtype).requires_grad_(False)
        self.bank = LoraBank(self.model)
        self.x = self.random(64, 64, d_in).to(dtype)  # (rows, T, d_in)
        self.d_in, self.d_out = d_in, d_out

    def random(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.draw)

    def adapter(self, name: str, rank: int) -> Adapter:
        a, b = self.random(rank, self.d_in) / self.d_in**0.5, self.random(self.d_out, rank)
        return pairs_of(name, {"up": LoraPair(a, b, 0.5)})

    def passed(self, rows: Sequence[Row], x: Tensor) -> Tensor:
        """y (rows, T, d_out)."""
        with torch.inference_mode(), self.bank.active(self.bank.assign(rows)):
            y: Tensor = self.model["up"](x)
            return y


@pytest.mark.parametrize(
    "d_in, d_out, dtype",
    [
        (160, 448, torch.bfloat16),
        (160, 448, torch.float16),
        (576, 192, torch.bfloat16),
        (1536, 576, torch.bfloat16),
    ],
)
def test_the_bits_of_a_row_do_not_depend_on_what_shares_its_pass(
    d_in: int, d_out: int, dtype: torch.dtype
) -> None:
    """On a CPU in 16 bits: companions, their ranks, number and order, tokens, places, other adapters."""
    bits, draw = Bits(d_in, d_out, dtype), random.Random(d_out)
    ranks = (4, 8, 16, 64, 8, 16, 5)
    experts = [bits.adapter(f"{n}", rank) for n, rank in enumerate(ranks)]
    rows: list[Row] = [[], *map(expert, experts)]
    rows += [[(experts[0], 0.7), (experts[3], 0.5)], [(a, 0.3) for a in experts[:5]]]
    bits.bank.retain(rows)
    # Every row with an input of its own, 64 tokens, alone.
    alone = [bits.passed([row], bits.x[n : n + 1])[0] for n, row in enumerate(rows)]
    assert not torch.equal(alone[1], alone[0])

    def check(which: Sequence[int], length: int) -> None:
        x = bits.x[list(which), :length].contiguous()
        found = bits.passed([rows[n] for n in which], x)
        for at, n in enumerate(which):
            assert torch.equal(found[at], alone[n][:length]), (which, length, at)

    for length in range(1, 18):
        for n in range(len(rows)):
            check([n], length)
    for length in (1, 2, 3, 5, 17, 64):
        for batch in (1, 2, 8) if length < 17 else (1,):  # one blend
            check([n for n in range(8) for _ in range(batch)], length)
    for length, count in ((1, 2), (1, 13), (1, 64), (2, 30), (4, 6), (5, 13), (17, 3), (64, 2)):
        check([draw.randrange(len(rows)) for _ in range(count)], length)
    # Others come and go, and the stacks move.
    bits.bank.release(rows[1:4])
    strangers = [expert(bits.adapter(f"s{n}", draw.choice(ranks))) for n in range(12)]
    bits.bank.retain([*strangers, *rows[1:4]])
    for length in (1, 5):
        check(range(len(rows)), length)
        check(range(len(rows))[::-1], length)
