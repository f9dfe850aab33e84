"""A fake of an index of wheels, and a wheel that is one as far as a description goes."""

import hashlib
import io
import zipfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.fakes.hub import FakeHub

PACKAGE = b"""
class ggml_backend_dev_type:
    GGML_BACKEND_DEVICE_TYPE_CPU = 0
__version__ = "2026.11.1"
def get_device_info():
    return [{"name": "CUDA0", "description": "A fake card", "type": 1,
             "memory_total": 24 << 30, "memory_free": 23 << 30}]
"""


def wheel(files: dict[str, bytes] | None = None) -> bytes:
    """Return a wheel of these files; without any, one that describes itself."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as whole:
        for name, data in (files or {"xllamacpp/__init__.py": PACKAGE}).items():
            whole.writestr(name, data)
    return out.getvalue()


def _digest(data: bytes | Path) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.read_bytes()).hexdigest()


class FakeIndex(FakeHub):
    """Serves `pages` by path, and files as the fake hub does. Without a page: 404 for it."""

    def __init__(self, files: dict[str, bytes], pages: dict[str, str] | None = None) -> None:
        super().__init__(dict(files))
        self.pages = pages or {}

    def list(self, variant: str, *names: str, digests: bool = True) -> None:
        """Make the page of a variant from files that are served."""
        links = [
            f'<a href="/{name}#sha256={_digest(self.files[name])}">x</a>'
            if digests
            else f'<a href="/{name}">{name}</a>'
            for name in names
        ]
        self.pages[f"/{variant}/xllamacpp/"] = f"<!DOCTYPE html><body>{' '.join(links)}"

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        page = self.pages.get(to.path)
        if page is None:
            super().answer(to)
            return
        body = page.encode()
        to.send_response(200)
        to.send_header("Content-Type", "text/html; charset=utf-8")
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)
