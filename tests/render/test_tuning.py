"""What `mpg tune` says to do is what the defaults and the flags that it names then do."""

from __future__ import annotations

import pytest

from mpg_cli.engine.profile import Choice, Profile
from mpg_cli.render.tuning import advice

LOCK_STEP = Choice("none", 1, 0, None, 100.0, 100.0)
MERGED = Choice("merged", 1, 3, 0.9, 150.0, 150.0)
SLOW = Choice("merged", 1, 3, 0.9, 90.0, 90.0)


@pytest.mark.parametrize(
    ("rule", "choices", "said"),
    [
        (
            "exact",
            (MERGED, LOCK_STEP),
            "merged, chunks of 3, 1.50 times token-by-token decoding; used from now on",
        ),
        (
            "exact",
            (Choice("folded", 1, 5, 0.9, 200.0, 200.0), LOCK_STEP),
            "token-by-token decoding; used from now on",
        ),
        ("exact", (LOCK_STEP, SLOW), "token-by-token decoding is fastest here, used from now on"),
        (
            "exact",
            (Choice("model:a", 1, 5, 0.9, 1.0, 200.0), LOCK_STEP),
            "from now on with --drafter model:a",
        ),
        ("block", (MERGED, LOCK_STEP), "1.50 times token-by-token decoding; used from now on"),
        ("block", (Choice("lookup", 1, 5, 0.9, 1.0, 200.0), LOCK_STEP), "from now on with --drafter lookup"),
        ("threshold", (LOCK_STEP, SLOW), "token-by-token decoding is fastest here, used from now on"),
        (
            "threshold",
            (LOCK_STEP,),
            "token-by-token decoding is fastest here, used from now on with --drafter none",
        ),
        ("threshold", (Choice("merged", 4, 2, 0.9, 1.0, 200.0), LOCK_STEP), "now on with --candidates 4"),
    ],
)
def test_the_advice_names_the_flags_that_it_takes(rule: str, choices: tuple[Choice, ...], said: str) -> None:
    assert advice(Profile({"rule": rule}, {}, choices, 0)).endswith(said)
