"""The rows against an uncached forward pass of PEFT's model, through drafts, rollbacks and replacements."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.models.fast.plan import FastPlan
from mpg_cli.models.run.masks import context_length
from mpg_cli.models.run.plan import PassPlan
from mpg_cli.models.run.row_pool import NewRow, NewRows, RowPool
from mpg_cli.models.run.slot_rows import SlotRows
from mpg_cli.models.text.vocabulary import Vocabulary
from mpg_cli.sampling.scorer import Kept
from tests.models.run.served import CLOSE, Served, fail_at, prompts
from tests.support.models import ALL, VOCABULARY, log_probs, random_tokens, tiny_model
from tests.support.rows import AlikeRows


@pytest.mark.parametrize("architecture", ALL)
def test_rows_equal_peft_through_drafts_and_rollbacks(architecture: str, tmp_path: Path) -> None:
    """Float32, max difference 1e-5; prompts and replies run past the sliding windows (8)."""
    served = Served(architecture, tmp_path)
    streams = prompts([11, 6], seed=3)
    served.rows.prefill([streams])
    rng = random.Random(architecture)
    for drafted in (0, 4, 1, 6, 3):
        draft = [rng.randrange(3, VOCABULARY) for _ in range(drafted)]
        got = served.rows.score(torch.tensor(draft, dtype=torch.long).view(1, 1, drafted)).log_probs
        assert got.shape == (4, 1, 1, drafted + 1, VOCABULARY)
        base = served.expected(0, [*streams[0], *draft], drafted + 1)
        for row in range(4):
            expected = served.expected(row, [*streams[row], *draft], drafted + 1)
            assert (got[row, 0, 0] - expected).abs().max() <= CLOSE
            assert row < 2 or (expected - base).abs().max() > 1e-2
        kept = rng.randrange(drafted + 1)
        new = [*draft[:kept], rng.randrange(3, VOCABULARY)]
        served.rows.commit([drafted - kept], [new[kept:]])
        streams = [[*stream, *new] for stream in streams]


@pytest.mark.parametrize(
    ("architecture", "numbers"),
    [
        ("llama", 3 * 2 * 2 * 8),
        ("gpt2", 3 * 2 * 4 * 8),
        ("gemma4", 2 * 2 * 8 + 2 * 1 * 16),  # a small and a large layer; the other two look at their keys
    ],
)
def test_what_a_position_takes(architecture: str, numbers: int) -> None:
    assert RowPool(tiny_model(architecture)).position_bytes == 4 * numbers


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gemma4", "gpt2"])
def test_sequences_of_a_batch_move_at_their_own_pace(architecture: str, tmp_path: Path) -> None:
    """Different prompt lengths, different kept lengths, several tokens waiting, one sequence replaced."""
    served = Served(architecture, tmp_path, batch=3)
    streams = [prompts([5, 2], seed=1), prompts([14, 9], seed=2), prompts([1, 3], seed=3)]
    served.rows.prefill(streams)
    rng = random.Random(1)
    for step in range(5):
        if step == 3:
            streams[1] = prompts([4, 12], seed=9)
            served.rows.insert([1], [streams[1]])
        drafts = torch.tensor([[rng.randrange(3, VOCABULARY) for _ in range(3)] for _ in range(3)])
        got = served.rows.score(drafts[:, None]).log_probs  # (4, 3, 1, 4, V)
        for b, draft in enumerate(drafts.tolist()):
            for row in range(4):
                expected = served.expected(row, [*streams[b][row], *draft], 4)
                assert (got[row, b, 0] - expected).abs().max() <= CLOSE
        kept = [rng.randrange(4) for _ in range(3)]
        new = [[rng.randrange(3, VOCABULARY) for _ in range(1 + (b + step) % 2)] for b in range(3)]
        served.rows.commit([3 - k for k in kept], new)
        streams = [
            [[*stream, *drafts[b, : kept[b]].tolist(), *new[b]] for stream in streams[b]] for b in range(3)
        ]


def test_a_slot_that_drafted_nothing_loses_nothing() -> None:
    """One of two slots steps three drafted tokens, of which one is accepted; both go on."""
    model = tiny_model("llama")
    pool, streams = RowPool(model), [random_tokens(1, n, seed=n)[0].tolist() for n in (6, 9)]
    pool.insert({slot: NewRows([NewRow("a", (), ids)]) for slot, ids in enumerate(streams)})
    while pool.unread:
        pool.read(100)
    nothing = torch.zeros(2, 1, 0, dtype=torch.long)
    for round_ in range(2):
        for token in (11, 12, 13):
            pool.score(nothing, [0])
            pool.push(torch.full((2, 1), token), [0])
        pool.commit({0: Kept(1, [50]), 1: Kept(0, [60 + round_, 70])})
        streams[0] += [11, 50]
        streams[1] += [60 + round_, 70]
    got = pool.score(nothing, [0, 1]).of([0, 1]).log_probs[0, :, 0, 0]  # (2, V)
    with torch.inference_mode():
        for b, stream in enumerate(streams):
            expected = model(torch.tensor([stream])).logits.log_softmax(-1)[0, -1]
            assert (got[b] - expected).abs().max() <= CLOSE


def test_candidates_share_a_prefix_and_the_winner_continues(tmp_path: Path) -> None:
    served = Served("mistral", tmp_path, batch=2, candidates=3)
    streams = [prompts([9, 4], seed=5), prompts([3, 8], seed=6)]
    served.rows.prefill(streams)
    for winner, kept in (([2, 0], [3, 1]), ([1, 1], [0, 2]), ([0, 2], [2, 3])):
        drafts = random_tokens(6, 3, seed=sum(winner) + 20).view(2, 3, 3)  # (B, N, T)
        got = served.rows.score(drafts).log_probs
        for b in range(2):
            for n in range(3):
                for row in (0, 1, 3):
                    expected = served.expected(row, [*streams[b][row], *drafts[b, n].tolist()], 4)
                    assert (got[row, b, n] - expected).abs().max() <= CLOSE
        served.rows.commit([3 - k for k in kept], [[7], [8]], winner)
        streams = [
            [[*s, *drafts[b, winner[b], : kept[b]].tolist(), 7 + b] for s in streams[b]] for b in range(2)
        ]


@pytest.mark.parametrize("plan", [PassPlan(), FastPlan()])
def test_a_long_prompt_is_read_in_blocks(plan: PassPlan, tmp_path: Path) -> None:
    served = Served("gemma3", tmp_path, plan=plan, block=7)
    streams = prompts([30, 11], seed=8)
    served.rows.prefill([streams])
    got = served.rows.score(torch.zeros(1, 1, 0, dtype=torch.long)).log_probs
    for row in range(4):
        assert (got[row, 0, 0] - served.expected(row, streams[row], 1)).abs().max() <= CLOSE


def test_several_models_are_one_set_of_rows(tmp_path: Path) -> None:
    """A full checkpoint as expert: rows of another model behind those of the base; a slot has none there."""
    served, other = Served("llama", tmp_path), tiny_model("llama", seed=99)
    streams = [*prompts([8, 3], seed=7), random_tokens(1, 10, seed=70)[0].tolist()]
    rows = SlotRows(served.rows.model)
    named = zip(served.rows.names, served.rows.adapters, streams, strict=False)
    own = NewRows([NewRow(*row) for row in named])
    checkpoint = NewRows([NewRow("checkpoint", (), streams[4])])
    rows.insert({0: [(served.rows.model, own), (other, checkpoint)], 1: [(served.rows.model, own)]})
    for pool in rows.pools:
        while pool.unread:
            pool.read(100)
    assert [rows.name(0, row) for row in range(5)] == ["reference", "prompt", "a", "b", "checkpoint"]
    assert rows.alike(0) != rows.alike(1)
    draft = [5, 6, 7]
    scored = rows.score(torch.tensor([draft, draft])[:, None], [0, 1])
    got, of_second = scored.of([0]).log_probs, scored.of([1]).log_probs
    with torch.inference_mode():
        expected = other(torch.tensor([[*streams[4], *draft]])).logits.log_softmax(-1)[0, -4:]
    assert (got[4, 0, 0] - expected).abs().max() <= CLOSE
    assert (got[3, 0, 0] - served.expected(3, [*streams[3], *draft], 4)).abs().max() <= CLOSE
    assert (got[:4] - of_second).abs().max() <= CLOSE


def test_nan_stays_in_its_row_and_slot() -> None:
    """A sequence of infinite embeddings beside another; its rows can be used again."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[5] = torch.nan
    pool = RowPool(model)
    pool.insert({0: NewRows([NewRow("a", (), [3, 4])]), 1: NewRows([NewRow("b", (), [3, 5, 4])])})
    while pool.unread:
        pool.read(100)
    nothing = torch.zeros(2, 1, 0, dtype=torch.long)
    scores = pool.score(nothing, [0, 1]).of([0, 1])
    assert scores.bad.tolist() == [[False, True]]
    pool.commit({0: Kept(0, [7])})
    pool.free(1, damaged=True)
    pool.insert({1: NewRows([NewRow("c", (), [3, 4])])})
    pool.read(100)
    scores = pool.score(nothing, [0, 1]).of([0, 1])
    assert not bool(scores.bad.any())


