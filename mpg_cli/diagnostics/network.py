"""Check whether the hub is reachable."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from mpg_cli.diagnostics.check import Check

SECONDS = 4.0  # for the whole request, name resolution included


def look() -> Iterator[Check]:
    """Send one small request to the hub's endpoint, in a thread because name resolution has no timeout."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        yield Check("network", "hub", "note", "offline mode is on", "unset HF_HUB_OFFLINE to use the hub")
        return
    outcome: list[str] = []

    def send() -> None:
        from huggingface_hub import get_session

        try:
            status = (
                get_session().get(f"{constants.ENDPOINT}/api/models?limit=1", timeout=SECONDS).status_code
            )
            outcome.append("" if status == 200 else f"HTTP status {status}")
        except Exception as error:  # HTTP, TLS and socket layers raise errors of their own
            outcome.append(str(error).splitlines()[0] if str(error) else type(error).__name__)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(SECONDS)
    why = outcome[0] if outcome else "no answer"
    if why:
        hint = "check the network, the proxy or HF_ENDPOINT"
        yield Check("network", "hub", "problem", f"{constants.ENDPOINT} cannot be reached: {why}", hint)
    else:
        yield Check("network", "hub", "ok", f"{constants.ENDPOINT} answers")
