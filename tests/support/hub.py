"""A hub on 127.0.0.1 that speaks the few routes which probing and downloading use."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class StubHub:
    """Repositories by name, each a folder; `denied` maps names to (status, error code)."""

    repositories: dict[str, Path] = field(default_factory=dict)
    denied: dict[str, tuple[int, str]] = field(default_factory=dict)
    delay: float = 0.0
    url: str = ""
    requests: list[str] = field(default_factory=list)


@contextmanager
def running(hub: StubHub) -> Iterator[StubHub]:
    """Serve the hub while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def log_message(self, *args: object) -> None:
            pass

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.requests.append(f"{self.command} {path}")
            time.sleep(hub.delay)
            for name, (status, code) in hub.denied.items():
                if name in path:
                    return self.send(b"{}", status, {"X-Error-Code": code} if code else {})
            for name, folder in hub.repositories.items():
                if path.startswith(f"api/models/{name}"):
                    return self.describe(path.removeprefix(f"api/models/{name}").strip("/"), name, folder)
                if path.startswith(f"{name}/resolve/"):
                    return self.file(folder, path.removeprefix(f"{name}/resolve/").partition("/")[2])
            return self.send(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

        def describe(self, rest: str, name: str, folder: Path) -> None:
            action, _, revision = rest.partition("/")
            if revision.split("/")[0] not in ("", "main", COMMIT):
                return self.send(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
            files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
            if action == "tree":
                entries = [
                    {
                        "type": "file",
                        "path": file,
                        "oid": etag(folder / file),
                        "size": (folder / file).stat().st_size,
                    }
                    for file in files
                ]
                return self.send(json.dumps(entries).encode(), 200, {})
            info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
            return self.send(json.dumps(info).encode(), 200, {})

        def file(self, folder: Path, name: str) -> None:
            if not (folder / name).is_file():
                return self.send(b"{}", 404, {"X-Error-Code": "EntryNotFound"})
            headers = {"ETag": f'"{etag(folder / name)}"', "X-Repo-Commit": COMMIT}
            return self.send((folder / name).read_bytes(), 200, headers)

        def send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
            try:
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(content))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up waiting

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def use_endpoint(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does, which huggingface_hub reads when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    path = template[template.index("/{repo_id}") :]
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + path)


def etag(file: Path) -> str:
    """A stand-in for git's blob id."""
    return hashlib.sha1(file.read_bytes()).hexdigest()


def use_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HF_HUB_CACHE for mpg, and what it does to huggingface_hub, which reads it when it is imported."""
    from huggingface_hub.utils import _cache_manager

    folder.mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(_cache_manager, "HF_HUB_CACHE", str(folder), raising=False)
    return folder


def snapshot(cache: Path, name: str, commit: str = "0a" * 20, files: Path | None = None) -> Path:
    """A model's place in the cache, as the hub's client makes it, with copies of the files of a folder."""
    repo = cache / f"models--{name.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True, exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "blobs").mkdir(exist_ok=True)
    folder = repo / "snapshots" / commit
    if files is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(files, folder)
    return folder
