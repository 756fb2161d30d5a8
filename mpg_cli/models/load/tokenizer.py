"""Loading the tokenizer of a model folder, with the reason where that fails."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mpg_cli.errors import ModelError, brief
from mpg_cli.models.load.checkpoint import VOCABULARIES, is_pointer, read_json

TEMPLATE_FILE = "chat_template.json"  # of processors of multimodal models
CONFIG_FILE = "tokenizer_config.json"
REBUILT = (
    "mpg_gguf"  # its key for a tokenizer.json from a GGUF file, of which no model class may change a part
)


def load_tokenizer(folder: Path, name: str) -> Any:
    """The tokenizer in a model folder. Raises ModelError."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    settings = read_json(folder / CONFIG_FILE, name) if (folder / CONFIG_FILE).is_file() else {}
    try:
        kind = PreTrainedTokenizerFast if settings.get(REBUILT) else AutoTokenizer
        tokenizer = kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        if (
            not _vocabularies(folder)
            and not tokenizer("Hello, world!", add_special_tokens=False)["input_ids"]
        ):
            raise ValueError("it returns no tokens for text")  # a class without a vocabulary
    except Exception as error:  # missing files, damaged JSON, packages that are not installed
        reason, hint = _why_not(folder, error)
        raise ModelError(f"model {name}: its tokenizer cannot be loaded: {reason}", hint=hint) from error
    if tokenizer.chat_template is None and (folder / TEMPLATE_FILE).is_file():
        tokenizer.chat_template = read_json(folder / TEMPLATE_FILE, name).get("chat_template")
    return tokenizer


def _why_not(folder: Path, error: Exception) -> tuple[str, str]:
    """Reason and remedy for a tokenizer that does not load; transformers reports only its last attempt."""
    copy = "a copy of the model with tokenizer.json"
    if "custom code" in str(error):
        return "it needs remote code, which is never run", f"choose {copy}"
    files = _vocabularies(folder)
    if not files:
        return (
            f"its folder has no {VOCABULARIES[0]} or other vocabulary",
            "copy the tokenizer files of its base model into the folder",
        )
    if pointers := [file.name for file in files if is_pointer(file)]:
        return f"{pointers[0]} is a Git LFS pointer, not the vocabulary", "run `git lfs pull` there"
    if files[0].name == "tekken.json":
        return "tekken.json is a vocabulary of mistral-common, which is not supported", f"choose {copy}"
    kind, modules = _format(files[0])
    missing = [package for module, package in modules.items() if not _installed(module)]
    if missing:
        return (
            f"{files[0].name} is a vocabulary of {kind}, and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed",
            f"`pip install {' '.join(missing)}`, or choose {copy}",
        )
    return brief(error), f"fetch the tokenizer files of the model again, or choose {copy}"


def _vocabularies(folder: Path) -> list[Path]:
    return [folder / file for file in VOCABULARIES if (folder / file).is_file()]


def _format(file: Path) -> tuple[str, dict[str, str]]:
    """The format of a vocabulary file, and the modules needed to read it, with their packages."""
    if file.suffix != ".model":
        return "transformers", {}
    with file.open("rb") as stream:
        text = stream.read(1) not in (b"\n", b"")  # a protocol buffer begins with a tag
    if text:
        return "tiktoken", {"tiktoken": "tiktoken"}
    return "SentencePiece", {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent package
        return False
