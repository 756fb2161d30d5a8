"""Loading a model and its tokenizer from a hub id, a folder or a GGUF file.

transformers initialises missing weights at random, ignores unused ones and runs models that cannot be rolled
back; the checks here reject all of these.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from mpg_cli.errors import ModelError, brief, is_out_of_memory
from mpg_cli.models.load.checkpoint import AGAIN, check_class, inspect_folder
from mpg_cli.models.load.device import Choice, choose_device, choose_dtype
from mpg_cli.models.load.gguf.convert import convert, memory_notice, open_gguf
from mpg_cli.models.load.own_sampling import OwnSampling, own_sampling
from mpg_cli.models.load.sources import FoundModel, find_model, silence
from mpg_cli.models.load.tokenizer import load_tokenizer
from mpg_cli.models.text.vocabulary import Vocabulary, check_same, check_tokenizer, embedded, served_tokens

LISTED = 5  # wrong weights listed in a message
CAUSAL_SLACK = 0.1  # of the standard deviation of logits, for rounding in half precision
SAMPLE = 64  # elements of each parameter in a digest

_LOADING = threading.Lock()  # from_pretrained replaces functions of torch and transformers meanwhile
Report = Callable[[str], None]  # gets progress messages

_DIGESTS: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def _no_report(text: str) -> None:
    """Drop a progress message."""


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model in evaluation mode on its device, with its tokenizer.

    `id` is the hub id, the resolved folder or GGUF file, "mpg-tiny" or "smollm2"; `given_name` the name as
    given, `revision` the commit on the hub or, of a GGUF file of smollm2, its digest; `notices` are messages
    for the user. `config` is that of the model, with `_name_or_path` as published. `own` is the sampling
    that it asks for. `compiled`: its passes use torch.compile.
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    config: Any = field(repr=False)
    id: str
    revision: str | None
    device: Choice[torch.device]
    dtype: Choice[torch.dtype]
    notices: tuple[str, ...] = ()
    given_name: str = ""
    own: OwnSampling = field(default_factory=OwnSampling)
    compiled: bool = False

    @property
    def end_tokens(self) -> frozenset[int]:
        """End tokens of the generation configuration, the configuration and the tokenizer together."""
        generation = getattr(self.model, "generation_config", None)
        named = [
            getattr(generation, "eos_token_id", None),
            getattr(self.config, "eos_token_id", None),
            getattr(self.config.get_text_config(), "eos_token_id", None),
            self.tokenizer.eos_token_id,
        ]
        flat = [t for ids in named for t in (ids if isinstance(ids, list | tuple) else [ids])]
        return frozenset(t for t in flat if type(t) is int)  # the file may say anything

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Ids that may be sampled: those of the tokenizer and the end tokens, if the model has them."""
        size = served_tokens(self.model)
        known = {*self.tokenizer.get_vocab().values(), *self.end_tokens}
        return Vocabulary.of(id_ for id_ in known if id_ < size)


def load_model(
    name_or_path: str,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    *,
    offline: bool = False,
    report: Report = _no_report,
) -> LoadedModel:
    """Load a causal language model by a name that `find_model` knows; `report` gets progress messages.

    A GGUF file is converted first, once. Raises ModelError for problems of the name, the files, the kind of
    model or the device.
    """
    chosen_device = choose_device(device)
    if dtype != "auto":
        choose_dtype(dtype, chosen_device.value)  # fail before anything is fetched
    with _LOADING, silence():
        found = find_model(name_or_path, revision, offline)
        identity = found.id
        with found.remedied():
            folder, converted, notices = model_folder(found, dtype, chosen_device.value, report)
            checkpoint = inspect_folder(folder, identity)
            config, model_class = read_config(folder, identity)
            chosen_dtype = converted or choose_dtype(
                dtype, chosen_device.value, config.dtype, checkpoint.parameters
            )
            tokenizer = load_tokenizer(folder, identity)
            published = str(checkpoint.data.get("_name_or_path") or identity)
            own = own_sampling(folder, (identity, published))
            model, unused = _load_weights(folder, identity, config, model_class, chosen_dtype.value)
        check_tokenizer(model, tokenizer, identity)
        _move(model, chosen_device.value, identity)
        _check_causal(model, identity)
    model.config._name_or_path = published
    if unused:
        notices.append(
            f"model {identity}: {len(unused)} tensors of its files are unused, such as {unused[0]}"
        )
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        config=model.config,
        id=identity,
        revision=found.revision,
        device=chosen_device,
        dtype=chosen_dtype,
        notices=tuple(notices),
        given_name=name_or_path,
        own=own,
    )


