"""A web site on this machine that serves one file, as good and as bad as servers are."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What the site serves under ``/file``, and what it was asked."""

    content: bytes
    url: str = ""
    etag: str = '"first"'
    ranges: bool = True
    #: The connection ends after so many bytes, once for each number.
    cut_after: list[int] = field(default_factory=list)
    #: Without a Content-Length, which makes an early end look like an end.
    says_length: bool = True
    #: The Range header of each request for the file; None where it had none.
    asked: list[str | None] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@contextmanager
def serving(content: bytes, name: str = "file") -> Iterator[FileServer]:
    """Serve `content` under `name` for a while."""
    site = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != f"/{name}":
                self.send_error(404)
                return
            wanted = self.headers.get("Range")
            site.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            same = self.headers.get("If-Range") in (None, site.etag)
            if not (site.ranges and wanted and same):
                start = 0
            if start >= len(site.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if site.etag:
                self.send_header("ETag", site.etag)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
            if site.says_length:
                self.send_header("Content-Length", str(len(site.content) - start))
            self.end_headers()
            length = site.cut_after.pop(0) if site.cut_after else len(site.content)
            self.wfile.write(site.content[start : start + length])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        site.url = f"http://127.0.0.1:{running.server_port}/{name}"
        yield site
        running.shutdown()
        thread.join()
