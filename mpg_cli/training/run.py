"""The folder of an unfinished run: what it was asked to do, its checkpoints, and a lock against a second one.

A checkpoint counts only if it is complete: a process can be killed while it writes one, and a machine can
lose what it had not yet written to disk.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from mpg_cli.errors import UsageError
from mpg_cli.io.files import lock, write_atomic
from mpg_cli.io.text import visible
from mpg_cli.training.settings import difference

_CHECKPOINT = re.compile(r"checkpoint-([0-9]+)")
# What the trainer writes; its state comes last.
_NEEDED = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")


class RunFolder:
    """`with RunFolder(path) as run:` holds the lock; another process there is a UsageError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped: list[Path] = []  # checkpoints that cannot be loaded, deleted by `begin`
        self._plan = path / "run.json"
        self._lock: BinaryIO | None = None

    def __enter__(self) -> RunFolder:
        place = visible(str(self.path))
        in_use = UsageError(f"another mpg train is writing {place}", hint="wait for it, or stop it")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = lock(self.path / "lock", in_use)
        except OSError as error:
            raise UsageError(f"{place} cannot be written: {error.strerror}") from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.path.exists() and self.last_checkpoint() is None:  # nothing is there to go on from
            self.remove()
        if self._lock is not None:  # only now: nobody else's run was in the folder meanwhile
            self._lock.close()

    def begin(self, plan: Mapping[str, Any], *, force: bool) -> Path | None:
        """Note what will run; the checkpoint to go on from, or None where the run starts anew.

        With `force` it always does. Raises UsageError if an unfinished run has another plan, naming what
        differs.
        """
        last = None if force else self._last_loadable()
        before = self._read_plan() if last else None
        changed = None if before is None else difference(before, plan)
        if changed is not None:
            raise UsageError(
                f"an unfinished run lies in {visible(str(self.path))}, and it was another: {changed}",
                hint="the command as it was resumes it, --force starts over",
            )
        if before is None:
            self.clear()
            write_atomic(self._plan, json.dumps(plan, indent=1))
            return None
        return last

    def _last_loadable(self) -> Path | None:
        """The newest checkpoint that can be loaded; newer ones are deleted."""
        while (last := self.last_checkpoint()) is not None and not _loadable(last):
            shutil.rmtree(last)
            self.dropped.append(last)
        return last

    def last_checkpoint(self) -> Path | None:
        """The newest complete checkpoint; incomplete ones are deleted."""
        found: list[tuple[int, Path]] = []
        for folder in self.path.iterdir():
            match = _CHECKPOINT.fullmatch(folder.name)
            if match is None or not folder.is_dir():
                continue
            if _complete(folder):
                found.append((int(match.group(1)), folder))
            else:
                shutil.rmtree(folder, ignore_errors=True)
        return max(found)[1] if found else None

    def clear(self) -> None:
        """Delete all but the lock."""
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()

    def remove(self) -> None:
        """The run is finished."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _read_plan(self) -> dict[str, Any] | None:
        try:
            plan = json.loads(self._plan.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return plan if isinstance(plan, dict) else None


def _complete(folder: Path) -> bool:
    if not all((folder / name).is_file() for name in _NEEDED):
        return False
    try:
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and "global_step" in state


def _loadable(folder: Path) -> bool:
    """Whether its files are whole: torch's are archives with checksums, safetensors say their length."""
    from safetensors import safe_open

    try:
        for file in folder.iterdir():
            if file.suffix == ".safetensors":
                with safe_open(file, "pt"):
                    pass
            elif file.suffix in (".pt", ".pth"):
                with zipfile.ZipFile(file) as archive:
                    if archive.testzip() is not None:
                        return False
    except Exception:  # torn files fail in many ways
        return False
    return True