def model_folder(
    found: FoundModel, dtype: str, device: torch.device, report: Report = _no_report
) -> tuple[Path, Choice[torch.dtype] | None, list[str]]:
    """The model's folder, and notices; a GGUF file is converted, to the dtype that is returned with it."""
    if not found.path.is_file():
        return found.path, None, list(found.notices)
    file = open_gguf(found.path, found.id)
    chosen = choose_dtype(dtype, device, parameters=file.parameters)
    notices = [*found.notices, *memory_notice(file, chosen.value)]
    reason = f"{chosen.reason}; the file is {file.header.quantisation}"
    return convert(file, chosen.value, report), Choice(chosen.value, reason), notices


def load_checkpoint(
    name_or_path: str,
    base: LoadedModel,
    revision: str | None = None,
    *,
    offline: bool = False,
    report: Report = _no_report,
) -> LoadedModel:
    """Load a full fine-tuned model as an expert besides `base`, on its device and in its dtype.

    Its embeddings may have another size: a blend samples the tokens that all of its models share.
    Raises ModelError as `load_model` does, and where the tokenizers differ: probabilities of different tokens
    cannot be combined.
    """
    hint = "an expert must be fine-tuned from a model with the same tokenizer; this one works as --model"
    return _load_beside(base, name_or_path, revision, "checkpoint", hint, offline, report)


def load_drafter(
    name_or_path: str, base: LoadedModel, *, offline: bool = False, report: Report = _no_report
) -> LoadedModel:
    """Load a smaller model as the drafter for `base`, on its device and in its dtype.

    Raises ModelError as `load_model` does, and where the tokenizers differ; embeddings may have another size.
    """
    hint = "choose a smaller model of the same family"
    return _load_beside(base, name_or_path, None, "drafter", hint, offline, report)


def _load_beside(
    base: LoadedModel,
    name: str,
    revision: str | None,
    role: str,
    hint: str,
    offline: bool,
    report: Report,
) -> LoadedModel:
    """A model with the tokenizer of `base`, on its device and in its dtype."""
    spec = str(base.dtype.value).removeprefix("torch.")
    loaded = load_model(name, revision, str(base.device.value), spec, offline=offline, report=report)
    difference = check_same(base.tokenizer, loaded.tokenizer, embedded(loaded.model))
    if difference is not None:
        raise ModelError(
            f"{role} {loaded.id} has another tokenizer than {base.id}: {difference}",
            hint=hint,
        )
    return loaded


