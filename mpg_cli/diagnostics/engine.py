"""Check the engine on the bundled model: drafted text equals token-by-token text, drafts are accepted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mpg_cli.config.named_models import BUNDLED
from mpg_cli.diagnostics.check import Check
from mpg_cli.engine.events import Finished
from mpg_cli.engine.request import Request
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas import expression, registry
from mpg_cli.sampling.params import SamplingLaw, Scheme

SECTION = "engine"
BLEND = "INTJ+pirate"
SEED = 7
TOKENS = 64
MIN_ACCEPTANCE = 0.5  # of the merged drafter; 0.8 and more is usual


def look(device: str) -> Iterator[Check]:
    """Compare two replies with one seed, drafted and token by token, on the device in use."""
    from mpg_cli.engine.engine import Engine

    library = registry.library_dir()
    known = registry.Registry.load([library] if library else [])  # a user's persona may have other adapters
    request = Request(
        model=ModelOptions(BUNDLED, device=device, dtype="float32"),
        prompting=Prompting("How should I spend my weekend?"),
        sampling=SamplingLaw(max_tokens=TOKENS),
        scheme=Scheme(drafter="merged", chunk_size=4),
        blend=registry.resolve(expression.parse(BLEND), known),
        seed=SEED,
    )
    engine = Engine.load(request.model)
    requests = (request, replace(request, scheme=Scheme(drafter="none")))
    drafted, token_by_token = (
        next(event for event in engine.replies(each) if isinstance(event, Finished)) for each in requests
    )
    engine.close()
    yield from compare(drafted, token_by_token)
    yield equal_bits()


def equal_bits() -> Check:
    """Whether the kernels of this CPU give a row the same bits in bfloat16 whatever shares its passes."""
    from mpg_cli.models.prepare import load_prepared
    from mpg_cli.models.run.invariance import invariance_of

    found = invariance_of(load_prepared(ModelOptions(BUNDLED, device="cpu", dtype="bfloat16")).model)
    return Check(SECTION, "bfloat16 on the CPU", "ok" if found.bits else "note", found.reason)


def compare(drafted: Finished, token_by_token: Finished) -> Iterator[Check]:
    """Whether two replies to one request are the same, and how many drafted tokens were accepted."""
    same = drafted.token_ids == token_by_token.token_ids
    count, passes = len(drafted.token_ids), drafted.stats.passes
    if same and count:
        yield Check(
            SECTION, "exact rule", "ok", f"drafted text equals token-by-token text, {count} tokens of {BLEND}"
        )
    else:
        pairs = zip(drafted.token_ids, token_by_token.token_ids, strict=False)
        at = next((i for i, (one, other) in enumerate(pairs) if one != other), 0)
        text = f"drafted text differs from token-by-token text at token {at}"
        yield Check(
            SECTION, "exact rule", "problem", text, "report it with the output of mpg doctor --format json"
        )
    rate = drafted.stats.acceptance_rate or 0.0
    text = f"{rate:.0%} of drafted tokens accepted, {count} tokens in {passes} passes"
    yield Check(SECTION, "merged drafter", "ok" if rate >= MIN_ACCEPTANCE else "warning", text)