def test_the_cache_keeps_its_contents_as_it_grows(tmp_path: Path) -> None:
    """From a short prompt past the first allocation (128 slots and the prompt), in steps."""
    model = tiny_model("llama", max_position_embeddings=512)
    rows = AlikeRows(model, ["reference"], batch=2)
    streams = [random_tokens(1, 6, seed=s)[0].tolist() for s in (1, 2)]
    rows.prefill([[stream] for stream in streams])
    for step in range(4):
        drafts = random_tokens(2, 60, seed=10 + step)
        got = rows.score(drafts[:, None]).log_probs
        rows.commit([0, 0], [[9], [9]])
        streams = [[*stream, *drafts[b].tolist()] for b, stream in enumerate(streams)]
        for b, stream in enumerate(streams):
            with torch.inference_mode():
                expected = model(torch.tensor([stream])).logits.log_softmax(-1)[0, -61:]
            assert (got[0, b, 0] - expected).abs().max() <= CLOSE
        streams = [[*stream, 9] for stream in streams]


def test_a_prompt_is_reused_only_if_it_is_the_same(tmp_path: Path) -> None:
    served = Served("llama", tmp_path, plan=FastPlan(), block=4)
    empty = torch.zeros(1, 1, 0, dtype=torch.long)
    first, second = prompts([9, 3], seed=1), prompts([9, 3], seed=2)  # equal lengths
    for streams in (first, first, second, first):
        served.rows.prefill([streams])
        got = served.rows.score(empty).log_probs
        assert (got[3, 0, 0] - served.expected(3, streams[3], 1)).abs().max() <= CLOSE
        served.rows.commit([0], [[5]])
        served.rows.score(torch.full((1, 1, 4), 6))
    handle = fail_at(served.rows.model, 2, MemoryError)
    with pytest.raises(MemoryError):
        served.rows.prefill([second])
    handle.remove()
    served.rows.pool.reset()
    served.rows.prefill([first])
    got = served.rows.score(empty).log_probs
    assert (got[3, 0, 0] - served.expected(3, first[3], 1)).abs().max() <= CLOSE


