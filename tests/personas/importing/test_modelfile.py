"""Modelfiles: the syntax as Ollama reads it, what becomes of each instruction, and models in GGUF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from mpg_cli.errors import UsageError
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.importing.draft import Draft
from mpg_cli.personas.importing.modelfile import parse_modelfile
from mpg_cli.personas.importing.modelfile_persona import draft_of_modelfile
from tests.support.cards import adapter_folder, safetensors


def parsed(text: str) -> list[tuple[str, str, str]]:
    found = parse_modelfile(("FROM x\n" + text).encode(), "Modelfile")[1:]
    return [(i.name, i.key, i.value) for i in found]


def draft(text: str, path: Path = Path("mario.Modelfile"), model: str | None = None) -> Draft:
    return draft_of_modelfile(text.encode(), "M", path, model)


def refused(text: str, path: Path = Path("Modelfile"), model: str | None = None) -> tuple[str, str]:
    with pytest.raises(UsageError) as error:
        draft(text, path, model)
    return error.value.message, error.value.hint or ""


@pytest.mark.parametrize(
    "text, value",
    [
        ("SYSTEM You are Mario.", "You are Mario."),
        ("system   You are Mario.  ", "You are Mario."),
        ('SYSTEM "You are Mario."', "You are Mario."),
        ('SYSTEM "two\nlines"', "two\nlines"),
        ('SYSTEM "a "b" c"', 'a "b" c'),
        ('SYSTEM """You are Mario."""', "You are Mario."),
        ('SYSTEM """\nYou say "hi".\n\n# no comment\n"""  ', '\nYou say "hi".\n\n# no comment\n'),
        ('SYSTEM """a""" b\nc"""', 'a""" b\nc'),
        ("SYSTEM it's 5\" long", "it's 5\" long"),
        ("\tSYSTEM\tYou # are", "You # are"),
        ("SYSTEM a\r\n", "a"),
    ],
)
def test_values(text: str, value: str) -> None:
    assert parsed(text) == [("system", "", value)]


