"""Edits one key of the config file and preserves everything else, including comments and order.

The edit replaces the text at the parser's marks. The result is parsed again, and an edit that would change
any other key is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from mpg_cli.config.key import Key, Value, checked
from mpg_cli.errors import UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.files import write_atomic
from mpg_cli.io.text import visible
from mpg_cli.io.yaml_text import scalar

Edit = Callable[[str, Any], str]  # maps the text and its mapping node (None if empty) to the new text


def read_value(key: Key, words: Sequence[str]) -> Value:
    """Command-line words as the value of a key. Raises UsageError with the checks of the file itself."""
    if not key.many and len(words) != 1:
        hint = "put a value with spaces in quotes"
        raise UsageError(f"{key.name} takes one value, not {len(words)}", hint=hint)
    items: Any = [_of_word(key, word) for word in words]
    value = items if items[1:] else items[0]
    try:
        checked(key, value)
    except UsageError as error:
        raise UsageError(f"{key.name}: {error.message}", hint=error.hint) from None
    return value  # type: ignore[no-any-return]


def _of_word(key: Key, word: str) -> str | int | float | bool:
    """A word converted to the key's type if possible, else the word."""
    if key.kind is bool:
        return {"true": True, "false": False}.get(word.lower(), word)
    for kind in (int, float) if key.kind in (int, float) else ():
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def set_key(file: Path, key: str, value: Value) -> None:
    """Write the value of a key. Raises UsageError if the file is not YAML or cannot be edited safely."""
    written = f"[{', '.join(map(_item, value))}]" if isinstance(value, list) else scalar(value)

    def edit(text: str, root: Any) -> str:
        for name, node in root.value if root else ():
            if name.value == key:
                begin = text.index(":", name.end_mark.index) + 1
                return f"{text[:begin]} {written}{text[_end(text, node) :]}"
        body = text if not text or text.endswith("\n") else text + "\n"
        return f"{body}{key}: {written}\n"

    _change(file, edit, lambda data: {**data, key: value})


def unset_key(file: Path, key: str) -> bool:
    """Remove a key; returns whether it was set. Raises UsageError as `set_key` does."""
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


def _change(file: Path, edit: Edit, expected: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Edit the text, check that it parses to the expected data, and replace the file."""
    text = _read(file)
    before = safe_yaml.parse(text, file, error=UsageError)
    if len(before) > 1:
        raise UsageError(f"{visible(str(file))}:{before[1].line}: a config file must be a single document")
    wanted = expected(before[0].data if before else {})
    changed = edit(text, yaml.compose(text, Loader=yaml.SafeLoader) if before else None)
    try:
        after = safe_yaml.parse(changed, file, error=UsageError)
    except UsageError:
        after = ()
    if (after[0].data if after else {}) != wanted or (wanted and not after):
        raise UsageError(
            f"{visible(str(file))} has a layout that mpg cannot edit safely",
            hint="edit it by hand; write one `key: value` per line",
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
    """The end of a value. The parser's end mark of a block list is after the comments that follow it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    end: int = node.end_mark.index
    while end > node.start_mark.index and text[end - 1] in " \r\n":
        end -= 1
    return end


def _item(text: str | int) -> str:
    """A list item in flow style."""
    if isinstance(text, int):
        return str(text)
    return json.dumps(text, ensure_ascii=False) if "," in text else scalar(text)