def read_config(folder: Path, name: str) -> tuple[Any, Any]:
    """The configuration and its model class; of a multimodal model those of the text model."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        MODEL_FOR_MULTIMODAL_LM_MAPPING,
        AutoConfig,
    )

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # any type, for an invalid config.json
        raise ModelError(f"model {name}: config.json is not valid: {brief(error)}") from error
    mappings = (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        MODEL_FOR_MULTIMODAL_LM_MAPPING,
    )
    found = [mapping[type(config)] for mapping in mappings if type(config) in mapping]
    classes = [one for entry in found for one in (entry if isinstance(entry, tuple) else (entry,))]
    if not classes:
        raise ModelError(
            f"model {name} ({config.model_type}) is not a causal language model",
            hint="choose a model that generates text token by token",
        )
    named = config.architectures or ()  # the class that the weights were saved from
    model_class = next((one for one in classes if one.__name__ in named), classes[0])
    text = config.get_text_config()
    if model_class.config_class is type(text):  # the language model has its own class
        config = text
    try:
        check_class(model_class, config, name)
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:  # a configuration of its own kind
        raise ModelError(f"model {name} ({config.model_type}) is not a plain language model") from error
    return config, model_class


def _load_weights(
    folder: Path, name: str, config: Any, model_class: Any, dtype: torch.dtype
) -> tuple[Any, list[str]]:
    """The model on the CPU, and the names of unused tensors."""
    # sdpa ignores the soft cap of Gemma 2, and transformers before 5.24 says that it serves it.
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    attention = "sdpa" if getattr(model_class, "_supports_sdpa", False) and not capped else "eager"
    try:
        model, info = model_class.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # an error below, with both shapes
        )
    except MemoryError:
        raise ModelError(f"model {name} does not fit into memory") from None
    except Exception as error:  # safetensors, shapes, missing packages: many types
        raise ModelError(f"model {name} cannot be loaded: {brief(error)}") from error
    wrong = []
    for key, found, needed in sorted(info["mismatched_keys"], key=lambda entry: str(entry[0])):
        wrong.append(f"{key} is {tuple(found)}, config.json needs {tuple(needed)}")
    wrong += [f"{key} is missing" for key in sorted(map(str, info["missing_keys"]))]
    if wrong:
        more = [f"… and {len(wrong) - LISTED} more"] if len(wrong) > LISTED else []
        lines = "".join(f"\n  - {line}" for line in [*wrong[:LISTED], *more])
        raise ModelError(f"model {name}: its weights do not fit its config.json:{lines}", hint=AGAIN)
    model.eval().requires_grad_(False)
    return model, sorted(map(str, info["unexpected_keys"]))


def _move(model: Any, device: torch.device, name: str) -> None:
    try:
        model.to(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"model {name} does not fit into the memory of {device}",
            hint="choose a smaller model, a smaller --dtype, or --device cpu",
        ) from None


def _check_causal(model: Any, name: str) -> None:
    """Raise ModelError if later tokens change earlier predictions, as in encoders such as BERT."""
    tokens = torch.tensor([[3, 4, 5], [3, 4, 6]], device=model.device)  # (2, 3)
    tokens = tokens % model.get_input_embeddings().weight.shape[0]
    try:
        with torch.inference_mode():
            logits = model(tokens, use_cache=False).logits[:, :2].float()  # (2, 2, V)
    except (
        Exception
    ) as error:  # of a model that asks for pictures, sound or a language, or of a strange config
        raise ModelError(
            f"model {name} ({model.config.model_type}) does not run on text alone: {brief(error)}",
            hint="choose a model that generates text from text",
        ) from error
    if not bool(torch.isfinite(logits).all()):
        raise ModelError(
            f"model {name} computes NaN or infinity",
            hint="try --dtype float32; if that fails, its weights are damaged",
        )
    if float((logits[0] - logits[1]).abs().max()) > CAUSAL_SLACK * float(logits.std()):
        raise ModelError(
            f"model {name} ({model.config.model_type}) attends to later tokens: not a causal language model"
        )


def weights_digest(model: nn.Module) -> str:
    """A digest of a few elements of every parameter, the same for plain and repacked weights.

    Computed once for a model, and faster before its weights are repacked.
    """
    found = _DIGESTS.get(model)
    if found is None:
        parts = []
        for parameter in model.parameters():
            flat = parameter.detach().to_dense().flatten()
            parts.append(flat[:: max(1, len(flat) // SAMPLE)][:SAMPLE].float())
        found = _DIGESTS[model] = short_digest(torch.cat(parts).cpu().numpy().tobytes())
    return found


def short_digest(data: bytes) -> str:
    """96 bits in hexadecimal."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()
