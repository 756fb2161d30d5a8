"""Noise beside the logits: that of every place alone, however many places are made at once."""

from __future__ import annotations

import pytest
import torch

from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.reply import Reply
from mpg_cli.sampling.reply_noise import BLOCK, ReplyNoise


@pytest.mark.parametrize("size", [5, 48, 2048, BLOCK // 2 + 1, 2 * BLOCK])
@pytest.mark.parametrize("count", [1, 3])
def test_a_place_has_its_own_noise(size: int, count: int) -> None:
    replies = [Reply(Noise(7, f"r{n}"), limit=99) for n in range(count)]
    noise, like = ReplyNoise(greedy=False), torch.zeros(size)
    for positions in ((0,), (0, 1, 2), (2, 3), (40,)):
        places = [(reply, position) for reply in replies for position in positions]
        for found, (reply, position) in zip(noise.at(places, like), places, strict=True):
            assert torch.equal(found, reply.noise.gumbel(size, position))


@pytest.mark.parametrize(
    "size, count, ahead", [(2048, 1, 16), (2048, 4, 4), (2048, 64, 1), (2 * BLOCK, 1, 1)]
)
def test_what_is_made_ahead_is_one_block(size: int, count: int, ahead: int) -> None:
    replies = [Reply(Noise(7, n), limit=99) for n in range(count)]
    ReplyNoise(greedy=False).make([(reply, 3) for reply in replies], torch.zeros(size))
    assert [sorted(reply.gumbels) for reply in replies] == [list(range(3, 3 + ahead))] * count


def test_none_is_made_behind_the_last_token() -> None:
    reply = Reply(Noise(7, 0), limit=5)
    noise, like = ReplyNoise(greedy=False), torch.zeros(4)
    noise.make([(reply, 2)], like)
    assert sorted(reply.gumbels) == [2, 3, 4]
    noise.make([(reply, 5)], like)  # what a judge asks for is made wherever it is
    assert 5 in reply.gumbels


def test_greedy_makes_none() -> None:
    reply = Reply(Noise(7, 0), limit=99)
    noise = ReplyNoise(greedy=True)
    assert not noise.at([(reply, 0)], torch.zeros(9)).any()
    assert not reply.gumbels
