"""The specification of a reply, from which all records and keys are made. Torch-free.

JSON records, batch resume, evaluations and profiles each depend on some of its parts, which the tables below
list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mpg_cli.engine.request import Request
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.option import options_of
from mpg_cli.personas.blending import Experts
from mpg_cli.personas.choice import ExpertInfo
from mpg_cli.sampling.params import OWN, SamplingLaw, Scheme, Threshold

if TYPE_CHECKING:
    from mpg_cli.models.load.loader import LoadedModel

# Parts of a JSON record, which also has the prefill if there is one.
RECORD = (
    *("persona", "experts", "model", "revision", "target", "rule", "drafter", "chunk_size"),
    *("sampling", "sampling_from", "seed", "sequence"),
)
# Parts of a dry run.
DESCRIPTION = (
    *("persona", "model", "revision", "device", "dtype", "target", "rule", "drafter", "chunk_size"),
    *("sampling", "sampling_from", "max_tokens"),
)
# Parts that the text of a batch depends on, and those that matter only under rules other than exact.
RESUME = ("model", "revision", "dtype", "system", "raw", "template_args", "target", "rule", "seed")
RESUME_INEXACT = ("drafter", "chunk_size")
# Parts that the replies of an evaluation and their speed depend on.
EVALUATION = (
    *("model", "revision", "device", "dtype", "system", "raw", "template_args"),
    *("sampling", "target", "rule", "drafter", "chunk_size", "threshold", "seed"),
)
# Parts that the speed of drafters and chunk sizes depends on.
PROFILE = ("model", "revision", "device", "dtype", "compiled", "target", "rule", "threshold")


@dataclass(frozen=True)
class ModelSpec:
    """A model with its device and dtype."""

    id: str
    revision: str | None
    device: str
    dtype: str
    compiled: bool = False
    device_reason: str = ""
    dtype_reason: str = ""

    @classmethod
    def requested(cls, options: ModelOptions) -> ModelSpec:
        """As the options give it: `auto` stays, and the id is a name or a folder."""
        return cls(options.name, options.revision, options.device, options.dtype, options.compile)

    @classmethod
    def of(cls, loaded: LoadedModel) -> ModelSpec:
        """Of a loaded model."""
        return cls(
            loaded.id,
            loaded.revision,
            str(loaded.device.value),
            str(loaded.dtype.value).removeprefix("torch."),
            loaded.compiled,
            loaded.device.reason,
            loaded.dtype.reason,
        )

    def as_json(self) -> dict[str, Any]:
        """The parts by name; `model` is the id."""
        parts = asdict(self)
        return {"model": parts.pop("id"), **parts}


@dataclass(frozen=True)
class RunSpec:
    """Everything that determines a reply, and the device it is made on.

    `scheme` has the drafter and the chunk size in use; a chunk size of None is adaptive.
    """

    model: ModelSpec
    persona: str  # the blend as one expression
    experts: tuple[ExpertInfo, ...]
    prompting: Prompting
    scheme: Scheme
    sampling: SamplingLaw
    seed: int
    sequence: int | str = 0
    prompt_tokens: int = 0  # of the reference row
    max_tokens: int = 0
    # By the name of each value that the model may set: option, environment, config file, line,
    # generation_config.json, table (of mpg), default.
    sampling_from: Mapping[str, str] = field(default_factory=dict)

    @property
    def prefill(self) -> str:
        """The beginning of the text, which is not sampled."""
        return self.prompting.prefill

    @property
    def chunk_size(self) -> int | Literal["auto"]:
        """gamma; `auto`: adaptive."""
        return "auto" if self.scheme.chunk_size is None else self.scheme.chunk_size

    def as_json(self) -> dict[str, Any]:
        """All parts by name, without the prompt itself."""
        return {
            "sequence": self.sequence,
            "seed": self.seed,
            "persona": self.persona,
            "experts": [asdict(expert) for expert in self.experts],
            **self.model.as_json(),
            **scheme_json(self.scheme),
            "sampling": self.sampling.as_json(),
            "sampling_from": dict(self.sampling_from),
            "system": self.prompting.system,
            "raw": self.prompting.raw,
            "template_args": dict(self.prompting.template_args),
            "prompt_tokens": self.prompt_tokens,
            "max_tokens": self.max_tokens,
            "prefill": self.prefill,
        }

    def part(self, *names: str) -> dict[str, Any]:
        """The named parts."""
        parts = self.as_json()
        return {name: parts[name] for name in names}

    def record(self) -> dict[str, Any]:
        """The parts of a JSON record."""
        return self.part(*RECORD) | ({"prefill": self.prefill} if self.prefill else {})


def resume_key(request: Request, seed: int) -> dict[str, Any]:
    """Everything that the replies of a batch depend on, as requested: no model is loaded yet.

    Keys are `Option.keyword`, and `persona`. The sampling that the model sets itself is left out.
    Under the exact rule no text depends on the drafter; device and batch size never matter.
    """
    spec = RunSpec(
        model=ModelSpec.requested(request.model),
        persona=expression_of(request),
        experts=(),
        prompting=request.prompting,
        scheme=request.scheme,
        sampling=SamplingLaw(),
        seed=seed,
    )
    names = RESUME if request.scheme.rule == "exact" else (*RESUME, *RESUME_INEXACT)
    threshold = options_of(Threshold) if request.scheme.rule == "threshold" else ()
    experts = request.blend.experts if request.blend else ()
    sampling = request.sampling.as_json()
    return {
        **spec.part(*names),
        **{one.keyword: getattr(request.scheme.threshold, one.field) for one in threshold},
        **{key: value for key, value in sampling.items() if key not in OWN or value is not None},
        "compile": request.model.compile,
        "persona": {expert.persona.name: expert.weight for expert in experts},
        "adapters": {place.saved: weight for place, weight in request.adapters},
    }


def scheme_json(scheme: Scheme) -> dict[str, Any]:
    """The parts of a scheme by name; `threshold` is None under other rules."""
    return {
        "target": scheme.target,
        "rule": scheme.rule,
        "drafter": scheme.drafter,
        "chunk_size": "auto" if scheme.chunk_size is None else scheme.chunk_size,
        "threshold": asdict(scheme.threshold) if scheme.rule == "threshold" else None,
    }


def expression_of(request: Request) -> str:
    """The blend as one canonical expression; `--adapter` experts by the name of their folder."""
    return Experts(request.blend, request.adapters).expression
