"""The command that `mpg tune` recommends has the effect it promises."""

from __future__ import annotations

import pytest

from mpg_cli.engine.profile import Choice, Profile
from mpg_cli.render.tuning import advice

BASELINE = Choice("none", 1, 0, None, 100.0, 100.0)
MERGED = Choice("merged", 1, 3, 0.9, 150.0, 150.0)
SLOW = Choice("merged", 1, 3, 0.9, 90.0, 90.0)


@pytest.mark.parametrize(
    ("rule", "choices", "said"),
    [
        (
            "exact",
            (MERGED, BASELINE),
            "chunks of 3, 1.50 times as fast as token by token; used from now on",
        ),
        (
            "exact",
            (Choice("folded", 1, 5, 0.9, 200.0, 200.0), BASELINE),
            "as fast as token by token; used from now on",
        ),
        ("exact", (BASELINE, SLOW), "token-by-token decoding is fastest here, used from now on"),
        (
            "exact",
            (Choice("model:a", 1, 5, 0.9, 1.0, 200.0), BASELINE),
            "from now on with --drafter model:a",
        ),
        ("block", (MERGED, BASELINE), "1.50 times as fast as token by token; used from now on"),
        ("block", (Choice("lookup", 1, 5, 0.9, 1.0, 200.0), BASELINE), "from now on with --drafter lookup"),
        ("threshold", (BASELINE, SLOW), "token-by-token decoding is fastest here, used from now on"),
        (
            "threshold",
            (BASELINE,),
            "token-by-token decoding is fastest here, used from now on with --drafter none",
        ),
        ("threshold", (Choice("merged", 4, 2, 0.9, 1.0, 200.0), BASELINE), "now on with --candidates 4"),
    ],
)
def test_the_advice_names_the_flags_that_it_takes(rule: str, choices: tuple[Choice, ...], said: str) -> None:
    assert advice(Profile({"rule": rule}, {}, choices, 0)).endswith(said)
