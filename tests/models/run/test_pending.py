"""Pending tokens against plain lists."""

from __future__ import annotations

import random

import pytest
import torch

from mpg_cli.models.run.pending import PendingTokens


def waiting(pending: PendingTokens) -> list[list[list[list[int]]]]:
    """For each sequence, row and candidate the tokens that wait."""
    rows, batch, candidates = pending.tokens.shape[:3]
    return [
        [
            [pending.tokens[r, b, n, : int(pending.counts[b])].tolist() for n in range(candidates)]
            for r in range(rows)
        ]
        for b in range(batch)
    ]


@pytest.mark.parametrize("seed", range(40))
def test_it_is_lists_of_tokens(seed: int) -> None:
    draw = random.Random(seed)
    rows, batch, candidates = draw.randint(1, 3), draw.randint(1, 4), draw.randint(1, 3)
    pending = PendingTokens(rows, batch, candidates)
    lists: list[list[list[list[int]]]] = [[[[]] * candidates] * rows for _ in range(batch)]

    def token() -> int:
        return draw.randint(0, 99)

    for _ in range(30):
        act = draw.choice(["begin", "append", "settle", "feed", "select"])
        if act == "begin":
            places = draw.sample(range(batch), draw.randint(1, batch))
            last = torch.tensor([[token() for _ in places] for _ in range(rows)])
            pending.insert(places, last)
            for at, b in enumerate(places):
                lists[b] = [[[int(last[r, at])]] * candidates for r in range(rows)]
        elif act == "append":
            new = torch.tensor([[token() for _ in range(candidates)] for _ in range(batch)])
            pending.append(new)
            lists = [
                [[[*old, int(new[b, n])] for n, old in enumerate(row)] for row in own]
                for b, own in enumerate(lists)
            ]
        elif act == "settle":
            drop = [draw.randint(0, 4) for _ in range(batch)]
            committed = [[token() for _ in range(draw.randint(0, 3))] for _ in range(batch)]
            winner = [draw.randrange(candidates) for _ in range(batch)]
            pending.commit(torch.tensor(drop), committed, winner)
            lists = [
                [
                    [row[winner[b]][: max(len(row[winner[b]]) - drop[b], 0)] + committed[b]] * candidates
                    for row in own
                ]
                for b, own in enumerate(lists)
            ]
        elif act == "feed":
            drafts = torch.randint(0, 99, (batch, candidates, draw.randint(0, 3)))
            fed, counts = pending.with_drafts(drafts), [len(own[0][0]) for own in lists]
            assert waiting(pending) == lists
            assert fed.shape[3] == max(counts) + drafts.shape[2]
            for b, own in enumerate(lists):
                for r, row in enumerate(own):
                    for n, old in enumerate(row):
                        expected = old + drafts[b, n].tolist()
                        assert fed[r, b, n, : len(expected)].tolist() == expected
            pending.clear()
            lists = [[[[]] * candidates] * rows for _ in range(batch)]
        else:
            kept = sorted(draw.sample(range(batch), draw.randint(1, batch)))
            pending.select(torch.tensor(kept))
            lists, batch = [lists[b] for b in kept], len(kept)
        assert waiting(pending) == lists
