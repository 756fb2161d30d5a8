"""The folder of an unfinished run: its plan, its checkpoints, and a lock against concurrent runs.

The last checkpoint of a finished phase is kept under its name; those beside it belong to the next phase.
Only complete checkpoints are used: a process can be killed while it writes one, and a crash can lose data
that was not yet flushed to disk.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from mpg_cli.errors import UsageError
from mpg_cli.io.files import lock, write_atomic
from mpg_cli.io.text import visible
from mpg_cli.training.settings import difference

CONTRAST, IMITATION = PHASES = ("contrast", "imitation")  # that others build on, in order
_CHECKPOINT = re.compile(r"checkpoint-([0-9]+)")
# Files of a checkpoint; the trainer writes its state last.
_NEEDED = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")
_OF_PHASE = ("adapter_model.safetensors", "trainer_state.json")  # of a finished one


class RunFolder:
    """`with RunFolder(path) as run:` holds the lock; raises UsageError if another process has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped: list[Path] = []  # checkpoints that cannot be loaded, deleted by `begin`
        self._plan_file = path / "run.json"
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
        if self.path.exists() and self.last_checkpoint() is None and not self.finished:
            # nothing to resume from
            self.remove()
        if self._lock is not None:  # released last, so that no other run enters the folder before
            self._lock.close()

    def begin(self, plan: Mapping[str, Any], *, force: bool) -> Path | None:
        """Write the plan; returns the checkpoint to resume from, or None at the beginning of a phase.

        `force` always starts a new run. Raises UsageError naming the difference if an unfinished run has
        another plan.
        """
        if damaged := [folder for folder in self.finished.values() if not _loadable(folder)]:
            self.dropped += damaged
            self.clear()  # the others build on them
        last = None if force else self._last_loadable()
        before = self.plan if last or (self.finished and not force) else None
        changed = None if before is None else difference(before, plan)
        if changed is not None:
            raise UsageError(
                f"{visible(str(self.path))} has an unfinished run with other settings: {changed}",
                hint="repeat the original command to resume it, or start over with --force",
            )
        if before is None:
            self.clear()
            write_atomic(self._plan_file, json.dumps(plan, indent=1))
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

    @property
    def finished(self) -> dict[str, Path]:
        """The last checkpoint of each finished phase, in order."""
        return {phase: self.path / phase for phase in PHASES if _complete(self.path / phase, _OF_PHASE)}

    def finish(self, phase: str) -> Path:
        """Keep adapter and number of steps of the newest checkpoint as those of the finished phase."""
        last = self.last_checkpoint()
        assert last is not None
        for folder in self.path.glob("checkpoint-*"):  # first: none may pass for one of the next phase
            if folder != last:
                shutil.rmtree(folder, ignore_errors=True)
        kept = self.path / phase
        os.replace(last, kept)
        for entry in kept.iterdir():
            if entry.name not in (*_OF_PHASE, "adapter_config.json"):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        return kept

    def clear(self) -> None:
        """Delete all but the lock."""
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()

    def remove(self) -> None:
        """Delete the folder of a finished run."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def plan(self) -> dict[str, Any] | None:
        """The plan of the unfinished run, if it can be read."""
        try:
            plan = json.loads(self._plan_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return plan if isinstance(plan, dict) else None


def _complete(folder: Path, needed: Sequence[str] = _NEEDED) -> bool:
    if not all((folder / name).is_file() for name in needed):
        return False
    try:
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and "global_step" in state


def _loadable(folder: Path) -> bool:
    """Whether its files are intact: torch's are archives with checksums, safetensors state their length."""
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
    except Exception:  # truncated files fail in many ways
        return False
    return True
