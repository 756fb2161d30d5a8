"""One training run with TRL and PEFT: silent, resumable, on one device.

A run on pairs has up to three phases. An adapter imitates the rejected replies; another one imitates the
chosen replies on top of it; the preference loss goes on from there without the first, with the imitating
adapter as its reference. The evaluation at the end compares with the base.

The trainers' progress bars, logs, model cards and telemetry are off; metrics go to a `Watch`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from transformers import PrinterCallback
from trl import DPOConfig, SFTConfig

from mpg_cli.errors import NumericsError
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.personas.adapter_shapes import WEIGHTS_FILE
from mpg_cli.training import settings as settings_of
from mpg_cli.training.callback import PACE, Pace, RunCallback, Stopped
from mpg_cli.training.contrast import added
from mpg_cli.training.conversation import Example, reply_tokens
from mpg_cli.training.data import check_enough
from mpg_cli.training.quiet import QuietDPO, QuietSFT, own_forward, quiet
from mpg_cli.training.resource_errors import readable
from mpg_cli.training.run import CONTRAST, IMITATION, RunFolder
from mpg_cli.training.settings import Settings
from mpg_cli.training.watch import Figures, Watch, weighted

_REFERENCE = "ref"  # TRL's name of the adapter that the preference begins with


@dataclass(frozen=True)
class Job:
    """The model, data and settings of a run; `resume` is a checkpoint of its phase.

    `start` is the checkpoint with the adapter to begin with, `contrast` the folder of an adapter that has
    imitated the rejected replies.
    """

    loaded: LoadedModel
    settings: Settings
    train: Sequence[Example]
    held_out: Sequence[Example]
    run: RunFolder
    resume: Path | None = None
    pace: Pace = PACE
    start: Path | None = None
    contrast: Path | None = None


@dataclass(frozen=True)
class Trained:
    """A finished run: the adapter's configuration and tensors in PEFT's form, and the metrics.

    `steps` and `resumed_at` count those of all phases. `too_long` counts rows without room for a reply
    within the maximum length, `cut` truncated rows.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    base_model: Any
    steps: int
    resumed_at: int
    figures: Figures | None
    held_out: Figures | None
    held_out_rows: int
    too_long: int
    cut: int


def train(job: Job, watch: Watch) -> Trained | None:
    """Train to the end; None if `watch` stopped it early, with a checkpoint in the run folder.

    Raises UsageError if too few rows fit the maximum length, NumericsError if the loss is not finite,
    MpgError for a full disk, ModelError if memory runs out.
    """
    watch.display.stage("preparing the data")
    with quiet(), readable(job.loaded.device.value, job.run), own_forward(job.loaded.model):
        phases = _Phases(job, watch)
        contrast = job.contrast
        if contrast is None and (settings := job.settings.of_contrast) is not None:
            contrast = phases.imitate(
                CONTRAST, settings, rejected(job.train), "imitating the rejected replies"
            )
            if contrast is None:
                return None
        if (settings := job.settings.of_imitation) is not None:
            with contextlib.nullcontext() if contrast is None else added(job.loaded.model, contrast):
                start = phases.imitate(IMITATION, settings, chosen(job.train), "imitating the chosen replies")
            if start is None:
                return None
            job = replace(job, start=start)
            if job.settings.epochs:
                watch.phase("training the preference")
        job = replace(job, resume=phases.resume)
        trainer, callback, too_long, cut = _run(job, watch)
        if watch.stopping and trainer.state.global_step < trainer.state.max_steps:
            return None
        if _REFERENCE in trainer.model.peft_config:  # from here on the base is the reference
            trainer.model.delete_adapter(_REFERENCE)
        for module in trainer.model.modules():
            if isinstance(module, LoraLayer):
                module.scale_layer(job.settings.strength)
        held_out, held_out_rows = None, len(trainer.eval_dataset or ())
        if held_out_rows:
            watch.display.stage("evaluating")
            try:
                held_out = _evaluate(trainer, callback)
            except Stopped:
                return None
        if watch.stopping:
            return None
        model = trainer.model
        config = model.peft_config["default"].to_dict()
        config["lora_alpha"] = _number(config["lora_alpha"] * job.settings.strength)
        dtype = job.loaded.dtype.value
        if dtype == torch.float32:
            dtype = getattr(torch, job.settings.stored)
        saved = get_peft_model_state_dict(model, save_embedding_layers=False)
        tensors = {key: value.detach().to("cpu", dtype) for key, value in saved.items()}
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise NumericsError(
                "training diverged: the adapter contains non-finite values",
                hint=f"lower {'--learning-rate' if job.settings.epochs else '--imitation-rate'}",
            )
        recent = watch.recent()
        if recent is not None and not job.settings.epochs:  # the accuracy is that of tokens, not of pairs
            recent = Figures(recent.loss)
        return Trained(
            config=config,
            tensors=tensors,
            base_model=model.unload(),
            steps=phases.steps + trainer.state.global_step,
            resumed_at=phases.resumed_at + callback.began_at,
            figures=recent,
            held_out=held_out,
            held_out_rows=held_out_rows,
            too_long=too_long,
            cut=cut,
        )


