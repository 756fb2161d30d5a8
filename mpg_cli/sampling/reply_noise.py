"""The noise of replies as tensors beside the logits that it is added to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mpg_cli.sampling.noise import gumbels
from mpg_cli.sampling.reply import Reply
from mpg_cli.sampling.tensors import to_device

Places = Sequence[tuple[Reply, int]]  # replies, and positions in them
BLOCK = 2**15  # numbers made at once: for one reply and few tokens the calls take longer than the sums


class ReplyNoise:
    """Gumbel noise by reply and position, 0 when greedy; a position has the same for draft and target."""

    def __init__(self, greedy: bool) -> None:
        self._greedy = greedy

    def at(self, places: Places, like: Tensor) -> Tensor:
        """The noise (n, V) of n places."""
        if self._greedy or not places:
            return like.new_zeros(len(places), like.shape[-1])
        self.make(places, like)
        return torch.stack([reply.gumbels[position] for reply, position in places])  # (n, V)

    def make(self, places: Places, like: Tensor) -> None:
        """Make the noise (V,) of places where it is not there yet and is wanted, and some of what follows."""
        missing = [(reply, position) for reply, position in places if position not in reply.gumbels]
        if missing and not self._greedy:
            ahead = max(1, BLOCK // (len(missing) * like.shape[-1]))
            wanted = {
                (id(reply), position): (reply, position)
                for reply, first in missing
                for position in range(first, max(first + 1, min(first + ahead, reply.limit)))
                if position not in reply.gumbels
            }
            fresh = gumbels([(reply.noise, position) for reply, position in wanted.values()], like.shape[-1])
            fresh = to_device(fresh, like.device)  # (wanted, V)
            for (reply, position), noise in zip(wanted.values(), fresh, strict=True):
                reply.gumbels[position] = noise

    def fresh(self, reply: Reply, stream: int, offset: int, like: Tensor) -> Tensor:
        """Noise (V,) used once, keyed by where the round starts."""
        if self._greedy:
            return torch.zeros_like(like)
        return to_device(reply.noise.gumbel(like.shape[-1], len(reply.tokens), stream, offset), like.device)