def test_filler_behind_a_short_sequence_may_reach_past_the_context(tmp_path: Path) -> None:
    """GPT-2's learned positions end at 128: the sequence at the limit must not index beyond them."""
    model = tiny_model("gpt2")
    rows = AlikeRows(model, ["reference"], batch=2)
    streams = [random_tokens(1, n, seed=n)[0].tolist() for n in (126, 20)]
    rows.prefill([[stream] for stream in streams])
    drafts = random_tokens(2, 5, seed=3)
    got = rows.score(drafts[:, None]).log_probs
    with torch.inference_mode():
        for b, usable in ((0, 3), (1, 6)):
            whole = torch.tensor([[*streams[b], *drafts[b, : usable - 1].tolist()]])
            expected = model(whole).logits.log_softmax(-1)[0, -usable:]
            assert (got[0, b, 0, :usable] - expected).abs().max() <= CLOSE


def test_half_precision_rows_give_float32_log_probabilities(tmp_path: Path) -> None:
    model = tiny_model("llama").to(torch.bfloat16)
    rows = AlikeRows(model, ["reference"], batch=2)
    rows.prefill([[[5, 6, 7, 8]], [[5, 6]]])
    got = rows.score(torch.tensor([[[9]], [[9]]])).log_probs
    assert got.dtype == torch.float32
    assert (got.exp().sum(-1) - 1).abs().max() < 1e-5
    with torch.inference_mode():
        expected = model(torch.tensor([[5, 6, 7, 8, 9]])).logits.float().log_softmax(-1)[0, -2:]
    assert (got[0, 0, 0] - expected).abs().max() < 0.1


