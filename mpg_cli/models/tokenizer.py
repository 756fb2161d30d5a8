"""A model's tokenizer: which tokens the model has embeddings for, and whether two tokenizers mean the same.

A tokenizer may know tokens that its model has no embedding for: a pad token added for training, names that a
library adds by itself. They matter where a conversation has them. Embeddings are padded beyond the tokenizer
as well, to other sizes from model to model.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mpg_cli.errors import ModelError, UsageError, brief
from mpg_cli.models.checkpoint import VOCABULARIES, is_pointer, read_json

TEMPLATE_FILE = "chat_template.json"  # where processors of multimodal models kept it
SAMPLES = ("Hello, world!", " 1234 + 5", "Ünïcödé 你好 🙂\n\tdef f(x):", "<|im_start|>user</s>")
TURNS = [  # what a template may put around text
    [{"role": "user", "content": "a"}],
    [{"role": "system", "content": "a"}, {"role": "user", "content": "a"}],
    [{"role": role, "content": "a"} for role in ("user", "assistant", "user")],
]


def load_tokenizer(folder: Path, name: str) -> Any:
    """The tokenizer in a model's folder. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        if not _vocabularies(folder) and not tokenizer(SAMPLES[0], add_special_tokens=False)["input_ids"]:
            raise ValueError("it makes no tokens of text")  # its class alone is no tokenizer
    except Exception as error:  # missing files, damaged JSON, packages that are not installed
        reason, hint = _why_not(folder, error)
        raise ModelError(f"model {name}: its tokenizer cannot be loaded: {reason}", hint=hint) from error
    if tokenizer.chat_template is None and (folder / TEMPLATE_FILE).is_file():
        tokenizer.chat_template = read_json(folder / TEMPLATE_FILE, name).get("chat_template")
    return tokenizer


def _why_not(folder: Path, error: Exception) -> tuple[str, str]:
    """What a tokenizer that does not load lacks, and the remedy; transformers tells what it tried last."""
    copy = "a copy of the model with tokenizer.json"
    if "custom code" in str(error):
        return "it brings its own code, and remote code is never run", f"take {copy}"
    files = _vocabularies(folder)
    if not files:
        return (
            f"no {VOCABULARIES[0]} or other vocabulary is in its folder",
            "copy the tokenizer files of the model that it was made from into the folder",
        )
    if pointers := [file.name for file in files if is_pointer(file)]:
        return f"{pointers[0]} is a Git LFS pointer, not the vocabulary", "run `git lfs pull` there"
    if files[0].name == "tekken.json":
        return "tekken.json is a vocabulary of mistral-common, which is not supported", f"take {copy}"
    kind, modules = _format(files[0])
    missing = [package for module, package in modules.items() if not _installed(module)]
    if missing:
        return (
            f"{files[0].name} is a vocabulary of {kind}, and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed",
            f"`pip install {' '.join(missing)}`, or take {copy}",
        )
    return brief(error), f"fetch the model's tokenizer files again, or take {copy}"


def _vocabularies(folder: Path) -> list[Path]:
    return [folder / file for file in VOCABULARIES if (folder / file).is_file()]


