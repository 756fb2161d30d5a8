"""Which model a name means, whoever published it, in whatever format, wherever it lies."""

from __future__ import annotations

import re

_QUANTISED = (
    r"(?:unsloth[-_.])?bnb|(?:1[0-5]|\d(?:\.\d+)?)[-_]?bits?|u?int[48]|nf4|(?:mx|nv)?fp4|fp8|f8"
    r"|gptq|awq|gguf|ggml|exl[23]|hqq|eetq|aqlm|w\d+a\d+|(?:ud[-_])?i?q\d(?:_[a-z0-9]+)*|\d(?:\.\d+)?bpw"
)
_PRECISION = r"bf16|fp16|f16|fp32|f32|16[-_]?bits?|mlx"
_DETAIL = r"unsloth|quantized|dynamic|dwq|i1|imat(?:rix)?|\d+g|actorder[-_]true|h\d"  # beside one of these
_TAIL = re.compile(rf"(?:[-_.](?:{_QUANTISED}|{_PRECISION}|{_DETAIL}))+$", re.IGNORECASE)
_TELLS = re.compile(rf"[-_.](?:{_QUANTISED}|{_PRECISION})(?=[-_.]|$)", re.IGNORECASE)
_QUANTISES = re.compile(rf"[-_.](?:{_QUANTISED})(?=[-_.]|$)", re.IGNORECASE)

_SNAPSHOT = re.compile(r"models--(?P<id>[^/]+)/snapshots/[^/]+$")
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<id>[^/]+/[^/]+)")
_ANYTHING = re.compile(
    r"|\.+|~|[0-9a-f]{40}|(?:hf|base|full|merged|final|best|last|latest|trained|tuned)?[-_]?"
    r"(?:models?|checkpoints?|ckpt|epoch|step|snapshots?|weights|out(?:put)?s?|results?|tmp)(?:[-_]?\d+)?"
    r"|final|best|last|latest|main|master|merged|hf|fp16|bf16|safetensors|transformers|\d+",
    re.IGNORECASE,
)


def model_id(name: str) -> str:
    """OWNER/NAME where `name` is a page of the hub or a snapshot in its cache, else `name` itself."""
    name = name.strip().replace("\\", "/").rstrip("/") or name
    if found := _SNAPSHOT.search(name):
        return found["id"].replace("--", "/")
    if found := _ADDRESS.match(name):
        return found["id"]
    return name


def last_part(name: str) -> str:
    """The name without its owner, or that of the folder."""
    return model_id(name).rpartition("/")[2]


def says_nothing(name: str) -> bool:
    """Whether many models are called like that: `model`, `checkpoint-500`, a commit."""
    return _ANYTHING.fullmatch(last_part(name)) is not None


def families(name: str) -> frozenset[str]:
    """The model's name without owner, format and case, also as folders have it that keep the owner in theirs.

    Two names are of one family where they share a spelling. Empty where the name says nothing.
    """
    owner, _, last = model_id(name).rpartition("/")
    if says_nothing(last):
        return frozenset()
    last = last.removeprefix("models--")
    owner = owner.rpartition("/")[2]
    spelled = [last, *(f"{owner}{between}{last}" for between in ("--", "_") if owner)]
    return frozenset(map(_plain, spelled))


def same_model(one: str, other: str) -> bool:
    """Whether two names may be of one model: the same last part, or of one family."""
    return last_part(one).lower() == last_part(other).lower() or bool(families(one) & families(other))


def unquantised(name: str) -> str | None:
    """What the model of full precision is called, if `name` is that of a quantised one.

    The owner stays: mirrors of quantised models mostly have the plain one beside them.
    """
    tail = _TAIL.search(name)
    if tail is None or tail.start() <= name.rfind("/") + 1 or not _QUANTISES.search(tail.group()):
        return None
    return name[: tail.start()]


def _plain(name: str) -> str:
    name = name.replace("___", ".").partition(":")[0]  # as ModelScope's folders write a dot; Ollama's tags
    tail = _TAIL.search(name)
    if tail is not None and tail.start() and _TELLS.search(tail.group()):
        name = name[: tail.start()]
    return name.casefold().removesuffix("-hf").removeprefix("meta-")
