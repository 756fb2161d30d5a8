"""The records of a batch: one JSON object per input line."""

from __future__ import annotations

import time
from typing import Any

from mpg_cli.batch.line_engine import LineDone, LineFailed
from mpg_cli.render.jsonl import finite


def record_of(event: LineDone | LineFailed) -> dict[str, Any]:
    """The record of a finished or failed line; `input` (OpenAI: the end of `id`) is the line's digest."""
    return failed_record(event) if isinstance(event, LineFailed) else done_record(event)


def done_record(event: LineDone) -> dict[str, Any]:
    """The fields of `mpg generate --format json`; for OpenAI lines a response with them under `mpg`."""
    line, finished = event.line, event.finished
    reply = finished.record()
    reply["acceptance"] = finished.stats.acceptance_rate
    if line.metadata is not None:
        reply["metadata"] = line.metadata
    if not line.openai:
        whole: dict[str, Any] = finite({"id": line.id, "input": line.digest, **reply})
        return whole
    usage = reply.pop("usage")
    body = {
        "id": f"chatcmpl-{line.digest}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": reply["model"],
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": reply.pop("text").removeprefix(finished.spec.prefill),
                },
                "logprobs": None,
                "finish_reason": reply["finish_reason"],
            }
        ],
        "usage": {**usage, "total_tokens": sum(usage.values())},
        "mpg": reply,
    }
    response = {"status_code": 200, "request_id": f"mpg-{line.digest}", "body": finite(body)}
    return {"id": f"mpg-{line.digest}", "custom_id": line.id, "response": response, "error": None}


def failed_record(event: LineFailed) -> dict[str, Any]:
    """The line's number and its error."""
    line, error = event.line, {"code": event.code, "message": event.message}
    if line.openai:
        return {
            "id": f"mpg-{line.digest}",
            "custom_id": line.id,
            "line": line.number,
            "response": None,
            "error": error,
        }
    return {"id": line.id, "input": line.digest, "line": line.number, "error": error}
