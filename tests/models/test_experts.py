"""The adapter that a persona gets under any name of the model, and the notices about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mpg_cli.errors import AdapterError, PersonaError
from mpg_cli.models.experts import Expert, ExpertCache, find_drafter, find_experts
from mpg_cli.models.load.loader import load_model
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.base import find_base
from mpg_cli.personas.expression import parse
from mpg_cli.personas.matching import fit
from mpg_cli.personas.registry import Registry, resolve
from mpg_cli.sampling.params import Scheme
from tests.support.adapters import edit_config, tiny_adapter
from tests.support.models import save_model

Persona = Callable[..., Path]
NAMES = ("x-1b-bf16", "other", "checkpoint-500", "X-1B-Instruct", "model", "model-bf16")
SHAPES = "adapter made for org/X-1B is used, by shapes alone"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of one model under several names, and of others that only look like it."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder / "X-1B", "llama")
    for name in (*NAMES, "tuned/X-1B"):
        save_model(folder / name, "llama", seed=7)  # of these shapes, not of these weights
    save_model(folder / "renamed", "llama")
    save_model(folder / "hub" / "models--org--X-1B" / "snapshots" / ("0a" * 20), "llama")
    save_model(folder / "deep" / "X-1B", "llama", num_hidden_layers=4)
    save_model(folder / "shallow" / "X-1B", "llama", num_hidden_layers=2)
    save_model(folder / "wide" / "X-1B", "llama", hidden_size=64)
    return folder


@pytest.fixture
def persona(tmp_path: Path) -> Persona:
    """Writes a persona `p` with entries (base, adapter) and further fields."""

    def write(*entries: dict[str, str] | str, **fields: str) -> Path:
        for architecture in ("llama", "gpt2"):
            if not (tmp_path / architecture).exists():
                tiny_adapter(tmp_path / architecture, architecture)
        whole = [{"base": entry} if isinstance(entry, str) else entry for entry in entries]
        adapters = [{"path": "llama"} | entry for entry in whole]
        (tmp_path / "p.yaml").write_text(yaml.safe_dump({"name": "p", "adapters": adapters} | fields))
        return tmp_path

    return write


def experts(folder: Path, model: Path) -> tuple[Expert, list[str]]:
    """The expert of `p` and the notices; the list without torch must say the same."""
    expert, said = spoken(folder, model)
    assert fit(Registry.load([folder]).get("p"), find_base(str(model))).kind == expert.kind
    return expert, said


def spoken(folder: Path, model: Path) -> tuple[Expert, list[str]]:
    """The expert of `p`, and what is said of it."""
    said: list[str] = []
    loaded = load_model(str(model), device="cpu", dtype="float32")
    blend = resolve(parse("p"), Registry.load([folder]))
    (expert,) = find_experts(blend, (), loaded, said.append, said.append)
    return expert, said


def given(adapter: Path, model: Path) -> list[str]:
    """What is said of an adapter that `--adapter` names."""
    said: list[str] = []
    loaded = load_model(str(model), device="cpu", dtype="float32")
    find_experts(None, [(AdapterPlace(adapter), 1.0)], loaded, said.append, said.append)
    return said


def test_the_exact_name_is_quiet(models: Path, persona: Persona) -> None:
    snapshot = models / "hub" / "models--org--X-1B" / "snapshots" / ("0a" * 20)
    for base, model in (("X-1B", models / "X-1B"), ("org/X-1B", snapshot), (str(snapshot), snapshot)):
        expert, said = experts(persona(base, prompt="Hi."), model)
        assert (expert.kind, expert.basis, said) == ("adapter", None, [])


@pytest.mark.parametrize("base", ["org/X-1B", "unsloth/x-1b-bnb-4bit", "mirror/X-1B-GPTQ-Int4", "/gone/X-1B"])
@pytest.mark.parametrize("model", ["X-1B", "x-1b-bf16"])
def test_the_family_name_and_the_shapes(models: Path, persona: Persona, base: str, model: str) -> None:
    expert, said = experts(persona(base, prompt="Hi."), models / model)
    assert expert.kind == "adapter"
    assert said == [f"p: adapter made for {base} is used, by family name and shapes"]
    assert expert.basis == f"adapter made for {base}, by family name and shapes"


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """A fine-tuned model that older versions of transformers wrote, with its base in its configuration."""
    folder = tmp_path / "models" / "pirate-1b"
    save_model(folder, "llama", seed=7)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_name_or_path": "org/X-1B"}))
    return folder


def test_a_fine_tuned_model_is_not_its_base(tuned: Path, persona: Persona) -> None:
    folder = persona("org/X-1B", prompt="Hi.")
    assert experts(folder, tuned)[0].kind == "prompt"
    edit_config(folder / "llama", {"base_model_name_or_path": "org/X-1B"})
    assert given(folder / "llama", tuned) == [
        f"adapter {folder / 'llama'} names org/X-1B as its base; it fits {tuned} by shape"
    ]
    tuned = tuned.rename(tuned.with_name("finetune"))
    assert experts(folder, tuned)[0].kind == "prompt"
    nameless = tuned.rename(tuned.with_name("model"))
    expert, said = experts(folder, nameless)
    how = "by the name in the model's configuration and shapes"
    assert (expert.kind, said) == ("adapter", [f"p: adapter made for org/X-1B is used, {how}"])


def test_a_link_has_a_name_too(models: Path, tmp_path: Path, persona: Persona) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "X-1B"
    link.symlink_to(models / "other")
    expert, said = experts(persona("X-1B", prompt="Hi."), link)
    assert (expert.kind, said) == ("adapter", [])
    expert, _ = experts(persona("org/X-1B", prompt="Hi."), link)
    assert expert.kind == "adapter"


def test_a_given_adapter_has_the_base_it_was_made_for(models: Path, persona: Persona) -> None:
    adapter = persona("X-1B") / "llama"
    for base, model, quiet in (
        ("org/X-1B", "X-1B", True),
        ("/run/X-1B", "x-1b-bf16", True),
        ("/run/model", "model", False),
        ("/run/checkpoint-500", "checkpoint-500", False),
        ("org/Y-1B", "X-1B", False),
    ):
        edit_config(adapter, {"base_model_name_or_path": base})
        assert (given(adapter, models / model) == []) == quiet, (base, model)


@pytest.mark.parametrize("model", ["other", "checkpoint-500", "X-1B-Instruct", "model"])
def test_equal_shapes_are_offered_and_not_used(models: Path, persona: Persona, model: str) -> None:
    expert, said = experts(persona("org/X-1B", prompt="Hi."), models / model)
    assert expert.kind == "prompt"
    assert said == [
        f"no adapter for {models / model}, using the system prompt: p (their adapters are for org/X-1B); "
        "org/X-1B has the same shapes: use its adapters with `use: adapter` or --adapter"
    ]
    expert, said = experts(persona("org/X-1B", use="adapter"), models / model)
    assert (expert.kind, said) == ("adapter", [f"p: {SHAPES}"])
    with pytest.raises(PersonaError, match=r"p requires an adapter and has one for org/X-1B, not") as error:
        experts(persona("org/X-1B", use="both", prompt="Hi."), models / model)
    assert error.value.hint is not None
    assert error.value.hint.startswith("set `use: adapter` to use the one for org/X-1B")


@pytest.mark.parametrize(
    "model, reason",
    [
        ("deep", "target_modules selects it, but the file has no tensors"),
        ("shallow", "the model has no such module"),
        ("wide", "lora_B (32, 4), the model needs"),
    ],
)
def test_a_family_of_other_shapes_is_skipped(models: Path, persona: Persona, model: str, reason: str) -> None:
    expert, said = experts(persona("org/X-1B", prompt="Hi."), models / model / "X-1B")
    assert expert.kind == "prompt"
    assert said[0].startswith("p: adapter made for org/X-1B is not used: model.layers.")
    assert reason in said[0]
    assert said[1].endswith("using the system prompt: p (their adapters are for org/X-1B)")
    with pytest.raises(PersonaError, match="has neither a prompt nor an adapter") as error:
        experts(persona("org/X-1B"), models / model / "X-1B")
    assert reason in error.value.message
    with pytest.raises(AdapterError, match="does not fit the model"):
        experts(persona("X-1B", prompt="Hi."), models / model / "X-1B")


def test_the_next_entry_has_its_turn(models: Path, persona: Persona) -> None:
    gpt2 = {"base": "org/X-1B", "path": "gpt2"}
    expert, said = experts(persona(gpt2, "mirror/X-1B", prompt="Hi."), models / "X-1B")
    assert expert.kind == "adapter"
    assert [text.partition(": model.")[0].partition(": trans")[0] for text in said] == [
        "p: adapter made for org/X-1B is not used",
        "p: adapter made for mirror/X-1B is used, by family name and shapes",
    ]
    entries = ("org/X-1B", gpt2, "mirror/X-1B", "elsewhere")
    expert, said = experts(persona(*entries, prompt="Hi."), models / "X-1B")
    assert expert.basis == "adapter made for org/X-1B, by family name and shapes"
    assert said == [
        "p: adapter made for mirror/X-1B is not used: the adapter made for org/X-1B has priority",
        "p: adapter made for org/X-1B is used, by family name and shapes",
    ]
    gone = {"base": "org/X-1B", "path": "gone"}
    expert, said = experts(persona(gone, gpt2, "elsewhere", prompt="Hi."), models / "X-1B")
    assert expert.kind == "prompt"
    assert "does not exist" in said[0]


def test_a_better_rank_wins_over_the_order(models: Path, persona: Persona) -> None:
    digest = find_base(str(models / "X-1B")).digest
    assert digest is not None
    known = {"base": "whatever", "base_digest": digest}
    for entries, by in (
        (("org/X-1B", "X-1B"), None),
        (("org/X-1B", {"base": "X-1B", "base_digest": digest}), None),
        (("org/X-1B", "X-1B", known), "adapter made for whatever, by the digest of its base"),
    ):
        expert, _ = experts(persona(*entries, prompt="Hi."), models / "X-1B")
        assert expert.basis == by


def test_a_digest_confirms_and_refutes_nothing(models: Path, persona: Persona) -> None:
    entry = {"base": "org/X-1B", "base_digest": find_base(str(models / "X-1B")).digest or ""}
    expert, said = experts(persona(entry, prompt="Hi."), models / "renamed")
    assert (expert.kind, said) == (
        "adapter", ["p: adapter made for org/X-1B is used, by the digest of its base"],
    )  # fmt: skip
    expert, _ = experts(persona(entry, prompt="Hi."), models / "other")
    assert expert.kind == "prompt"
    differs = "; the model's weights differ from those that it was trained on"
    for base, model, how in (
        ("org/X-1B", "x-1b-bf16", "family name"),
        ("X-1B", "tuned/X-1B", "name"),
    ):
        expert, said = experts(persona(entry | {"base": base}, prompt="Hi."), models / model)
        assert (expert.kind, said) == (
            "adapter", [f"p: adapter made for {base} is used, by {how} and shapes{differs}"],
        )  # fmt: skip


def test_what_is_known_by_its_digest_alone_or_by_its_name_alone_must_fit(
    models: Path, persona: Persona
) -> None:
    digest = find_base(str(models / "X-1B")).digest or ""
    entry = {"base_digest": digest, "path": "gpt2"}
    for base, model in (("whatever", "X-1B"), ("X-1B", "tuned/X-1B")):
        expert, said = experts(persona(entry | {"base": base}, prompt="Hi."), models / model)
        assert expert.kind == "prompt"
        assert said[0].startswith(f"p: adapter made for {base} is not used: ")
    with pytest.raises(AdapterError, match="does not fit the model"):
        experts(persona(entry | {"base": "X-1B"}, prompt="Hi."), models / "X-1B")


def test_an_uninformative_name_needs_matching_shapes(models: Path, persona: Persona) -> None:
    expert, said = experts(persona("model", prompt="Hi."), models / "model")
    assert (expert.kind, len(said)) == ("adapter", 1)
    own = {"base": "model", "base_digest": find_base(str(models / "model")).digest or ""}
    expert, said = experts(persona(own, prompt="Hi."), models / "model")
    assert (expert.kind, said) == ("adapter", [])
    for base in ("org/model", "/run/checkpoint-500", "/run/model-4bit"):
        for model in ("model", "model-bf16"):
            expert, _ = experts(persona(base, prompt="Hi."), models / model)
            assert expert.kind == "prompt"
    expert, _ = experts(persona({"base": "model", "path": "gpt2"}, prompt="Hi."), models / "model")
    assert expert.kind == "prompt"


def test_what_is_here_comes_before_what_must_be_fetched(
    models: Path, persona: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    away = {"base": "other/X-1B", "repo": "someone/lora"}
    folder = persona("org/X-1B", prompt="Hi.")

    def write(*entries: dict[str, str], **fields: str) -> None:
        (folder / "p.yaml").write_text(yaml.safe_dump({"name": "p", "adapters": list(entries)} | fields))

    here = {"base": "org/X-1B", "path": "llama"}
    write(away, here, prompt="Hi.")
    expert, said = experts(folder, models / "X-1B")
    assert expert.basis == "adapter made for org/X-1B, by family name and shapes"
    assert said[0] == "p: adapter made for other/X-1B is not used: the adapter made for org/X-1B has priority"
    write(away, prompt="Hi.")
    expert, said = spoken(folder, models / "X-1B")
    assert expert.kind == "prompt"
    assert "adapter made for other/X-1B is not used: adapter someone/lora is not in the cache" in said[-2]
    write(away | {"base": "X-1B"}, here, prompt="Hi.")
    with pytest.raises(AdapterError, match="not in the cache"):  # it is for this model
        spoken(folder, models / "X-1B")
    write(away, here, use="adapter")
    expert, said = experts(folder, models / "other")
    assert expert.kind == "adapter"
    assert said == [f"p: {SHAPES}"]
    write(away, use="adapter")
    with pytest.raises(PersonaError, match="for other/X-1B: it is not on this disk, and matches by"):
        spoken(folder, models / "other")


def test_a_checkpoint_goes_by_its_family_too(models: Path, persona: Persona) -> None:
    folder = persona("org/X-1B")
    save_model(folder / "tuned", "llama", seed=9)
    entry = {"name": "p", "adapters": [{"base": "org/X-1B", "checkpoint": "tuned"}]}
    (folder / "p.yaml").write_text(yaml.safe_dump(entry))
    expert, said = experts(folder, models / "X-1B")
    assert expert.kind == "checkpoint"
    assert said[-1] == "p: checkpoint made for org/X-1B is used, by family name and shapes"
    with pytest.raises(PersonaError, match="neither a prompt nor an adapter"):
        experts(folder, models / "other")  # of these shapes are many


def test_a_drafting_model_is_loaded_once_and_gives_way_to_no_expert(world: Path) -> None:
    loaded, cache = load_model(str(world / "base"), device="cpu", dtype="float32"), ExpertCache(1)
    scheme, said = Scheme(drafter=f"model:{world / 'smaller'}"), list[str]()
    first = find_drafter(scheme, loaded, said.append, cache)
    assert first is not None
    assert first.config.num_hidden_layers == 1
    blend = resolve(parse("bold+calm"), Registry.load([world]))
    find_experts(blend, (), loaded, said.append, list[str]().append, cache)
    assert len(cache) == 1
    assert find_drafter(scheme, loaded, said.append, cache) is first
    assert said == [f"loading drafter {world / 'smaller'}"]
    assert find_drafter(Scheme(drafter="merged"), loaded, said.append, cache) is None
    assert find_drafter(replace(scheme, chunk_size=0), loaded, said.append, cache) is None
