"""An OpenAI-compatible server that answers as a test says, on a port of its own."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]  # status, and the body: text is what the model says, anything else is sent as JSON


@dataclass
class Stub:
    """`answer` is called with the number of the request and its body; requests are remembered."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def garbling(raw: bytes, times: int | None = None) -> Iterator[Stub]:
    """A server that sends these bytes and hangs up, the first `times` times (None: always); then says 7."""
    said = json.dumps({"choices": [{"message": {"content": "7"}}]}).encode()
    good = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            found.requests.append(json.loads(self.rfile.read(length)))
            self.wfile.write(raw if times is None or len(found.requests) <= times else good)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    found = Stub(f"http://127.0.0.1:{server.server_address[1]}/v1")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def stub(answer: Callable[[int, dict[str, Any]], Answer]) -> Iterator[Stub]:
    """The server, running."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                found.requests.append(body)
                found.headers.append(dict(self.headers))
                found.paths.append(self.path)
                status, said = answer(len(found.requests), body)
            sent = (
                {"choices": [{"message": {"role": "assistant", "content": said}}]} if status == 200 else said
            )
            raw = said.encode() if isinstance(said, str) and status != 200 else json.dumps(sent).encode()
            if status == 299:  # no completion
                status, raw = 200, json.dumps(said).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Stub(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