def train_contrast(job: Job, watch: Watch) -> Path | None:
    """Imitate single replies, for runs that take the result as their `contrast`; as `train` otherwise."""
    with quiet(), readable(job.loaded.device.value, job.run), own_forward(job.loaded.model):
        return _Phases(job, watch).imitate(
            CONTRAST, job.settings, job.train, "imitating the rejected replies"
        )


def chosen(pairs: Sequence[Example]) -> list[Example]:
    """The chosen replies of pairs as examples of their own, each once: a reply may stand in several pairs."""
    return _single(Example(pair.prompt, pair.replies[:1]) for pair in pairs)


def rejected(pairs: Sequence[Example]) -> list[Example]:
    """The rejected replies likewise."""
    return _single(Example(pair.prompt, pair.replies[1:]) for pair in pairs)


def _single(examples: Iterable[Example]) -> list[Example]:
    found = {(tuple(own.prompt), tuple(own.replies[0])): own for own in examples}
    return list(found.values())


class _Phases:
    """The imitations of a run, one after the other; those that are finished are not repeated.

    `resume` is the checkpoint of the next phase, `steps` and `resumed_at` are sums over those before.
    """

    def __init__(self, job: Job, watch: Watch) -> None:
        self._job, self._watch = job, watch
        self.resume = job.resume
        self.steps = self.resumed_at = 0

    def imitate(self, phase: str, settings: Settings, replies: Sequence[Example], words: str) -> Path | None:
        """The folder of the adapter that imitates these replies; None if `watch` stopped it."""
        run = self._job.run
        if done := run.finished.get(phase):
            self.steps += (steps := _step_of(done))
            self.resumed_at += steps
            return done
        self._watch.phase(words)
        job = replace(self._job, settings=settings, train=replies, held_out=(), resume=self.resume)
        try:
            trainer, callback, _, _ = _run(job, self._watch)
        except NumericsError as error:
            error.hint = "lower --imitation-rate, or choose --dtype float32"
            raise
        trainer.model.unload()
        if trainer.state.global_step < trainer.state.max_steps:
            return None
        done = run.finish(phase)
        self.steps += trainer.state.global_step
        self.resumed_at += callback.began_at
        self.resume = None
        return None if self._watch.stopping else done


def _run(job: Job, watch: Watch) -> tuple[Any, RunCallback, int, int]:
    """Run one phase until it ends or `watch` stops it; then as `_trainer`. Raises NumericsError.

    Nothing is trained where the settings have no epochs.
    """
    trainer, too_long, cut = _trainer(job)
    beta = trainer.args.beta if job.settings.method == "dpo" else 1.0
    callback = RunCallback(watch, job.settings, beta, job.pace)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(callback)
    if job.settings.epochs:
        trainer.train(resume_from_checkpoint=str(job.resume) if job.resume else None)
    if callback.diverged is not None:
        raise NumericsError(
            f"training diverged: the loss is not finite at step {callback.diverged}",
            hint="lower --learning-rate, or choose --dtype float32",
        )
    return trainer, callback, too_long, cut


def _step_of(checkpoint: Path) -> int:
    return int(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])


def _trainer(job: Job) -> tuple[Any, int, int]:
    """The trainer, the number of rows without room for a reply, and the number of truncated rows."""
    settings, tokenizer, longest = job.settings, job.loaded.tokenizer, job.settings.max_length
    rows, held_out = (
        [example for example in part if len(example.prompt) < longest] for part in (job.train, job.held_out)
    )
    too_long = len(job.train) + len(job.held_out) - len(rows) - len(held_out)
    if too_long:
        check_enough(
            len(rows) + len(held_out) if rows else 0,
            settings.method,
            too_long,
            hint=f"raise --max-length: {longest} tokens leave no room for a reply",
        )
    transformers.set_seed(settings.seed)  # TRL before 1.16 initialises the adapter before it sets the seed
    trainer_class = QuietDPO if settings.method == "dpo" else QuietSFT
    trainer = trainer_class(
        model=job.loaded.model if job.start is None else _adapted(job, job.start),
        args=_arguments(job, reply_tokens(rows)),
        train_dataset=_dataset(rows, longest),
        eval_dataset=_dataset(held_out, longest) if held_out else None,
        processing_class=tokenizer,
        peft_config=_lora(job) if job.start is None else None,
    )
    for name, parameter in trainer.model.named_parameters():
        if f".{_REFERENCE}." in name:
            parameter.requires_grad_(False)
    # Otherwise PEFT looks up the configuration of the base on the hub at every save.
    for config in trainer.model.peft_config.values():
        config.base_model_name_or_path = None
    cut = sum(len(each.prompt) + max(map(len, each.replies)) > longest for each in rows)
    return trainer, too_long, cut


