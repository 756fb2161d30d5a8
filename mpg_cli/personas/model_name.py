"""Normalises model names across owners, formats and folders. Torch-free."""

from __future__ import annotations

import re

from mpg_cli.config.named_models import SMOLLM2, SMOLLM2_REPO

_QUANTISED = (
    r"bnb|(?:1[0-5]|\d(?:\.\d+)?)[-_]?bits?|u?int[48]|nf4|(?:mx|nv)?fp4|fp8|f8|gptq|awq|gguf|ggml|exl[23]|hqq"
    r"|eetq|aqlm|auto[-_]?round|torchao|ct2|mlc|onnx|w\d+a\d+|t?iq\d_[a-z0-9_]+|q[2-68](?:_[a-z0-9]+)*"
    r"|q\df\d+(?:_\d)?|\d(?:\.\d+)?bpw"
)
_PRECISION = r"bf16|fp16|f16|fp32|f32|16[-_]?bits?|mlx|sharded"
_BEFORE = r"unsloth|quantized|qat|ud|i1|imat(?:rix)?"  # prefixes of these
_AFTER = (
    r"hf|dynamic|dwq|a?sym|smashed|unquantized|actorder[-_]true|group[-_]size[-_]\d+|\d{8}|(?:\d+b[-_])?\d+g"
    r"|gs?\d+|h\d|e\dm\d|\d+x\d+"
)
_FORMAT = re.compile(rf"{_QUANTISED}|{_PRECISION}|{_BEFORE}")
_TAIL = re.compile(
    rf"(?:[-_.:](?:{_BEFORE}))*[-_.:](?:{_QUANTISED}|{_PRECISION})"
    rf"(?:[-_.:](?:{_QUANTISED}|{_PRECISION}|{_BEFORE}|{_AFTER}))*$",
    re.IGNORECASE,
)
_QUANTISES = re.compile(rf"[-_.:](?:{_QUANTISED})(?=[-_.:]|$)", re.IGNORECASE)
_IN_FULL = "unquantized"  # a full-precision copy of weights trained for quantisation

_SNAPSHOT = re.compile(r"models--(?P<id>[^/]+)/snapshots/[^/]+$")
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<id>[^/]+/[^/]+)")
_COMMIT = re.compile(r"(?=.*\d)[0-9a-f]{7,}")
_BETWEEN = re.compile(r"[-_.:~\s]+")
_LETTERS = re.compile(r"[^\W\d_]+")
# Usual names of the output of training runs.
_RUN = (
    r"actor|adapters?|best|checkpoints?|ckpt|dpo|epoch|exp(?:eriment)?|final|(?:fine)?tuned?|fine|grpo"
    r"|iter(?:ation)?|last|latest|lora|merged?|out(?:put)?s?|policy|ppo|results?|rlhf|runs?|sft|steps?|student|train(?:ed|ing)?"
)
# Words for the purpose, origin or size of a model that do not identify it.
_COMMON = re.compile(
    rf"{_RUN}|[bkmv]|base|chat|copy|default|full|global|hf|huggingface|instruct|it|llm"
    r"|local|main|master|models?|my|new|old|original|pretrained|safetensors|snapshots?|teacher|te?mp|test"
    r"|transformers|version|weights"
)
# Owners that publish only quantised copies of other models.
_QUANTISERS = re.compile(
    r"bartowski|casperhansen|hugging-quants|ista-daslab|lmstudio-community|lonestriker|mlx-community|mradermacher"
    r"|neuralmagic|prunaai|redhatai|solidrust|thebloke|turboderp",
    re.IGNORECASE,
)


def model_id(name: str) -> str:
    """OWNER/NAME if `name` is a hub URL, a snapshot in the hub cache or `smollm2`, else `name` itself.

    A model of Ollama gets its tag.
    """
    if name == SMOLLM2:
        return SMOLLM2_REPO
    name = name.strip().replace("\\", "/").rstrip("/") or name
    if found := _SNAPSHOT.search(name):
        return found["id"].replace("--", "/")
    if found := _ADDRESS.match(name):
        return found["id"]
    if name.startswith("ollama:") and ":" not in name.rpartition("/")[2].removeprefix("ollama:"):
        return f"{name}:latest"
    return name


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a commit on the hub."""
    return revision is not None and re.fullmatch("[0-9a-f]{40}", revision) is not None


def last_part(name: str) -> str:
    """The name without its owner, or the name of the folder."""
    return model_id(name).rpartition("/")[2]


def is_path(name: str) -> bool:
    """Whether the name is a path, which no hub repository can have."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or name[1:2] == ":"


def is_generic(name: str) -> bool:
    """Whether the name identifies no model: `model-bf16`, `checkpoint-500`, `7b-instruct`, a commit."""
    plain = _without_format(last_part(name)).casefold()
    return _COMMIT.fullmatch(plain) is not None or all(map(_is_common, _BETWEEN.split(plain)))


def is_training_run(name: str) -> bool:
    """Whether the name is that of a training run's output, such as `checkpoint-500` or `sft/model`."""
    last = "/".join(model_id(name).split("/")[-2:]) if is_path(name) else last_part(name)
    return re.search(rf"(?<![^\W\d_])(?:{_RUN})(?![^\W\d_])", last.casefold()) is not None


def same_family(one: str, other: str) -> bool:
    """Whether two names are equal, ignoring owner, format and case; a folder's name may include the owner.

    Generic names have no family. Two folder names must contain a number, as names of models do.
    """
    shared = _spellings(one) & _spellings(other)
    certain = model_id(one) == model_id(other) or _has_owner(one) or _has_owner(other)
    return any(certain or re.search(r"\d", name) for name in shared)


def unquantised(name: str) -> str | None:
    """The name of the full-precision model if `name` is that of a quantised one, else None.

    The owner is kept unless it publishes only quantised models.
    """
    tail = _TAIL.search(name)
    if tail is None or tail.start() <= name.rfind("/") + 1:
        return None
    plain = name[: tail.start()]
    if not _QUANTISES.search(tail.group()) or _IN_FULL in tail.group().lower() or is_generic(plain):
        return None
    owner, _, last = plain.rpartition("/")
    return last if _QUANTISERS.fullmatch(owner) else plain


def _is_common(word: str) -> bool:
    return _FORMAT.fullmatch(word) is not None or all(map(_COMMON.fullmatch, _LETTERS.findall(word)))


def _has_owner(name: str) -> bool:
    name = model_id(name)
    return "/" in name and not is_path(name)


def _spellings(name: str) -> frozenset[str]:
    owner, _, last = model_id(name).rpartition("/")
    if is_generic(last):
        return frozenset()
    last = last.removeprefix("models--")
    owner = owner.rpartition("/")[2]
    spelled = [last, *(f"{owner}{between}{last}" for between in ("--", "_") if owner)]
    return frozenset(map(_plain, spelled))


def _plain(name: str) -> str:
    name = _without_format(name.replace("___", ".")).casefold()  # a dot in ModelScope's folders
    name = re.sub(r"[\s_]+", "-", name)
    return name.removesuffix("-hf").removeprefix("meta-" if name.startswith("meta-llama") else "")


def _without_format(name: str) -> str:
    tail = _TAIL.search(name)
    return name[: tail.start()] if tail is not None else name
