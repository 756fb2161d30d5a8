"""Options of the samples: seed, number, sequence id. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from mpg_cli.errors import UsageError
from mpg_cli.options import readers
from mpg_cli.options.option import check_fields, option

MAX_SEED = 2**64 - 1


@dataclass(frozen=True)
class RunOptions:
    """The seed, the number of samples, and the id of a single one."""

    seed: int | None = option(
        None,
        metavar="N",
        low=0,
        high=MAX_SEED,
        help="Random seed; the same seed gives the same reply.",
        shown="random, reported on stderr",
    )
    samples: int = option(1, short="-n", metavar="N", low=1, help="Number of replies.", in_config=False)
    sequence_id: int | str | None = option(
        None,
        metavar="ID",
        read=readers.sequence_id,
        help="Reproduce one reply: K is sample K of -n; '\"K\"' or other text is the batch line of that id.",
        in_config=False,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.sequence_id is not None and self.samples > 1:
            raise UsageError(
                "--sequence-id selects one sample and conflicts with --samples above 1",
                hint="leave one out; samples are numbered from 0",
            )