def _format(file: Path) -> tuple[str, dict[str, str]]:
    """Whose vocabulary a file holds, and the modules that reading it takes, with their packages."""
    if file.suffix != ".model":
        return "transformers", {}
    with file.open("rb") as stream:
        text = stream.read(1) not in (b"\n", b"")  # a protocol buffer begins with the tag of its first piece
    if text:
        return "tiktoken", {"tiktoken": "tiktoken"}
    return "SentencePiece", {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def logits_width(model: Any) -> int:
    """V, the number of logits."""
    return int(model.get_output_embeddings().weight.shape[0])


def embedded(model: Any) -> int:
    """Token ids below this have an embedding."""
    text, rows = model.config.get_text_config(), int(model.get_input_embeddings().weight.shape[0])
    each_layer = getattr(text, "vocab_size_per_layer_input", None)  # Gemma's second table
    return min(rows, each_layer) if each_layer and text.hidden_size_per_layer_input else rows


def served_tokens(*models: Any) -> int:
    """Token ids below this can be read and answered by all of these models."""
    return min(min(embedded(model), logits_width(model)) for model in models)


def check_tokenizer(model: Any, tokenizer: Any, name: str) -> None:
    """Check that the model has embeddings for text and for what surrounds it in a conversation.

    Raises ModelError. Other tokens without one are no harm until a prompt has them, see `check_ids`; a pad
    token among them is dropped, so that a trainer pads with the end token.
    """
    size, vocabulary = embedded(model), tokenizer.get_vocab()
    beyond = {token: id_ for token, id_ in vocabulary.items() if id_ >= size}
    if not beyond:
        return
    top = max(beyond.values())
    if not beyond.keys() <= tokenizer.get_added_vocab().keys():
        raise ModelError(
            f"model {name}: its tokenizer knows token {top}, its embedding ends at {size - 1}",
            hint="tokenizer and weights do not belong together",
        )
    if in_use := sorted(_surroundings(tokenizer) & set(beyond.values())):
        token = tokenizer.convert_ids_to_tokens(in_use[0])
        raise ModelError(
            f"model {name}: every prompt has the token {token!r} ({in_use[0]}), "
            f"its embedding ends at {size - 1}",
            hint="the weights are older than the tokenizer: give the fine-tuned model that this token was "
            "trained in, or the tokenizer of the base",
        )
    if tokenizer.pad_token in beyond:
        tokenizer.pad_token = None


def check_same(base: Any, other: Any, size: int) -> str | None:
    """Why another model cannot decode together with the base, as its tokenizer differs; None if it can.

    `size` is how many tokens the other model has embeddings for. Tokens that were added and that no
    conversation has, such as a pad token, may differ.
    """
    own, theirs = base.get_vocab(), other.get_vocab()
    apart = {token for token, _ in own.items() ^ theirs.items()}
    spare = _spare(base, apart & own.keys()) | (apart - own.keys())
    spare &= _spare(other, apart & theirs.keys()) | (apart - theirs.keys())
    if wrong := apart - spare:
        token = min(wrong, key=lambda token: (own.get(token, theirs.get(token)), token))
        return f"token {token!r} is {theirs.get(token)} there and {own.get(token)} in the base"
    samples = [text for text in SAMPLES if not any(token in text for token in apart)]
    if any(base.encode(text) != other.encode(text) for text in samples):
        return "it splits text differently"
    if lacking := sorted(id_ for id_ in _surroundings(base) | _end(base) if id_ >= size):
        token = base.convert_ids_to_tokens(lacking[0])
        return f"the base's conversations have the token {token!r}, and its embedding ends at {size - 1}"
    return None


def check_ids(tokenizer: Any, ids: list[int], size: int) -> None:
    """Raises UsageError for a prompt with a token that has no embedding."""
    beyond = next((id_ for id_ in ids if id_ >= size), None)
    if beyond is not None:
        token = tokenizer.convert_ids_to_tokens(beyond)
        raise UsageError(
            f"the prompt has the token {token!r} ({beyond}), for which there is no embedding",
            hint=f"leave it out: the tokenizer knows it, the weights know the tokens up to {size - 1}",
        )


def _spare(tokenizer: Any, tokens: set[str]) -> set[str]:
    """Those of its tokens that were added to it and that no conversation has."""
    added = tokenizer.get_added_vocab()
    in_use = _surroundings(tokenizer) | _end(tokenizer)
    return {token for token in tokens if token in added and added[token] not in in_use}


def _surroundings(tokenizer: Any) -> set[int]:
    """Ids that the template, or the tokenizer itself, puts around text."""
    from jinja2.exceptions import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        return set(tokenizer("a")["input_ids"]) - {tokenizer.unk_token_id}
    found: set[int] = set()
    for turns in TURNS:
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except (TemplateError, TypeError, ValueError):  # it is told when there is a prompt
            continue
        found |= set(tokenizer(text, add_special_tokens=False)["input_ids"])
    return found - {tokenizer.unk_token_id}


def _end(tokenizer: Any) -> set[int]:
    return {tokenizer.eos_token_id} - {None}