def _dataset(rows: Sequence[Example], longest: int) -> Dataset:
    """Token ids in the columns of TRL's collators, which truncate pairs themselves."""
    return Dataset.from_list([_columns(row, longest) for row in rows])


def _columns(row: Example, longest: int) -> dict[str, list[int]]:
    if len(row.replies) == 1:
        ids, labels = [*row.prompt, *row.replies[0]], [-100] * len(row.prompt) + row.replies[0]
        return {"input_ids": ids[:longest], "labels": labels[:longest]}
    chosen, rejected = row.replies
    return {"prompt_ids": row.prompt, "chosen_ids": chosen, "rejected_ids": rejected}


def _evaluate(trainer: Any, callback: RunCallback) -> Figures:
    """Means over the held-out rows.

    The trainer averages over batches, so full batches and the last, smaller one are evaluated separately.
    """
    rows = trainer.eval_dataset
    full = len(rows) - len(rows) % trainer.args.per_device_eval_batch_size
    parts: list[tuple[int, Figures]] = []
    for part in (range(full), range(full, len(rows))):
        if part:
            trainer.eval_dataset = rows.select(part)
            parts.append((len(part), callback.figures(trainer.evaluate(), "eval_")))
    return weighted(parts)


def _adapted(job: Job, start: Path) -> Any:
    """The model with the adapter of a checkpoint."""
    model = get_peft_model(job.loaded.model, _lora(job))
    set_peft_model_state_dict(model, load_file(start / WEIGHTS_FILE))
    return model


def _lora(job: Job) -> LoraConfig:
    conv1d = any(
        type(module).__name__ == "Conv1D" and name.rpartition(".")[2] in job.settings.targets
        for name, module in job.loaded.model.named_modules()
    )
    return LoraConfig(
        r=job.settings.rank,
        lora_alpha=_number(job.settings.alpha),
        lora_dropout=0.0,
        bias="none",
        target_modules=list(job.settings.targets),
        fan_in_fan_out=conv1d,
        task_type="CAUSAL_LM",
    )


def _number(value: float) -> float:
    """A float, as an integer where it is one, as PEFT writes it."""
    return int(value) if float(value).is_integer() else value


def _arguments(job: Job, tokens: float) -> Any:
    """TRL's configuration; the IPO margin is per reply here and per token in TRL (see `_loss`)."""
    settings, device = job.settings, job.loaded.device.value
    dtype = job.loaded.dtype.value
    common: dict[str, Any] = {
        "output_dir": str(job.run.path),
        "num_train_epochs": settings.epochs or 1.0,  # 0: it only evaluates
        "per_device_train_batch_size": settings.micro_batch,
        "per_device_eval_batch_size": settings.micro_batch,
        "gradient_accumulation_steps": settings.batch_size // settings.micro_batch,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "weight_decay": 0.0,
        "optim": "adamw_torch",
        "max_length": settings.max_length,
        "gradient_checkpointing": settings.checkpointing,
        "bf16": device.type == "cuda" and dtype == torch.bfloat16,
        "fp16": device.type == "cuda" and dtype == torch.float16,
        "use_cpu": device.type == "cpu",
        "dataloader_pin_memory": device.type == "cuda",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # `RunCallback` decides
        "save_total_limit": 2,
        "eval_strategy": "no",
        "prediction_loss_only": True,
        "report_to": [],
        "disable_tqdm": True,
        "seed": settings.seed,
    }
    if settings.method == "sft":
        return SFTConfig(packing=False, **common)
    names, weights, beta = _loss(settings, tokens)
    return DPOConfig(
        loss_type=names,
        loss_weights=weights,
        beta=beta,
        label_smoothing=settings_of.LABEL_SMOOTHING.get(settings.loss, 0.0),
        disable_dropout=True,
        **common,
    )


def _loss(settings: Settings, tokens: float) -> tuple[list[str], list[float], float]:
    """The names and weights of TRL's losses, and TRL's β.

    TRL's IPO takes the log-ratios as means over tokens, (Δ/L − 1/(2β'))². With β' = β·L and the
    weight w·L this becomes w·(Δ − 1/(2β))²/L. The likelihood is a mean over tokens too, so the sum is the
    loss of a reply divided by its length.
    """
    names, weights, beta = [settings.loss], [1.0], settings.beta
    if settings.loss == "ipo":
        weights, beta = [settings_of.IPO_WEIGHT * tokens], settings.beta * tokens
    if settings.likelihood:
        names, weights = [*names, "sft"], [*weights, settings.likelihood]
    return names, weights, beta