def test_comments_parameters_and_messages() -> None:
    text = '# note\n\n  # note\nPARAMETER temperature 0.5\nparameter stop "a b"\nMESSAGE user hi there\n'
    assert parsed(text) == [
        ("parameter", "temperature", "0.5"), ("parameter", "stop", "a b"), ("message", "user", "hi there"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text, message",
    [
        ("FROM x\n\nSISTEM y", "M:3: unknown instruction 'SISTEM'; did you mean SYSTEM?"),
        ("FROM x\nHello world, this is a letter.", "M:2: unknown instruction 'Hello'"),
        ("FROM x\nSYSTEM", "M:2: a value is missing"),
        ('FROM x\nSYSTEM """\nabc\n', 'M:2: the """ that begins here is never closed'),
        ('FROM x\nSYSTEM "abc', 'M:2: the " that begins here is never closed'),
        ("FROM x\nPARAMETER temperature", "M:2: PARAMETER needs NAME VALUE"),
        ("FROM x\nPARAMETER temperature hot\nSYSTEM y", "M:2: temperature must be a number, not 'hot'"),
        ("FROM x\nPARAMETER top_k 1.5\nSYSTEM y", "M:2: top_k must be a whole number, not '1.5'"),
        ("FROM x\nSYSTEM y\nPARAMETER seed " + "9" * 5000, "M:3: seed must be a whole number"),
        ("FROM x\nPARAMETER temperature nan\nSYSTEM y", "M:2: temperature must be a number, not 'nan'"),
        ("FROM x\nMESSAGE robot hi", "M:2: the role of a MESSAGE must be one of system, user, assistant"),
        ("SYSTEM y", "M: no FROM line, so this is not a Modelfile"),
        ("FROM x\nSYSTEM a\x00b", "M: not a text file"),
        ("FROM x\n" + "#" * (1 << 20), "M: larger than 1 MiB"),
        ("FROM x\nTEMPLATE y", "M: no SYSTEM, MESSAGE or ADAPTER"),
    ],
)
def test_mistakes_are_reported_with_their_line(text: str, message: str) -> None:
    assert message in refused(text)[0]


def test_what_powershell_writes() -> None:
    text = 'FROM a/b\r\nSYSTEM """Ciao,\r\nZoë."""\r\n'
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"):
        assert draft_of_modelfile(text.encode(encoding), "M", None, None).prompt == "Ciao,\nZoë."


def test_bytes_that_are_not_utf_8() -> None:
    with pytest.raises(UsageError, match="byte 0xff in line 2 is not UTF-8"):
        draft_of_modelfile(b"FROM x\nSYSTEM \xff", "M", None, None)


def test_a_whole_persona() -> None:
    text = (
        "FROM Qwen/Qwen3-0.6B\nSYSTEM old\nSYSTEM You are Mario.\nMESSAGE system Be loud.\n"
        "MESSAGE user Hi\nMESSAGE assistant It's a me!\nPARAMETER temperature 0.7\nPARAMETER top_k 40\n"
        "PARAMETER top_p 0.9\nPARAMETER min_p 0.05\nPARAMETER repeat_penalty 1.1\nPARAMETER seed 42\n"
        'PARAMETER stop </s>\nPARAMETER stop "it\'s"\nPARAMETER num_predict 99\nPARAMETER num_ctx 4096\n'
        'TEMPLATE """{{ .System }}"""\nLICENSE """\nMIT License\n\nCopyright\n"""\nREQUIRES 0.14.0\n'
    )
    found = draft(text)
    assert found.title == "mario"
    assert found.prompt == (
        "You are Mario.\n\nBe loud.\n\nAn example conversation:\nUser: Hi\nAssistant: It's a me!"
    )
    assert (found.description, found.license, found.model) == (
        "You are Mario.", "MIT License", "Qwen/Qwen3-0.6B",
    )  # fmt: skip
    kept = found.extensions["ollama"]
    assert kept["from"] == "Qwen/Qwen3-0.6B"
    assert kept["parameters"]["stop"] == ["</s>", "it's"]
    assert (kept["parameters"]["temperature"], kept["parameters"]["num_ctx"]) == (0.7, 4096)
    assert kept["messages"][2] == {"role": "assistant", "content": "It's a me!"}
    assert kept["system"] == ["old", "You are Mario."]
    assert kept["license"] == "\nMIT License\n\nCopyright\n"
    assert found.notices == (
        "sampling parameters are not part of a persona; give mpg generate: --temperature 0.7 --top-k 40 "
        "--top-p 0.9 --min-p 0.05 --repetition-penalty 1.1 --seed 42 "
        "--stop '</s>' --stop 'it'\"'\"'s' --max-tokens 99",
        "parameters without an option in mpg: num_ctx",
        "TEMPLATE is not used; mpg uses the model's own chat template",
        "REQUIRES is not used",
    )


def parameters(*lines: str) -> tuple[str, ...]:
    return draft("\n".join(["FROM a/b", "SYSTEM x", *(f"PARAMETER {line}" for line in lines)])).notices


def test_values_that_mpg_does_not_take_are_no_flags() -> None:
    refused = ("seed -1", "num_predict -1", "top_p 2", "top_p 0", "presence_penalty -2.5", 'stop ""')
    notice = "parameters without an option in mpg: seed -1, num_predict -1, {}, presence_penalty -2.5, stop"
    assert parameters(*refused[:2], *refused[3:]) == (notice.format("top_p 0.0"),)
    assert parameters(*refused[:3], *refused[4:]) == (notice.format("top_p 2.0"),)
    assert parameters("seed 18446744073709551616")[0].endswith(": seed 18446744073709551616")


@pytest.mark.parametrize(
    "line, flag",
    [
        ("presence_penalty -2", "--presence-penalty -2"),
        ("frequency_penalty 0.5", "--frequency-penalty 0.5"),
        ("top_k -1", "--top-k 0"),
        ("top_k 0", "--top-k 0"),
        ("seed 18446744073709551615", "--seed 18446744073709551615"),
        ("stop <|eot_id|>", "--stop '<|eot_id|>'"),
    ],
)
def test_parameters_as_flags(line: str, flag: str) -> None:
    assert parameters(line) == (f"sampling parameters are not part of a persona; give mpg generate: {flag}",)


@pytest.mark.parametrize(
    "text",
    [
        "SYSTEM '''\nYou are Mario.\n'''",
        "SYSTEM You are Mario.\n\nYou like pizza.",
        "MESSAGE user Hi\nHow are you?",
    ],
)
def test_text_of_several_lines_without_quotes_is_answered_with_what_to_do(text: str) -> None:
    message, hint = refused(f"FROM x\n{text}")
    name = text.split()[0]
    assert "unknown instruction" in message
    assert hint == f'enclose text of several lines in three double quotes: {name} """…"""'
    for other in ("SYSTEM x\nPARAMTER y 1", "PARAMETER stop x\nRUN pip"):
        assert refused(f"FROM x\n{other}")[1].startswith("choose from FROM, ")


@pytest.mark.parametrize(
    "base, model",
    [
        ("./llama.gguf", "{}/llama.gguf"),
        ("./weights", "{}/weights"),
        ("./folder", "{}/folder"),
        ("llama3.2:3b", "ollama:llama3.2:3b"),
        ("llama3.2", "ollama:llama3.2:latest"),
        ("hf.co/x/Y-GGUF:Q4_K_M", "ollama:hf.co/x/Y-GGUF:Q4_K_M"),
        ("hf.co/x/Y-GGUF", "ollama:hf.co/x/Y-GGUF:latest"),
    ],
)
def test_a_base_in_gguf_or_of_ollama_is_the_model(base: str, model: str, tmp_path: Path) -> None:
    (tmp_path / "llama.gguf").write_bytes(b"GGUF")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.gguf").write_bytes(b"GGUF")
    (tmp_path / "weights").write_bytes(b"GGUF\3\0\0\0")
    text = f"FROM {base}\nSYSTEM You are Mario."
    found = draft(text, tmp_path / "Modelfile")
    assert (found.notices, found.model) == ((), model.format(tmp_path))
    for chosen in ("Qwen/Qwen3-0.6B", "ollama:qwen3:0.6b"):
        named = draft(text, tmp_path / "Modelfile", chosen)
        assert (named.notices, named.model) == ((), chosen)


@pytest.mark.parametrize("base", ["./gone.gguf", "gone.gguf", "."])
def test_a_base_that_is_not_there_is_answered_with_what_to_do(base: str, tmp_path: Path) -> None:
    found = draft(f"FROM {base}\nSYSTEM You are Mario.", tmp_path / "Modelfile")
    words = f"FROM '{base}' is neither a GGUF file nor a folder with a safetensors model"
    assert found.model is None
    assert found.notices[0].startswith(words)
    message, hint = refused(f"FROM {base}\nTEMPLATE x", tmp_path / "Modelfile")
    assert "it has no persona" in message
    assert words in hint


def lora_file(path: Path, **metadata: str) -> Path:
    """A LoRA in GGUF with one pair."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {"general.type": "adapter", "adapter.type": "lora", **metadata}.items():
        writer.add_string(key, value)
    writer.add_tensor("blk.0.attn_v.weight.lora_a", np.ones((2, 4), np.float32))
    writer.add_tensor("blk.0.attn_v.weight.lora_b", np.ones((4, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("value", ["lora.gguf", "folder", "sha256-0a0a"])
def test_an_adapter_in_gguf(value: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    file = tmp_path / (value if value != "folder" else "folder/x.gguf")
    address = "https://huggingface.co/meta/Llama-1B"
    lora_file(file, **{"general.base_model.0.repo_url": address})
    for base, name in (("meta/other", "meta/other"), ("llama3.2", "meta/Llama-1B")):
        found = draft(f"FROM {base}\nADAPTER {value}", tmp_path / "Modelfile").adapter
        assert found is not None
        assert (found.base, found.local and found.local.weights) == (name, file)
    lora_file(file)  # names no base
    for base, name in (("llama3.2", "ollama:llama3.2:latest"), ("./Llama-1B.gguf", "Llama-1B.gguf")):
        (tmp_path / "Llama-1B.gguf").write_bytes(b"GGUF")
        found = draft(f"FROM {base}\nADAPTER {value}", tmp_path / "Modelfile").adapter
        assert found is not None
        assert found.base == name


def test_adapters_in_gguf_that_cannot_be_used(tmp_path: Path) -> None:
    lora_file(tmp_path / "ok.gguf")
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "ok.gguf").read_bytes()[:-8])
    lora_file(tmp_path / "model.gguf", **{"general.type": "model"})
    for name, said in (
        ("cut.gguf", "is truncated"),
        ("model.gguf", "is a GGUF model, not an adapter"),
        ("gone.gguf", "does not exist"),
    ):
        message, _ = refused(f"FROM a/b\nADAPTER {name}\nSYSTEM x", tmp_path / "Modelfile")
        assert message.startswith(f"M:2: the adapter '{name}' ")
        assert said in message
    found = draft("FROM a/b\nADAPTER hf.co/a/lora-GGUF", tmp_path / "Modelfile").adapter
    assert found is not None
    assert found.found == AdapterPlace(None, "a/lora-GGUF")


def test_an_adapter_beside_the_modelfile(tmp_path: Path) -> None:
    folder = adapter_folder(tmp_path / "lora")
    for value in ("./lora", "lora/adapter_model.safetensors", str(folder)):
        found = draft(f"FROM llama3.2\nADAPTER {value}", tmp_path / "Modelfile").adapter
        assert found is not None
        assert found.local is not None
        assert found.base == "Qwen/Qwen3-0.6B"
        assert found.local.weights.samefile(folder / "adapter_model.safetensors")
    found = draft("FROM my/base\nADAPTER lora", tmp_path / "Modelfile").adapter
    assert found is not None
    assert found.base == "my/base"
    found = draft("FROM my/base\nADAPTER lora", tmp_path / "Modelfile", "other/base").adapter
    assert found is not None
    assert found.base == "other/base"


def test_a_base_in_a_folder_goes_by_its_name_and_is_chosen_by_its_path(tmp_path: Path) -> None:
    adapter_folder(tmp_path / "lora")
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    found = draft("FROM ./tiny\nADAPTER lora", tmp_path / "Modelfile")
    assert found.adapter is not None
    assert (found.adapter.base, found.model) == ("tiny", str(tmp_path / "tiny"))


QUANTISED = "unsloth/llama-3-8b-bnb-4bit"
PLAIN = "unsloth/llama-3-8b"
SAID = (
    f"{QUANTISED} is quantised, which mpg does not support; using {PLAIN} as base "
    "(choose another with --base)"
)


@pytest.mark.parametrize(
    "text, says, chosen",
    [
        ("FROM llama3\nADAPTER lora", QUANTISED, None),
        ("FROM ./llama3.gguf\nADAPTER lora", QUANTISED, None),
        (f"FROM {QUANTISED}\nADAPTER lora", "a/b", None),
        (f"FROM hf.co/{QUANTISED}\nADAPTER someone/lora", "a/b", None),
        ("FROM a/b\nADAPTER lora", "a/b", QUANTISED),
    ],
)
def test_a_quantised_base_is_written_as_one_that_runs(
    text: str, says: str, chosen: str | None, tmp_path: Path
) -> None:
    adapter_folder(tmp_path / "lora", base_model_name_or_path=says)
    found = draft(text, tmp_path / "Modelfile", chosen)
    assert found.adapter is not None
    assert (found.adapter.base, found.model, found.notices) == (PLAIN, PLAIN, (SAID,))
    prompt = draft(f"FROM {QUANTISED}\nSYSTEM x", tmp_path / "Modelfile")
    assert (prompt.model, prompt.notices) == (PLAIN, (SAID,))


def test_a_model_whose_owner_has_quantised_ones_alone_is_not_chosen(tmp_path: Path) -> None:
    found = draft("FROM TheBloke/Llama-2-7B-AWQ\nSYSTEM x", tmp_path / "Modelfile")
    assert found.model is None
    assert "using Llama-2-7B as base (" in found.notices[0]


@pytest.mark.parametrize(
    "says, base, model",
    [
        ("/home/me/.cache/huggingface/hub/models--a--X/snapshots/0a1b", "a/X", "a/X"),
        ("/workspace/models/X-1B", "X-1B", None),
        ("../models/X-1B/", "X-1B", None),
        ("gpt2", "gpt2", None),
    ],
)
def test_a_base_that_is_a_path_goes_by_what_it_names(
    says: str, base: str, model: str | None, tmp_path: Path
) -> None:
    adapter_folder(tmp_path / "lora", base_model_name_or_path=says)
    found = draft("FROM llama3\nADAPTER lora", tmp_path / "Modelfile")
    assert found.adapter is not None
    assert (found.adapter.base, found.model) == (base, model)


@pytest.mark.parametrize("says", ["", None, "/tmp/checkpoint-500", "./model", 7, "a\nb"])
def test_an_unknown_base_is_requested(says: object, tmp_path: Path) -> None:
    adapter_folder(tmp_path / "lora", base_model_name_or_path=says)
    message, hint = refused("FROM ./gone.gguf\nADAPTER lora", tmp_path / "Modelfile")
    assert "the base model of the adapter is unknown" in message
    assert "--base" in hint


def test_an_adapter_of_the_hub(tmp_path: Path) -> None:
    for value in ("someone/pirate", "hf.co/someone/pirate", "https://huggingface.co/someone/pirate"):
        found = draft(f"FROM a/b\nADAPTER {value}", tmp_path / "Modelfile").adapter
        assert found is not None
        assert (found.base, found.found) == ("a/b", AdapterPlace(repo="someone/pirate"))
    found = draft("FROM a/b\nADAPTER someone/lib/voices/pirate@v1", tmp_path / "Modelfile").adapter
    assert found is not None
    assert found.entry("unused") == {
        "base": "a/b",
        "repo": "someone/lib",
        "revision": "v1",
        "subfolder": "voices/pirate",
    }
    message, hint = refused("FROM ./gone.gguf\nADAPTER someone/pirate", tmp_path / "Modelfile")
    assert "the base model of the adapter is unknown" in message
    assert "--base" in hint


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda f: (f / "adapter_config.json").unlink(), "has no adapter_config.json"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), "must be a JSON object"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "not JSON"),
        (lambda f: (f / "adapter_config.json").write_text('{"r": 0}'), "the adapter cannot be used"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"secret" * 9), "not a safetensors file"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b""), "not a safetensors file"),
        (
            lambda f: (f / "adapter_model.safetensors").write_bytes(b"\2" + bytes(7) + b"{}"),
            "not a safetensors",
        ),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"\xff" * 99), "not a safetensors file"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(safetensors(a=4)[:-1]), "damaged"),
    ],
)
def test_a_damaged_adapter_is_refused(break_it: Any, message: str, tmp_path: Path) -> None:
    break_it(adapter_folder(tmp_path / "lora"))
    assert message in refused("FROM a/b\nADAPTER lora", tmp_path / "Modelfile")[0]


def test_adapters_that_cannot_be_meant(tmp_path: Path) -> None:
    assert "does not exist" in refused("FROM a/b\nADAPTER ./gone", tmp_path / "Modelfile")[0]
    assert "does not exist" in refused("FROM a/b\nADAPTER ../../x/y", tmp_path / "Modelfile")[0]
    assert "does not exist" in refused("FROM a/b\nADAPTER " + "x" * 5000, tmp_path / "Modelfile")[0]
    assert "M:3: there is more than one ADAPTER" in refused("FROM a/b\nADAPTER a/b\nADAPTER c/d")[0]


@pytest.mark.parametrize(
    "path, title",
    [
        ("Modelfile", "mario"),
        ("Modelfile.luigi", "luigi"),
        ("luigi.Modelfile", "luigi"),
        ("luigi.modelfile.txt", "luigi"),
        ("luigi", "luigi"),
    ],
)
def test_the_name_comes_from_the_file_or_its_folder(path: str, title: str, tmp_path: Path) -> None:
    assert draft("FROM a/b\nSYSTEM x", tmp_path / "mario" / path).title == title