def test_without_a_winner_the_first_candidate_continues(tmp_path: Path) -> None:
    served = Served("llama", tmp_path, candidates=2)
    streams = prompts([5, 2], seed=5)
    served.rows.prefill([streams])
    served.rows.score(torch.tensor([[[10, 11], [20, 21]]]))
    served.rows.commit([1], [[30]])
    got = served.rows.score(torch.zeros(1, 2, 0, dtype=torch.long)).log_probs
    expected = served.expected(2, [*streams[2], 10, 30], 1)
    assert (got[2, 0] - expected).abs().max() <= CLOSE


def test_long_rope_is_served_within_its_original_length(tmp_path: Path) -> None:
    """Beyond it transformers changes the factors of every row of a pass at once."""
    rope = {
        "rope_type": "longrope",
        "short_factor": [1.0, 1.0, 1.0, 1.0],
        "long_factor": [4.0, 4.0, 4.0, 4.0],
        "original_max_position_embeddings": 32,
        "rope_theta": 10000.0,
    }
    model = tiny_model("phi3", rope_parameters=rope, original_max_position_embeddings=32)
    assert context_length(model.config) == 32
    assert context_length(tiny_model("phi3").config) == 128
    rows = AlikeRows(model, ["reference"], batch=2)
    streams = [random_tokens(1, n, seed=n)[0].tolist() for n in (4, 29)]
    rows.prefill([[stream] for stream in streams])
    drafts = random_tokens(2, 6, seed=3)
    got = rows.score(drafts[:, None]).log_probs  # the second one's filler reaches beyond 32
    with torch.inference_mode():
        for b, usable in ((0, 7), (1, 4)):
            whole = torch.tensor([[*streams[b], *drafts[b, : usable - 1].tolist()]])
            expected = model(whole).logits.log_softmax(-1)[0, -usable:]
            assert (got[0, b, 0, :usable] - expected).abs().max() <= CLOSE


def test_rows_return_the_requested_vocabulary() -> None:
    """Models of one tokenizer pad their embeddings differently: cut or filled with impossible tokens."""
    for size in (90, 100):
        rows = AlikeRows(tiny_model("llama"), ["row"], vocabulary=Vocabulary(size))
        rows.prefill([[[5, 6, 7]]])
        got = rows.score(torch.tensor([[[8]]])).log_probs[0, 0, 0]  # (2, size)
        assert got.shape == (2, size)
        assert torch.allclose(got.exp().sum(-1), torch.ones(2), atol=1e-5)
        assert bool((got[:, VOCABULARY:] == -torch.inf).all())


def test_a_drafter_of_several_candidates_steps_each_of_them(tmp_path: Path) -> None:
    served = Served("gemma3", tmp_path, batch=2, candidates=3)
    streams = [prompts([9, 4], seed=5), prompts([3, 8], seed=6)]
    served.rows.prefill(streams)
    empty = torch.zeros(2, 3, 0, dtype=torch.long)
    for winner, kept in (([2, 0], [3, 1]), ([1, 1], [0, 2]), ([0, 2], [2, 3])):
        drafts = random_tokens(6, 3, seed=sum(winner) + 20).view(2, 3, 3)  # (B, N, T)
        for place in range(3):
            got = served.rows.score(empty).log_probs[:, :, :, 0]  # (R, B, N, V)
            for b in range(2):
                for n in range(3):
                    stream = [*streams[b][3], *drafts[b, n, :place].tolist()]
                    assert (got[3, b, n] - served.expected(3, stream, 1)[0]).abs().max() <= CLOSE
            served.rows.push(drafts[:, :, place])
        served.rows.commit([3 - k for k in kept], [[7], [8]], winner)
        streams = [
            [[*s, *drafts[b, winner[b], : kept[b]].tolist(), 7 + b] for s in streams[b]] for b in range(2)
        ]


