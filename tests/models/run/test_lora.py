"""The stacked layer against PEFT, for eight architectures, and the bank's own properties."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.adapter import Adapter, LoraPair, read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.run.lora import LoraBank, StackedLinear
from mpg_cli.personas.adapter_config import Targets
from tests.support.adapters import peft_log_probs, tiny_adapter
from tests.support.models import ALL, SIZES, log_probs, random_tokens, tiny_model

TOLERANCE = 1e-5  # of log-probabilities in float32
MOVED = 1e-2  # adapters must move them by more


def read(folder: Path, model: nn.Module) -> Adapter:
    return fit_adapter(read_adapter(folder, folder.name), model)


def rows_of(model: nn.Module, bank: LoraBank, stack: str | None, rows: int, tokens: Tensor) -> Tensor:
    """Log-probabilities (R, M, T, V) of the same prompts (M, T) in every row."""
    with bank.active(stack, rows=rows):
        flat = log_probs(model, tokens.repeat(rows, 1))  # (R·M, T, V)
    return flat.view(rows, -1, *flat.shape[1:])


def gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("architecture", ALL)
def test_each_row_is_pefts_model(architecture: str, tmp_path: Path) -> None:
    model, tokens = tiny_model(architecture), random_tokens()
    folders = [
        tiny_adapter(tmp_path / "a", architecture, seed=1, r=2),
        tiny_adapter(tmp_path / "b", architecture, seed=2, r=5, use_rslora=True),
    ]
    base = peft_log_probs(architecture, None, tokens)
    adapters = [read(folder, model) for folder in folders]
    bank = LoraBank(model)
    bank.add("experts", [[(adapter, 1.0)] for adapter in adapters])
    rows = rows_of(model, bank, "experts", 4, tokens)  # two plain rows before the experts
    assert gap(rows[0], base) <= TOLERANCE
    assert gap(rows[1], base) <= TOLERANCE
    for row, folder in zip(rows[2:], folders, strict=True):
        assert gap(row, peft_log_probs(architecture, folder, tokens)) <= TOLERANCE
        assert gap(row, base) > MOVED
    assert gap(rows[2], rows[3]) > MOVED


def test_rows_of_a_batch_belong_to_their_prompts(tmp_path: Path) -> None:
    """Expert-major: sequence m of row r is prompt m under expert r, whatever the batch size."""
    model, tokens = tiny_model(), random_tokens(batch=3)
    adapter = read(tiny_adapter(tmp_path / "a"), model)
    bank = LoraBank(model)
    bank.add("one", [[(adapter, 1.0)]])
    together = rows_of(model, bank, "one", 2, tokens)
    for m in range(3):
        alone = rows_of(model, bank, "one", 2, tokens[m : m + 1])
        assert gap(together[:, m], alone[:, 0]) <= TOLERANCE


def test_a_merged_row_is_the_sum_of_the_weighted_updates(tmp_path: Path) -> None:
    """Against base weights with Σ w·ΔW added to them; negative weights included."""
    model, tokens = tiny_model("gpt2"), random_tokens()
    weights = (0.7, -0.4)
    adapters = [
        read(tiny_adapter(tmp_path / "a", "gpt2", seed=1, r=2), model),
        read(tiny_adapter(tmp_path / "b", "gpt2", seed=2, r=5, targets=["c_fc"]), model),
    ]
    bank = LoraBank(model)
    bank.add("merged", [list(zip(adapters, weights, strict=True))])
    merged = rows_of(model, bank, "merged", 1, tokens)[0]
    summed = tiny_model("gpt2")
    for adapter, weight in zip(adapters, weights, strict=True):
        for name, pair in adapter.pairs.items():
            summed.get_submodule(name).weight += (
                weight * pair.scale * (pair.b @ pair.a).T
            )  # Conv1D: (in, out)
    assert gap(merged, log_probs(summed, tokens)) <= TOLERANCE


def test_adapters_with_different_targets_leave_each_other_alone(tmp_path: Path) -> None:
    model, tokens = tiny_model(), random_tokens()
    folders = [
        tiny_adapter(tmp_path / "a", seed=1, targets=["q_proj"]),
        tiny_adapter(tmp_path / "b", seed=2, targets=["down_proj", "lm_head"]),
    ]
    adapters = [read(folder, model) for folder in folders]
    bank = LoraBank(model)
    bank.add("experts", [[(adapters[0], 1.0)], [], [(adapters[1], 1.0)]])
    rows = rows_of(model, bank, "experts", 3, tokens)
    for row, folder in zip(rows, (folders[0], None, folders[1]), strict=True):
        assert gap(row, peft_log_probs("llama", folder, tokens)) <= TOLERANCE
    names = {name for name, module in model.named_modules() if isinstance(module, StackedLinear)}
    assert "lm_head" in names
    assert "model.layers.1.mlp.down_proj" in names
    assert not any(name.endswith("k_proj") for name in names), "untargeted layers stay as they are"


def test_stacks_live_side_by_side_and_are_switched(tmp_path: Path) -> None:
    model, tokens = tiny_model(), random_tokens()
    base = log_probs(model, tokens)
    a, b = (read(tiny_adapter(tmp_path / name, seed=seed), model) for name, seed in (("a", 1), ("b", 2)))
    bank = LoraBank(model)
    bank.add("both", [[(a, 1.0)], [(b, 1.0)]])
    bank.add("drafter", [[(a, 0.5), (b, 0.5)]])
    assert bank.names == ("both", "drafter")
    assert bank.size("both") == 2
    assert bank.memory() > 0
    with bank.active("both", rows=2):
        drafted = rows_of(model, bank, "drafter", 1, tokens)[0]
        with bank.active(None, rows=7):
            assert gap(log_probs(model, tokens), base) == 0.0
        inner = log_probs(model, tokens.repeat(2, 1))
    assert gap(log_probs(model, tokens), base) == 0.0, "nothing is active outside"
    assert gap(drafted, base) > MOVED
    assert gap(inner[:2], drafted) > MOVED
    bank.remove("both")
    with pytest.raises(RuntimeError, match="no stack 'both'"), bank.active("both", rows=2):
        pass
    assert gap(rows_of(model, bank, "drafter", 1, tokens)[0], drafted) == 0.0


def test_the_state_before_returns_after_an_error(tmp_path: Path) -> None:
    model, tokens = tiny_model(), random_tokens()
    bank = LoraBank(model)
    bank.add("a", [[(read(tiny_adapter(tmp_path / "a"), model), 1.0)]])
    base = log_probs(model, tokens)
    with pytest.raises(RuntimeError, match="3 sequences cannot be 2 rows"), bank.active("a", rows=2):
        log_probs(model, random_tokens(batch=3))
    assert gap(log_probs(model, tokens), base) == 0.0


def test_the_model_keeps_its_parameters_and_gets_its_layers_back(tmp_path: Path) -> None:
    model = tiny_model("qwen3")  # tied embeddings, an adapted lm_head
    names = list(model.state_dict())
    kinds = [type(module) for module in model.modules()]
    bank = LoraBank(model)
    bank.add("a", [[(read(tiny_adapter(tmp_path / "a", "qwen3"), model), 1.0)]])
    assert list(model.state_dict()) == names
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    bank.detach()
    assert [type(module) for module in model.modules()] == kinds
    assert bank.names == ()


def test_flattened_tokens_are_served(tmp_path: Path) -> None:
    """A mixture-of-experts layer hands its shared expert all tokens in one dimension, (R·M·T, d)."""
    from transformers import AutoModelForCausalLM, Qwen2MoeConfig

    own = {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24}
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(Qwen2MoeConfig(**SIZES, **own)).eval().requires_grad_(False)
    tokens, targets = random_tokens(), ["q_proj", "shared_expert.gate_proj", "shared_expert.down_proj"]
    folders = [
        tiny_adapter(tmp_path / name, seed=len(name), base=model, targets=targets) for name in ("a", "bb")
    ]
    expected = [
        log_probs(PeftModel.from_pretrained(deepcopy(model), str(folder)), tokens) for folder in folders
    ]
    base = log_probs(model, tokens)
    bank = LoraBank(model)
    bank.add("both", [[(read(folder, model), 1.0)] for folder in folders])
    rows = rows_of(model, bank, "both", 3, tokens)
    for row, exact in zip(rows, [base, *expected], strict=True):
        assert gap(row, exact) <= TOLERANCE
    assert gap(rows[1], base) > MOVED


def test_a_sliced_input_is_served(tmp_path: Path) -> None:
    """`logits_to_keep` hands lm_head a view that is not contiguous."""
    model, tokens = tiny_model("qwen3"), random_tokens()
    bank = LoraBank(model)
    bank.add("a", [[(read(tiny_adapter(tmp_path / "a", "qwen3"), model), 1.0)]])
    with torch.inference_mode(), bank.active("a", rows=2):
        both = tokens.repeat(2, 1)
        whole = model(both).logits[:, -3:]
        assert gap(model(both, logits_to_keep=3).logits, whole) <= TOLERANCE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stacks_are_kept_in_the_models_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    model, tokens = tiny_model(), random_tokens()
    adapter = read(tiny_adapter(tmp_path / "a"), model)
    exact = peft_log_probs("llama", tmp_path / "a", tokens)
    bank = LoraBank(model.to(dtype))
    bank.add("a", [[(adapter, 1.0)]])
    rows = rows_of(model, bank, "a", 2, tokens)
    assert rows[1].sub(exact).abs().mean() < 0.03
    assert rows[0].sub(exact).abs().mean() > 0.1


def test_a_factor_beyond_float16_is_an_error() -> None:
    model = nn.ModuleDict({"up": nn.Linear(2, 2)}).half()
    pair = LoraPair(torch.ones(1, 2), torch.full((2, 1), 1e4), scale=10.0)
    adapter = Adapter("loud", Path("loud"), {"up": pair}, None, "", Targets(("up",)))
    with pytest.raises(AdapterError, match="adapter loud: up exceeds the range of float16"):
        LoraBank(model).add("a", [[(adapter, 1.0)]])
