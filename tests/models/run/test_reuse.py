"""Prefill computes only tokens that are not cached, with the same results as a full prefill."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from mpg_cli.models.fast.plan import FastPlan
from mpg_cli.models.run.plan import PassPlan
from mpg_cli.models.run.row_group import RowGroup
from tests.models.run.served import CLOSE, Served, fail_at, prompts
from tests.support.models import VOCABULARY, random_tokens, tiny_model


def common(one: list[int], other: list[int]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(map(len, (one, other)))
    )


@pytest.mark.parametrize("plan", [PassPlan(12), FastPlan(12, near=0), FastPlan(12)])
@pytest.mark.parametrize(
    ("architecture", "candidates"), [("llama", 1), ("gemma3", 1), ("mistral", 3), ("gpt2", 1)]
)
def test_a_prompt_is_read_from_where_it_differs(
    architecture: str, candidates: int, plan: PassPlan, tmp_path: Path
) -> None:
    """Against PEFT, uncached. With near 0 rows of different amounts read apart, each with its own LoRA."""
    served = Served(architecture, tmp_path, batch=2, candidates=candidates, plan=plan)
    rng = random.Random(architecture)
    streams = [prompts([6, 3], seed=1), prompts([9, 2], seed=2)]
    served.rows.prefill(streams)
    for step in range(5):
        drafts = torch.tensor([[[rng.randrange(3, VOCABULARY) for _ in range(3)]] * candidates] * 2)
        served.rows.score(drafts)
        kept, winner = [rng.randrange(4), rng.randrange(4)], [rng.randrange(candidates)] * 2
        served.rows.commit([3 - k for k in kept], [[7], [8]], winner)
        held = [[[*s, *drafts[b, 0, : kept[b]].tolist()] for s in streams[b]] for b in range(2)]
        turn = random_tokens(1, 5 + step, seed=50 + step)[0].tolist()
        new = [[[*s, *turn] for s in held[b]] for b in range(2)]
        new[step % 2][2] = new[step % 2][2][: 4 + step] + turn  # a row whose text is another from there on
        before = served.rows.read_tokens
        served.rows.insert([0, 1], new)
        missing = [
            len(ids) - 1 - min(common(ids, old), len(ids) - 1)
            for b in range(2)
            for ids, old in zip(new[b], held[b], strict=True)
        ]
        assert served.rows.read_tokens - before == sum(missing)
        streams = new
        got = served.rows.score(torch.zeros(2, candidates, 0, dtype=torch.long)).log_probs  # (4, 2, N, 1, V)
        for b in range(2):
            for row in range(4):
                expected = served.expected(row, streams[b][row], 1)
                assert (got[row, b] - expected).abs().max() <= CLOSE
        served.rows.commit([0, 0], [[9], [9]])
        streams = [[[*ids, 9] for ids in streams[b]] for b in range(2)]


def test_a_prompt_that_was_read_half_is_not_taken_for_read(tmp_path: Path) -> None:
    served = Served("llama", tmp_path, plan=FastPlan(prefill_block=4))
    first, second = prompts([9, 3], seed=1), prompts([19, 3], seed=1)
    served.rows.prefill([first])
    handle = fail_at(served.rows.model, 2, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        served.rows.prefill([second])
    handle.remove()
    for streams in (second, first):
        served.rows.prefill([streams])
        got = served.rows.score(torch.zeros(1, 1, 0, dtype=torch.long)).log_probs
        for row in range(4):
            assert (got[row, 0, 0] - served.expected(row, streams[row], 1)).abs().max() <= CLOSE


def test_rows_of_the_same_key_go_over_to_another_group() -> None:
    """In another order, beside a new row; what they know is not read again."""
    model = tiny_model("llama")
    old = RowGroup(model, ["a", "b", "c"], keys=["a", "b", "c"])
    streams = [random_tokens(1, n, seed=n)[0].tolist() for n in (12, 7, 9)]
    old.prefill([streams])
    new = RowGroup(model, ["c", "new", "a"], keys=["c", "new", "a"])
    new.reuse_prefix([RowGroup(tiny_model("llama", seed=9), ["c"], keys=["c"]), old])
    turns = [[*streams[2], 5, 6], streams[1], [*streams[0], 5]]
    new.prefill([turns])
    assert new.read_tokens == 2 + 6 + 1
    got = new.score(torch.zeros(1, 1, 0, dtype=torch.long)).log_probs
    with torch.inference_mode():
        for row, ids in enumerate(turns):
            expected = model(torch.tensor([ids])).logits.log_softmax(-1)[0, -1]
            assert (got[row, 0, 0, 0] - expected).abs().max() <= CLOSE
    new.reset()
    new.prefill([turns])
    assert new.read_tokens == 9 + sum(len(ids) - 1 for ids in turns)


@pytest.mark.parametrize("candidates", [1, 3])
def test_a_group_continues_from_the_cache_of_its_clone(candidates: int, tmp_path: Path) -> None:
    """The other sequence keeps its state."""
    served = Served("llama", tmp_path, batch=2, candidates=candidates)
    streams = [prompts([6, 3], seed=1), prompts([9, 2], seed=2)]
    served.rows.prefill(streams)
    nothing = torch.zeros(2, candidates, 0, dtype=torch.long)
    served.rows.score(nothing)
    clone = served.rows.clone(3)
    ahead = [prompts([n, 4], seed=n) for n in (3, 50, 8)]
    clone.insert(range(3), ahead)
    for place, read in ((1, 1), (0, 0), (1, 2)):
        served.rows.commit([0, 0], [[7], [8]])
        streams = [[[*ids, 7 + b] for ids in streams[b]] for b in range(2)]
        served.rows.copy(clone, [read], [place])
        streams[place] = ahead[read]
        got = served.rows.score(nothing).log_probs
        for b in range(2):
            for row in range(4):
                expected = served.expected(row, streams[b][row], 1)
                assert (got[row, b] - expected).abs().max() <= CLOSE
    turn = [[*ids, 7, 5] for ids in streams[1]]
    before = served.rows.read_tokens
    served.rows.insert([1], [turn])
    assert served.rows.read_tokens - before == 4  # what it took over it knows; one token was waiting


@pytest.mark.parametrize("begun", [False, True])
def test_a_long_prompt_of_the_clone_fits(begun: bool) -> None:
    model = tiny_model("llama", max_position_embeddings=512)
    ids = random_tokens(1, 300)[0].tolist()
    found = []
    for adopts in (False, True):
        rows = RowGroup(model, ["a"], batch=2)
        if begun:
            rows.prefill([[ids[:4]], [ids[:9]]])
        if adopts:
            clone = rows.clone(2)
            clone.prefill([[ids], [ids[9:]]])
            rows.copy(clone, [0, 1], [1, 0])
        else:
            rows.insert([1, 0], [[ids], [ids[9:]]])
        found.append(rows.score(torch.zeros(2, 1, 0, dtype=torch.long)).log_probs)
    assert (found[0] - found[1]).abs().max() <= CLOSE


def test_what_is_read_together() -> None:
    plan = FastPlan()
    runs, alike = plan.rows_together, plan.prompts_together
    assert runs([0, 20, 30, 0, 500, 40]) == [range(1, 3), range(4, 5), range(5, 6)]
    assert runs([10, 138]) == [range(2)]
    assert runs([10, 139]) == [range(1), range(1, 2)]
    assert runs([0, 0]) == []
    assert alike({3: 10, 1: 400, 2: 21, 0: 500}) == [[2, 3], [0, 1]]
