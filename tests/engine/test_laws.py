"""The law of replies that run beside others of other blends, targets, rules and samplings, by enumeration.

Each comparison fails by chance about once in 10^6.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Finished
from mpg_cli.engine.request import Request
from mpg_cli.engine.sequence import decoding_of, prepare
from mpg_cli.engine.teacher_forcing import TeacherForcing
from mpg_cli.models.experts import find_experts
from mpg_cli.models.load.loader import LoadedModel, load_model
from mpg_cli.sampling.params import Scheme, Threshold
from mpg_cli.sampling.targets import combine, warp
from tests.sampling.sampled import assert_law, said_alone
from tests.support.requests import one

LENGTH = 3
DRAWS = 500
WISHES: dict[str, dict[str, Any]] = {
    "product": {"personas": "bold+calm:0.5", "scheme": Scheme(drafter="merged", chunk_size=2)},
    "negative": {"personas": "bold+terse:-0.5", "scheme": Scheme(drafter="lookup", chunk_size=3)},
    "mixture": {
        "personas": "bold+calm",
        "scheme": Scheme(target="mixture", drafter="reference", chunk_size=2),
    },
    "said alone": {
        "personas": "bold+terse+calm",
        "scheme": Scheme(drafter="merged", chunk_size=2),
        "top_k": 0,
        "expert_min_p": 0.6,
    },
    "merged": {"personas": "bold:0.7+calm:1.2", "scheme": Scheme(target="merged")},
    "block": {
        "personas": "terse+calm",
        "scheme": Scheme(rule="block", drafter="merged", chunk_size=2),
        "temperature": 1.3,
    },
    "token by token": {"personas": "terse", "scheme": Scheme(drafter="none"), "temperature": 0.7},
}
COMPANIONS: list[dict[str, Any]] = [
    {"scheme": Scheme(rule="threshold", chunk_size=2, threshold=Threshold(candidates=3)), "max_tokens": 7},
    {"personas": "calm:-1", "scheme": Scheme(drafter="folded", chunk_size=4), "max_tokens": 9},
]


@pytest.fixture(scope="module")
def loaded(world: Path) -> LoadedModel:
    return load_model(str(world / "base"), device="cpu", dtype="float32")


def asked(world: Path, id_: int | str, **wish: Any) -> Request:
    return one(world, id_, "word", **{"max_tokens": LENGTH, "top_k": 3, **wish})


def enumerated(loaded: LoadedModel, request: Request) -> dict[tuple[int, ...], float]:
    """The probability of every reply: all rows after every prefix, combined and warped."""
    experts = find_experts(request.blend, (), loaded, lambda text: None, lambda text: None)
    rows = BlendRows.of(loaded, experts, request.scheme)
    prompts = prepare(rows, request)
    decoding = decoding_of(rows, request)
    if request.scheme.target == "merged":
        adapters = [(expert.adapter, expert.weight) for expert in experts]
        assert all(adapter is not None for adapter, _ in adapters)
    forcing = TeacherForcing(rows)
    found: dict[tuple[int, ...], float] = {}
    open_: dict[tuple[int, ...], float] = {(): 1.0}
    for length in range(LENGTH):
        prefixes = list(open_)
        texts = torch.tensor([[*prefix, 0] for prefix in prefixes])[None]  # (1, N, length+1)
        scores = forcing.log_probs([prompts.rows], texts)[:, 0, :, -1]  # (R, N, V)
        weights, sampling = torch.tensor(decoding.weights), decoding.sampling
        log_p = combine(decoding.scheme.target, scores, weights)
        if least := sampling.expert_min_p:
            said = [said_alone(scores[:, n], decoding.weights, least) for n in range(len(prefixes))]
            log_p = log_p.masked_fill(~torch.tensor(said), -torch.inf).log_softmax(-1)
        p = warp(log_p, sampling)
        grown: dict[tuple[int, ...], float] = {}
        for prefix, own in zip(prefixes, p.exp(), strict=True):
            for token in own.nonzero().flatten().tolist():
                reply, mass = (*prefix, token), open_[prefix] * float(own[token])
                ended = token in decoding.end_tokens or length + 1 == LENGTH
                (found if ended else grown)[reply] = mass
        open_ = grown
    return found


@pytest.fixture(scope="module")
def replies(world: Path, loaded: LoadedModel) -> dict[str, Counter[tuple[int, ...]]]:
    """All of them from one run: neighbours in the queue differ in everything."""
    requests = []
    for n in range(DRAWS):
        requests += [asked(world, f"{name} {n}", **wish) for name, wish in WISHES.items()]
        if n % 8 == 0:
            requests += [asked(world, f"other {n} {i}", **wish) for i, wish in enumerate(COMPANIONS)]
    counts: dict[str, Counter[tuple[int, ...]]] = {name: Counter() for name in WISHES}
    for event in Engine(loaded, batch_size=24).run(iter(requests)):
        if isinstance(event, Finished):
            name = str(event.sequence).rsplit(" ", 1)[0]
            if name in counts:
                counts[name][event.token_ids + end_of(event, loaded)] += 1
    return counts


def end_of(event: Finished, loaded: LoadedModel) -> tuple[int, ...]:
    """The end token of a reply, which its ids leave out."""
    return (next(iter(loaded.end_tokens)),) if event.finish_reason == "stop" else ()


@pytest.mark.parametrize("name", WISHES)
def test_replies_have_their_law_whatever_runs_beside_them(
    name: str, world: Path, loaded: LoadedModel, replies: dict[str, Counter[tuple[int, ...]]]
) -> None:
    assert replies[name].total() == DRAWS
    assert_law(replies[name], enumerated(loaded, asked(world, 0, **WISHES[name])))


def test_a_wrong_law_is_noticed(
    world: Path, loaded: LoadedModel, replies: dict[str, Counter[tuple[int, ...]]]
) -> None:
    """The draws of one blend against the law of another weight."""
    wrong = {**WISHES["product"], "personas": "bold:0.5+calm:0.5"}
    with pytest.raises(AssertionError):
        assert_law(replies["product"], enumerated(loaded, asked(world, 0, **wrong)))
