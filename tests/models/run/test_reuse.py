"""Prefill computes only tokens that are not cached, with the same results as a full prefill."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from mpg_cli.models.fast.plan import FastPlan
from mpg_cli.models.run.plan import PassPlan
from mpg_cli.models.run.row_pool import NewRow, NewRows, RowPool
from mpg_cli.sampling.scorer import Kept
from tests.models.run.served import CLOSE, Served, fail_at, prompts
from tests.support.models import VOCABULARY, random_tokens, tiny_model


def common(one: list[int], other: list[int]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(map(len, (one, other)))
    )


@pytest.mark.parametrize("plan", [PassPlan(), FastPlan(near=0), FastPlan()])
@pytest.mark.parametrize(
    ("architecture", "candidates"), [("llama", 1), ("gemma3", 1), ("mistral", 3), ("gpt2", 1)]
)
def test_a_prompt_is_read_from_where_it_differs(
    architecture: str, candidates: int, plan: PassPlan, tmp_path: Path
) -> None:
    """Against PEFT, uncached. With near 0 rows of different amounts read apart, each with its own LoRA."""
    served = Served(architecture, tmp_path, batch=2, candidates=candidates, plan=plan, block=24)
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
    served = Served("llama", tmp_path, plan=FastPlan(), block=4)
    first, second = prompts([9, 3], seed=1), prompts([19, 3], seed=1)
    served.rows.prefill([first])
    handle = fail_at(served.rows.model, 2, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        served.rows.prefill([second])
    handle.remove()
    served.rows.pool.reset()
    for streams in (second, first):
        served.rows.prefill([streams])
        got = served.rows.score(torch.zeros(1, 1, 0, dtype=torch.long)).log_probs
        for row in range(4):
            assert (got[row, 0, 0] - served.expected(row, streams[row], 1)).abs().max() <= CLOSE


def test_rows_without_a_slot_are_reused_by_their_weights(tmp_path: Path) -> None:
    """The next blend has other rows, in another order; what equal rows have read is not read again."""
    served = Served("llama", tmp_path)
    streams = prompts([12, 4], seed=1)
    served.rows.prefill([streams])
    pool, (_, _, a, b) = served.rows.pool, served.rows.adapters
    pool.free(0)
    before = pool.read_tokens
    merged = (*a, *b)
    turn = [*streams[0], 5, 6]
    new = [NewRow("b", b, turn), NewRow("merged", merged, streams[0]), NewRow("reference", (), turn)]
    pool.insert({3: NewRows(new)})
    while pool.unread:
        pool.read(100)
    assert pool.read_tokens - before == 2 + (len(streams[0]) - 1) + 2
    drafts = torch.zeros(4, 1, 0, dtype=torch.long)
    got = pool.score(drafts, [3]).of([3]).log_probs[:, 0, 0, 0]  # (3, V)
    assert (got[0] - served.expected(3, turn, 1)[0]).abs().max() <= CLOSE
    assert (got[2] - served.expected(0, turn, 1)[0]).abs().max() <= CLOSE


def test_equal_rows_are_read_once() -> None:
    """Samples of one prompt; the reference of two prompts with a common beginning; a row that follows one
    whose sequence is cancelled in the middle reads on by itself.
    """
    model = tiny_model("llama")
    ids = random_tokens(1, 40, seed=3)[0].tolist()
    pool = RowPool(model)
    pool.insert({slot: NewRows([NewRow("reference", (), ids)], candidates=2) for slot in range(3)})
    assert pool.unread == 39
    pool.read(10)
    pool.free(0)
    assert pool.unread == 29
    while pool.unread:
        pool.read(100)
    other = [*ids[:30], 7, 8, 9]
    before = pool.read_tokens
    pool.insert({0: NewRows([NewRow("reference", (), other)]), 3: NewRows([NewRow("reference", (), ids)])})
    while pool.unread:
        pool.read(100)
    assert pool.read_tokens - before == 2
    nothing = torch.zeros(4, 2, 0, dtype=torch.long)
    scored = pool.score(nothing, [0, 1, 2, 3])
    with torch.inference_mode():
        expected = {0: other, 1: ids, 2: ids, 3: ids}
        for slot, stream in expected.items():
            found = scored.of([slot]).log_probs[0, 0, :, 0]  # (N, V)
            plain = model(torch.tensor([stream])).logits.log_softmax(-1)[0, -1]
            assert (found - plain).abs().max() <= CLOSE


def test_rows_without_a_slot_are_dropped_when_they_are_the_majority(tmp_path: Path) -> None:
    """The others keep their state, in whatever order they were."""
    served = Served("llama", tmp_path, batch=4)
    streams = [prompts([6 + n, 3], seed=n) for n in range(4)]
    served.rows.prefill(streams)
    pool = served.rows.pool
    for slot in (0, 2):
        pool.free(slot)
    pool.compact()
    assert pool.size == 16
    pool.free(1)
    pool.compact()
    assert pool.size == 4
    got = pool.score(torch.zeros(4, 1, 0, dtype=torch.long), [3]).of([3]).log_probs
    for row in range(4):
        expected = served.expected(row, streams[3][row], 1)
        assert (got[row, 0, 0] - expected).abs().max() <= CLOSE


def test_slots_of_different_rows_share_passes(tmp_path: Path) -> None:
    """Blends of one and of two adapters, merged rows, several candidates: one pass, each as PEFT's alone."""
    served = Served("llama", tmp_path)
    pool, (_, _, a, b) = served.rows.pool, served.rows.adapters
    plain = [prompts([n, 2], seed=n)[0] for n in (9, 4, 14)]
    rows = [
        NewRows([NewRow("reference", (), plain[0]), NewRow("b", b, plain[0])], candidates=3),
        NewRows([NewRow("a", a, plain[1])]),
        NewRows([NewRow("reference", (), plain[2]), NewRow("a", a, plain[2]), NewRow("b", b, plain[2])]),
    ]
    pool.insert(dict(enumerate(rows)))
    while pool.unread:
        pool.read(64)
    kinds = [[0, 3], [2], [0, 2, 3]]  # rows of `served`
    streams = [list(ids) for ids in plain]
    for step in range(3):
        drafts = random_tokens(9, 2, seed=step).view(3, 3, 2)  # (B, N, T)
        scored = pool.score(drafts, [0, 1, 2])
        for slot in range(3):
            got = scored.of([slot]).log_probs  # (R, 1, N, 3, V)
            for row, kind in enumerate(kinds[slot]):
                for n in range(rows[slot].candidates):
                    expected = served.expected(kind, [*streams[slot], *drafts[slot, n].tolist()], 3)
                    assert (got[row, 0, n] - expected).abs().max() <= CLOSE
        kept = {0: Kept(1, [7], 2), 1: Kept(0, [8]), 2: Kept(2, [9, 10])}
        pool.commit(kept)
        for slot, own in kept.items():
            streams[slot] += [*drafts[slot, own.winner, : own.accepted].tolist(), *own.tokens]


