"""What a run with TRL reports, when it writes checkpoints, and how it is stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from mpg_cli.training.settings import Settings
from mpg_cli.training.watch import Figures, Watch


@dataclass(frozen=True)
class Pace:
    """How often checkpoints are written."""

    seconds: float = 60.0  # minimum between two of them
    share: float = 0.05  # maximum share of the time spent writing them


PACE = Pace()


class Stopped(Exception):
    """A stop was requested during evaluation."""


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Sends metrics to the watch, saves checkpoints periodically and at the end, and obeys stop requests."""

    def __init__(self, watch: Watch, settings: Settings, beta: float, pace: Pace) -> None:
        self._watch = watch
        self._pace = pace
        self._settings = settings
        self._scale = settings.beta / beta  # from rewards with TRL's β to rewards with ours
        self._saved = time.monotonic()
        self._pause = pace.seconds
        self._saving = 0.0
        self.began_at = 0
        self.diverged: int | None = None

    def figures(self, logs: Mapping[str, float], prefix: str = "") -> Figures:
        loss = float(logs.get(f"{prefix}loss", math.nan))
        if self._settings.method == "sft":
            return Figures(loss, logs.get(f"{prefix}mean_token_accuracy"))
        margin = logs.get(f"{prefix}rewards/margins")
        scaled = None if margin is None else margin * self._scale
        return Figures(loss, logs.get(f"{prefix}rewards/accuracies"), scaled)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began_at = state.global_step
        self._watch.display.step(state.global_step, state.max_steps, None)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        last = state.global_step >= state.max_steps
        if self._watch.stopping:
            control.should_training_stop = True
        due = time.monotonic() - self._saved >= self._pause
        if last or due or self._watch.stopping:
            control.should_save = True
            self._saving = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs is None or "loss" not in logs:
            return
        figures = self.figures(logs)
        self._watch.step(state.global_step, state.max_steps, figures)
        if not figures.finite:
            self.diverged = state.global_step
            control.should_training_stop = True
            control.should_save = False

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._saved = time.monotonic()
        took = self._saved - self._saving
        self._pause = max(self._pace.seconds, took / self._pace.share)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._watch.stopping:
            raise Stopped
