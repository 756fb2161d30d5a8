"""Whether a value that the config file may hold is also one that the option takes."""

from __future__ import annotations

from typing import Any

from mpg_cli.cli.commands import values
from mpg_cli.config.file import Value
from mpg_cli.engine.messages import check_text
from mpg_cli.engine.request import Request
from mpg_cli.errors import UsageError
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas import expression
from mpg_cli.sampling.params import Sampling, Scheme

_SAMPLING = (
    "max-tokens",
    "temperature",
    "top-k",
    "top-p",
    "min-p",
    "repetition-penalty",
    "presence-penalty",
    "frequency-penalty",
)
_THRESHOLD = ("threshold", "threshold-window", "candidates", "ahead")


def check_value(key: str, value: Value) -> None:
    """Raises UsageError with the words of the option itself."""
    texts = value if isinstance(value, list) else [str(value)]
    if key in _SAMPLING:
        Sampling(**{key.replace("-", "_"): value})  # type: ignore[arg-type]
    elif key in _THRESHOLD:
        given: dict[str, Any] = dict.fromkeys(("how", "window", "candidates", "ahead"))
        name = {"threshold": "how", "threshold-window": "window"}.get(key, key)
        Scheme(rule="threshold", threshold=values.threshold(**{**given, name: value}))
    elif key == "chunk-size":
        Scheme(chunk_size=values.chunk_size(str(value)))
    elif key == "persona":
        for text in texts:
            expression.parse(text)
    elif key == "drafter":
        _check_drafter(texts[0])
    elif key == "template-arg":
        values.template_args(texts)
    elif key == "model":
        ModelOptions(texts[0])
    elif key == "seed":
        Request(ModelOptions(), Prompting("-"), Sampling(), Scheme(), seed=value)  # type: ignore[arg-type]
    elif key == "logit-bias":
        Sampling(logit_bias=values.logit_bias(texts))
    elif key == "stop-token-id":
        for text in texts:
            if not (text.isascii() and text.isdecimal()):
                raise UsageError(f"--stop-token-id {text} is no token id", hint="ids are whole numbers")
    elif key in ("system", "stop", "prefill"):
        for text in texts:
            check_text(f"--{key}", text)


def _check_drafter(text: str) -> None:
    """Its form; whether the persona is in the blend is for the command to say."""
    kind, colon, name = text.partition(":")
    if kind == "persona" and colon and expression.NAME.fullmatch(name.strip()):
        return
    if kind == "persona":
        raise UsageError(f"--drafter {text} names no persona", hint="as in persona:pirate")
    values.drafter(text, ())
