"""Changes one key of the config file and leaves the rest, comments and order included, as it is.

The edit is made in the text where the parser says that the value stands, and then read back: what would
change anything else is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from mpg_cli.config.file import OPTIONS, Value, problem_with, unknown_key
from mpg_cli.errors import UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.files import write_atomic
from mpg_cli.io.text import visible
from mpg_cli.io.yaml_text import scalar

Edit = Callable[[str, Any], str]  # the text and its mapping node (None: empty) to the new text


def read_value(key: str, words: Sequence[str]) -> Value:
    """Words of the command line as the value of a key. Raises UsageError as the file itself would."""
    option = OPTIONS.get(key)
    if option is None:
        raise UsageError(f"{visible(key, 60)}: {unknown_key(key)}")
    if option.kind is list:
        value: Any = words[0] if len(words) == 1 else list(words)
    elif len(words) != 1:
        raise UsageError(f"{key} takes one value, not {len(words)}", hint="put a value with spaces in quotes")
    elif option.kind is bool:
        value = {"true": True, "false": False}.get(words[0].lower(), words[0])
    elif option.kind in (int, float):
        value = _number(words[0])
    else:
        value = words[0]
    message = problem_with(option, value)
    if message is not None:
        raise UsageError(f"{key}: {message}")
    return value  # type: ignore[no-any-return]


def set_key(file: Path, key: str, value: Value) -> None:
    """Write the value of a key. Raises UsageError where the file is no YAML or cannot be changed safely."""
    written = "[" + ", ".join(map(_item, value)) + "]" if isinstance(value, list) else scalar(value)

    def edit(text: str, root: Any) -> str:
        for name, node in root.value if root else ():
            if name.value == key:
                begin = text.index(":", name.end_mark.index) + 1
                return f"{text[:begin]} {written}{text[_end(text, node) :]}"
        body = text if not text or text.endswith("\n") else text + "\n"
        return f"{body}{key}: {written}\n"

    _change(file, edit, lambda data: {**data, key: value})


def unset_key(file: Path, key: str) -> bool:
    """Take a key out; whether it was there. Raises UsageError as `set_key` does."""
    found = False

    def edit(text: str, root: Any) -> str:
        nonlocal found
        for name, node in root.value if root else ():
            if name.value == key:
                found = True
                line_end = text.find("\n", _end(text, node))
                begin = text.rfind("\n", 0, name.start_mark.index) + 1
                return text[:begin] + (text[line_end + 1 :] if line_end >= 0 else "")
        return text

    _change(file, edit, lambda data: {k: v for k, v in data.items() if k != key})
    return found


def _change(file: Path, edit: Edit, outcome: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Edit the text, check that it now says what it should, and replace the file."""
    text = _read(file)
    before = safe_yaml.parse(text, file, error=UsageError)
    if len(before) > 1:
        raise UsageError(f"{visible(str(file))}:{before[1].line}: a config file is one document")
    wanted = outcome(before[0].data if before else {})
    changed = edit(text, yaml.compose(text, Loader=yaml.SafeLoader) if before else None)
    try:
        after = safe_yaml.parse(changed, file, error=UsageError)
    except UsageError:
        after = ()
    if (after[0].data if after else {}) != wanted or (wanted and not after):
        raise UsageError(
            f"{visible(str(file))} is written in a way that cannot be changed from here",
            hint="edit it by hand; one `key: value` a line is the usual way",
        )
    if changed != text:
        write_atomic(file, changed, make_folder=True)


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UsageError(f"{visible(str(file))} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{visible(str(file))} is not UTF-8 text") from None


def _end(text: str, node: Any) -> int:
    """Where a value ends. The parser's mark for a block of items lies beyond the comments that follow it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    end: int = node.end_mark.index
    while end > node.start_mark.index and text[end - 1] in " \r\n":
        end -= 1
    return end


def _number(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _item(text: str) -> str:
    """One text of a list on one line."""
    return json.dumps(text, ensure_ascii=False) if "," in text else scalar(text)
