"""Which model a name means, whoever published it, in whatever format, wherever it lies."""

from __future__ import annotations

import re

_QUANTISED = (
    r"bnb|(?:1[0-5]|\d(?:\.\d+)?)[-_]?bits?|u?int[48]|nf4|(?:mx|nv)?fp4|fp8|f8|gptq|awq|gguf|ggml|exl[23]|hqq"
    r"|eetq|aqlm|auto[-_]?round|torchao|ct2|mlc|onnx|w\d+a\d+|t?iq\d_[a-z0-9_]+|q[2-68](?:_[a-z0-9]+)*"
    r"|q\df\d+(?:_\d)?|\d(?:\.\d+)?bpw"
)
_PRECISION = r"bf16|fp16|f16|fp32|f32|16[-_]?bits?|mlx|sharded"
_BEFORE = r"unsloth|quantized|qat|ud|i1|imat(?:rix)?"  # in front of one of these
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
_IN_FULL = "unquantized"  # a copy in full precision of weights that were trained to be quantised

_SNAPSHOT = re.compile(r"models--(?P<id>[^/]+)/snapshots/[^/]+$")
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<id>[^/]+/[^/]+)")
_COMMIT = re.compile(r"(?=.*\d)[0-9a-f]{7,}")
_BETWEEN = re.compile(r"[-_.:~\s]+")
_LETTERS = re.compile(r"[^\W\d_]+")
# What people call what a training run wrote.
_RUN = (
    r"actor|adapters?|best|checkpoints?|ckpt|dpo|epoch|exp(?:eriment)?|final|(?:fine)?tuned?|fine|grpo"
    r"|iter(?:ation)?|last|latest|lora|merged?|out(?:put)?s?|policy|ppo|results?|rlhf|runs?|sft|steps?|student|train(?:ed|ing)?"
)
# What says of a model what it is for, where it is from or how large, but not which it is.
_COMMON = re.compile(
    rf"{_RUN}|[bkmv]|base|chat|copy|default|full|global|hf|huggingface|instruct|it|llm"
    r"|local|main|master|models?|my|new|old|original|pretrained|safetensors|snapshots?|teacher|te?mp|test"
    r"|transformers|version|weights"
)
# Owners of quantised copies alone, of other people's models.
_QUANTISERS = re.compile(
    r"bartowski|casperhansen|hugging-quants|ista-daslab|lmstudio-community|lonestriker|mlx-community|mradermacher"
    r"|neuralmagic|prunaai|redhatai|solidrust|thebloke|turboderp",
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


def is_path(name: str) -> bool:
    """Whether no repository of the hub is called so."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or name[1:2] == ":"


def says_nothing(name: str) -> bool:
    """Whether many models are called like that: `model-bf16`, `checkpoint-500`, `7b-instruct`, a commit."""
    plain = _without_format(last_part(name)).casefold()
    return _COMMIT.fullmatch(plain) is not None or all(map(_is_common, _BETWEEN.split(plain)))


def is_of_a_run(name: str) -> bool:
    """Whether a training run wrote it, `checkpoint-500` or `sft/model`: it is not what was trained."""
    last = "/".join(model_id(name).split("/")[-2:]) if is_path(name) else last_part(name)
    return re.search(rf"(?<![^\W\d_])(?:{_RUN})(?![^\W\d_])", last.casefold()) is not None


def one_family(one: str, other: str) -> bool:
    """Whether two names are equal without owner, format and case; a folder may keep the owner in its name.

    Names that say nothing are of no family. Names of two folders need a number, as models have.
    """
    shared = _spellings(one) & _spellings(other)
    sure = model_id(one) == model_id(other) or _has_owner(one) or _has_owner(other)
    return any(sure or re.search(r"\d", name) for name in shared)


def unquantised(name: str) -> str | None:
    """What the model of full precision is called, if `name` is that of a quantised one.

    The owner stays where the plain model may be beside the quantised one.
    """
    tail = _TAIL.search(name)
    if tail is None or tail.start() <= name.rfind("/") + 1:
        return None
    plain = name[: tail.start()]
    if not _QUANTISES.search(tail.group()) or _IN_FULL in tail.group().lower() or says_nothing(plain):
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
    if says_nothing(last):
        return frozenset()
    last = last.removeprefix("models--")
    owner = owner.rpartition("/")[2]
    spelled = [last, *(f"{owner}{between}{last}" for between in ("--", "_") if owner)]
    return frozenset(map(_plain, spelled))


def _plain(name: str) -> str:
    name = _without_format(name.replace("___", ".")).casefold()  # ModelScope's folders write a dot like that
    name = re.sub(r"[\s_]+", "-", name)
    return name.removesuffix("-hf").removeprefix("meta-" if name.startswith("meta-llama") else "")


def _without_format(name: str) -> str:
    tail = _TAIL.search(name)
    return name[: tail.start()] if tail is not None else name