def test_what_is_read_together() -> None:
    plan = FastPlan()
    assert plan.read_together([20, 30, 500, 40], 1000) == [0, 1, 3]
    assert plan.read_together([10, 138], 1000) == [0, 1]
    assert plan.read_together([10, 139], 1000) == [0]
    assert plan.read_together([10, 20, 30], 45) == [0, 1]
    assert plan.read_together([5000], 512) == [0]
    assert PassPlan().read_together([10, 10], 1000) == [0]


def test_a_pool_copies_what_its_sibling_has_read(tmp_path: Path) -> None:
    """The row of a drafter that is also a row of the blend."""
    served = Served("llama", tmp_path)
    streams = prompts([40, 3], seed=1)
    served.rows.prefill([streams])
    pool, (_, _, a, _) = served.rows.pool, served.rows.adapters
    other = RowPool(served.rows.model, pool.bank, sibling=pool)
    longer = [*streams[0], 4, 5, 6]
    other.insert({0: NewRows([NewRow("a", a, streams[0])]), 1: NewRows([NewRow("reference", (), longer)])})
    while other.unread:
        other.read(100)
    assert other.read_tokens == 3
    scored = other.score(torch.zeros(2, 1, 0, dtype=torch.long), [0, 1])
    for slot, row, stream in ((0, 2, streams[0]), (1, 0, longer)):
        expected = served.expected(row, stream, 1)
        assert (scored.of([slot]).log_probs[0, 0, 0] - expected).abs().max() <= CLOSE
