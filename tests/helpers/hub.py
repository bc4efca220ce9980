"""A server in the layout of the Hugging Face hub, on this machine: repositories as folders, read and committed to."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve ``root/OWNER/NAME`` at the revisions main and v1, to huggingface_hub in this process; the paths that were asked for."""
    from huggingface_hub import constants

    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            repository, _, rest = self.path.removeprefix("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            path = root / repository / name
            if revision in ("main", "v1", COMMIT) and path.is_file():
                content = path.read_bytes()
                return self.answer(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'})
            known = revision in ("main", "v1", COMMIT) and (root / repository).is_dir()
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"})

        do_HEAD = do_GET

        def do_POST(self) -> None:
            asked.append(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/api/repos/create":
                wanted = json.loads(body)
                (root / wanted.get("organization", "me") / wanted["name"]).mkdir(parents=True, exist_ok=True)
                return self.json({"url": self.address(f"/{wanted.get('organization', 'me')}/{wanted['name']}")})
            if self.path == "/api/validate-yaml":  # the head of a card
                return self.json({"errors": [], "warnings": []})
            repository, _, rest = self.path.removeprefix("/api/models/").partition("/preupload/")
            if rest:
                files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
                return self.json({"files": files})
            repository = repository.partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    (root / repository / line["value"]["path"]).write_bytes(base64.b64decode(line["value"]["content"]))
            return self.json({"success": True, "commitOid": COMMIT, "commitUrl": self.address(f"/{repository}/commit/{COMMIT}")})

        def address(self, path: str) -> str:
            return f"http://{self.headers['Host']}{path}"

        def json(self, content: Any) -> None:
            self.answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root / "cache"))
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
