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


def test_the_report_is_of_these_files_and_explains_what_is_missed() -> None:
    pytest.importorskip("torch")
    from recipes.mpg_tiny.page import UNEXPLAINED, digests

    written = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    for digest in digests(ROOT):
        assert digest in written
    assert UNEXPLAINED not in written


def test_a_short_run_needs_an_output_folder(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trl")
    from recipes.mpg_tiny.build import main

    with pytest.raises(SystemExit) as ended:
        main(["--short"])
    assert ended.value.code == 2
    assert "give --out" in capsys.readouterr().err


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


def test_a_short_run_of_the_recipe_writes_model_adapters_report_and_card(tmp_path: Path) -> None:
    """Everything that the long run does, in a toy size; the threads of torch are put back afterwards."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("trl")
    pytest.importorskip("sklearn")
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    from recipes.mpg_tiny.build import main

    out, scratch = tmp_path / "out", tmp_path / "scratch"
    threads = torch.get_num_threads()
    try:
        main(
            [
                "--short",
                "--out",
                str(out),
                "--only",
                "I",
                "pirate",
                "--threads",
                "1",
                "--scratch",
                str(scratch),
            ]
        )
    finally:
        torch.set_num_threads(threads)
    base, adapters = out / "mpg_cli" / "data" / "mpg-tiny", out / "personas" / "adapters" / "mpg-tiny"
    written = [path for path in out.rglob("*") if path.is_file()]
    assert {base / "README.md", out / "docs" / "library.md"} <= set(written)
    assert not any(
        word in path.read_bytes() for path in written for word in (*MACHINE_PATHS, str(tmp_path).encode())
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    loaded = peft.PeftModel.from_pretrained(model, str(adapters / "pirate"))
    assert any("lora_B" in name and tensor.abs().sum() > 0 for name, tensor in loaded.state_dict().items())
    assert {path.name for path in (adapters / "I").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert {path.name for path in scratch.iterdir()} == {"I.jsonl", "pirate.jsonl", "personas"}


@pytest.mark.parametrize("steps, batch", [(120, 16), (3, 4), (1, 10), (57, 7)])
def test_the_pairs_fill_the_steps_once_beside_those_held_out(steps: int, batch: int) -> None:
    pytest.importorskip("trl")
    from mpg_cli.training.data import Row, Turn, hold_out
    from recipes.mpg_tiny.adapters import AdapterSettings

    settings = AdapterSettings(batch=batch).with_steps(steps)
    rows = [Row((Turn("user", str(n)),), ("yes", "no"), str(n)) for n in range(settings.pairs("pirate"))]
    trained, held = hold_out(rows, settings.held_out, seed=1)
    assert len(trained) == steps * batch
    assert held


def test_a_pair_that_mpg_train_would_leave_out_ends_the_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    from mpg_cli.cli.app import main
    from recipes.mpg_tiny import adapters

    settings = adapters.AdapterSettings(batch=4).with_steps(3)
    file = tmp_path / "pirate.jsonl"
    adapters.write_pairs("pirate", settings.pairs("pirate"), 1, file)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[3]["rejected"] = rows[3]["chosen"]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert main(adapters.train_command("pirate", BASE, tmp_path, settings, 1)[1:]) == 2
    assert "pirate.jsonl:4: chosen and rejected are the same" in capsys.readouterr().err


def test_a_training_that_fails_ends_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trl")
    from recipes.mpg_tiny import adapters

    settings = adapters.AdapterSettings(batch=4).with_steps(3)
    with pytest.raises(SystemExit) as ended:
        adapters.train_adapter(tmp_path / "gone", "pirate", tmp_path / "out", tmp_path, settings, 1)
    assert ended.value.code == 1
    assert "gone" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