@pytest.mark.parametrize(("plan", "passes"), [(PassPlan(), 1), (FastPlan(), 2)])
def test_long_and_short_sequences_pass_apart_where_padding_costs_more(
    plan: PassPlan, passes: int, tmp_path: Path
) -> None:
    """Same log-probabilities; the short ones attend over their own positions only."""
    served = Served("mistral", tmp_path, batch=4, candidates=2, plan=plan)
    streams = [prompts([n, 2], seed=n) for n in (120, 4, 5, 6)]
    served.rows.prefill(streams)
    widths = widths_of(served.rows.model)
    for seed in (1, 2):
        widths.clear()
        drafts = random_tokens(8, 3, seed=seed).view(4, 2, 3)
        got = served.rows.score(drafts).log_probs
        assert len(widths) == passes
        assert passes == 1 or min(widths) < 20
        for b in range(4):
            for n in range(2):
                expected = served.expected(2, [*streams[b][2], *drafts[b, n].tolist()], 4)
                assert (got[2, b, n] - expected).abs().max() <= CLOSE
        served.rows.commit([3] * 4, [[7]] * 4, [0] * 4)
        streams = [[[*stream, 7] for stream in own] for own in streams]


def test_how_a_sequence_alone_is_rounded_does_not_depend_on_what_was_there_before() -> None:
    """Positions are read by its length, however far the cache has grown."""
    model = tiny_model("llama", max_position_embeddings=512)
    group, widths = AlikeRows(model, ["a", "b"], plan=FastPlan(min_keys=0)), widths_of(model)
    found = []
    for length in (3, 200, 3):
        group.prefill([[[5] * length, [6] * (length - 1)]])
        found.append(group.score().log_probs)
        assert widths[-1] == length
    assert torch.equal(found[0], found[2])


def test_keys_without_gaps_give_the_same() -> None:
    """On a CPU a pass of one token a row reads on to the end of the cache, where that is near."""
    found, read = [], []
    for plan in (FastPlan(), FastPlan(min_keys=0), FastPlan(min_keys=0, max_gap=0)):
        model = tiny_model("llama")
        group, widths = AlikeRows(model, ["a", "b"], batch=2, plan=plan), widths_of(model)
        group.prefill([[[3, 5, 7, 9], [4, 6, 8, 2]], [[5, 1], [9, 1]]])
        steps = []
        for token in range(40):  # the cache grows on the way
            steps.append(group.score().log_probs)
            group.commit([0, 0], [[token], [token + 1]])
        found.append(torch.stack(steps))
        read.append(widths[-1])
    assert all((other - found[0]).abs().max() < CLOSE for other in found[1:])
    assert read[0] == read[2] == 43 < read[1]


def widths_of(model: Any) -> list[int]:
    """A list to which every pass of the model adds the number of positions that it reads."""
    widths: list[int] = []

    def note(model: Any, args: Any, kwargs: Any) -> None:
        widths.append(kwargs["attention_mask"].shape[-1])

    model.register_forward_pre_hook(note, with_kwargs=True)
    return widths


def test_a_checkpoint_twice_in_a_slot_has_a_row_for_each_prompt() -> None:
    """As in a blend of two personas with one checkpoint and prompts of their own."""
    base, other = tiny_model(seed=0), tiny_model(seed=1)
    prompts = [random_tokens(1, 8, seed=n)[0].tolist() for n in range(3)]
    rows = SlotRows(base)
    parts = [(base, "base", prompts[0]), (other, "a", prompts[1]), (other, "b", prompts[2])]
    rows.insert({0: [(model, NewRows([NewRow(name, (), ids)])) for model, name, ids in parts]})
    rows.read_all(64)
    found = rows.score(torch.zeros(1, 1, 0, dtype=torch.long), [0]).of([0]).log_probs[:, 0, 0, 0]
    for own, (model, _, ids) in zip(found, parts, strict=True):
        torch.testing.assert_close(own, log_probs(model, torch.tensor([ids]))[0, -1], atol=1e-5, rtol=0)
    assert [rows.name(0, row) for row in range(3)] == ["base", "a", "b"]
    assert len(rows.pools) == 3
    rows.free(0)
    rows.insert({0: [(base, NewRows([NewRow("base", (), prompts[0])]))]})
    assert len(rows.pools) == 1, "checkpoints without a slot give way"
    assert rows.read_before == 14
