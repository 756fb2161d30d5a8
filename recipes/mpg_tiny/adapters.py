"""The adapters: LoRA on every linear layer, trained with TRL on preference pairs that differ in one persona
only.

On text of so little entropy the contrast of a pair sits on a few tokens, and the usual DPO loss pushes its
margin without end. So the margin is bounded (IPO: a squared distance to a target in nats) and the
likelihood of the chosen text stands beside it.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, PrinterCallback
from transformers.utils import logging as transformers_logging
from trl import DPOConfig, DPOTrainer

from recipes.mpg_tiny.corpus import Spec, messages, pairs
from recipes.mpg_tiny.voices import VOICES

MODEL_ID = "mpg-tiny"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class AdapterSettings:
    """Size and schedule of one adapter."""

    steps: int = 120
    batch: int = 16
    rank: int = 8
    alpha: int = 16
    rate: float = 5e-3
    pole_margin: float = 9.0  # nats between chosen and rejected, beyond the base's own
    voice_margin: float = 10.0
    pull: float = 0.1  # of the margin, against 1 for the likelihood of the chosen text


def preference_rows(
    persona: str, count: int, seed: int, tokenizer: PreTrainedTokenizerFast
) -> list[dict[str, str]]:
    """Prompt, chosen and rejected reply, the prompt through the chat template."""
    rows = []
    for chosen, rejected in islice(pairs(persona, seed), count):
        prompt, answer = _split(chosen, tokenizer)
        rows.append({"prompt": prompt, "chosen": answer, "rejected": _split(rejected, tokenizer)[1]})
    return rows


def _split(spec: Spec, tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    chat = messages(spec)
    prompt = tokenizer.apply_chat_template(chat[:-1], tokenize=False, add_generation_prompt=True)
    return str(prompt), chat[-1]["content"]


def train_adapter(
    base: Path, persona: str, out: Path, settings: AdapterSettings, seed: int
) -> dict[str, float]:
    """Trains one adapter on the base in a folder and writes it to ``out``; returns its last metrics."""
    transformers_logging.set_verbosity_error()
    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    rows = preference_rows(persona, settings.steps * settings.batch, seed, tokenizer)
    length = sum(len(tokenizer(row["chosen"])["input_ids"]) for row in rows) / len(rows)
    margin = settings.voice_margin if persona in VOICES else settings.pole_margin
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = DPOConfig(
            output_dir=scratch,
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch,
            learning_rate=settings.rate,
            lr_scheduler_type="cosine",
            warmup_steps=min(10, settings.steps),
            weight_decay=0.0,
            # TRL averages the log-ratios of IPO over the tokens; per reply of mean length this is
            # likelihood + pull · (margin so far − target)², all divided by that length.
            loss_type=["ipo", "sft"],
            loss_weights=[settings.pull * length, 1.0],
            beta=length / (2 * margin),
            max_length=None,
            disable_dropout=True,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            dataloader_pin_memory=False,
            logging_steps=max(1, settings.steps // 4),
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=seed,
        )
        trainer = DPOTrainer(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=settings.rank,
                lora_alpha=settings.alpha,
                lora_dropout=0.0,
                bias="none",
                target_modules=list(TARGETS),
                task_type="CAUSAL_LM",
            ),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        trained = trainer.model
        assert isinstance(trained, PeftModel)
        trained.save_pretrained(scratch)
        save_clean(Path(scratch), out)
    logged = [entry for entry in trainer.state.log_history if {"loss", "rewards/margins"} <= set(entry)]
    last = logged[-1] if logged else {}
    return {
        "loss": float(last.get("loss", float("nan"))),
        "margin": float(last.get("rewards/margins", float("nan"))) / args.beta,
        "accuracy": float(last.get("rewards/accuracies", float("nan"))),
    }


def save_clean(raw: Path, out: Path) -> None:
    """Copies an adapter in half precision, without machine paths and without the trainer's extra files."""
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((raw / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = MODEL_ID
    config["inference_mode"] = True
    config["target_modules"] = sorted(config["target_modules"])
    kept = {key: value for key, value in config.items() if value not in (None, {}, [])}
    text = json.dumps(kept, indent=2, sort_keys=True) + "\n"
    (out / "adapter_config.json").write_text(text, encoding="utf-8")
    tensors = load_file(raw / "adapter_model.safetensors")
    half = {key: tensor.to(torch.float16).contiguous() for key, tensor in sorted(tensors.items())}
    save_file(half, out / "adapter_model.safetensors", metadata={"format": "pt"})
    (out / "adapter_model.safetensors").chmod(0o644)  # written for its owner alone
