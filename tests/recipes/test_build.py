"""A very short run of the recipe, and the files that it has written into the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "mpg_cli" / "data" / "mpg-tiny"
ADAPTERS = ROOT / "personas" / "adapters" / "mpg-tiny"
MACHINE_PATHS = (b"/work", b"/tmp", b"/root", b"/home")


def _bundled() -> list[Path]:
    return [path for folder in (BASE, ADAPTERS) for path in folder.rglob("*") if path.is_file()]


def test_the_bundle_is_complete_and_at_most_twelve_megabytes() -> None:
    assert sum(path.stat().st_size for path in _bundled()) <= 12_000_000
    present = {path.name for path in BASE.iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "README.md",
    } <= present
    adapters = {folder.name for folder in ADAPTERS.iterdir()}
    assert set("EISNTFJP") | {"pirate"} <= adapters
    assert len(adapters) >= 12


def test_the_bundle_names_no_path_of_a_machine() -> None:
    assert [
        path.name for path in _bundled() if any(word in path.read_bytes() for word in MACHINE_PATHS)
    ] == []


def test_an_adapter_holds_its_weights_and_configuration_only() -> None:
    for folder in ADAPTERS.iterdir():
        assert {path.name for path in folder.iterdir()} == {
            "adapter_config.json",
            "adapter_model.safetensors",
        }
        assert (
            json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "mpg-tiny"
        )


def test_the_chat_template_serves_a_system_turn_and_several_turns() -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(BASE)
    chat = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|system|>system<|end|><|user|>user<|end|><|assistant|>assistant<|end|><|user|>user<|end|><|assistant|>"
    )
    config = transformers.AutoConfig.from_pretrained(BASE)
    assert config.eos_token_id == tokenizer.eos_token_id
    assert config.max_position_embeddings >= 512


def test_a_short_run_of_the_recipe_writes_a_model_and_an_adapter(tmp_path: Path) -> None:
    """Everything that the long run does, in a toy size; the threads of torch are put back afterwards."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("trl")
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    from recipes.mpg_tiny.build import main
    from recipes.mpg_tiny.measure import generate, load_experts

    threads = torch.get_num_threads()
    try:
        main(["--short", "--out", str(tmp_path), "--only", "I", "pirate", "--threads", "1"])
    finally:
        torch.set_num_threads(threads)
    base, adapters = (
        tmp_path / "mpg_cli" / "data" / "mpg-tiny",
        tmp_path / "personas" / "adapters" / "mpg-tiny",
    )
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(
        word in path.read_bytes() for path in written for word in (*MACHINE_PATHS, str(tmp_path).encode())
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    loaded = peft.PeftModel.from_pretrained(model, str(adapters / "pirate"))
    assert any("lora_B" in name and tensor.abs().sum() > 0 for name, tensor in loaded.state_dict().items())
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    texts = generate(
        load_experts(base, adapters, ["I", "pirate"]),
        {"I": 1.0, "pirate": 1.0},
        ["Hello?"],
        tokenizer,
        max_tokens=4,
    )
    assert len(texts) == 1
