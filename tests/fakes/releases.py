"""A fake of GitHub's releases: real HTTP on the loopback, archives made on the spot.

`FakeReleases` answers `/repos/OWNER/NAME/releases` and `.../releases/tags/TAG` in the shape of
GitHub's API, and serves the archives with the manners of `tests.fakes.hub`. `SERVER` is a fake of
llama-server: a script that answers `--version`, `--help` and `--list-devices`, and nothing else.
"""

import gzip
import hashlib
import io
import json
import re
import stat
import tarfile
import zipfile
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.fakes.hub import FakeHub, plain

SERVER = b"""#!/bin/sh
case "$1" in
--version) echo "version: 11429 (0123abcd)"; echo "built with cc 13.3.0 for Linux x86_64" ;;
--help) echo "-m,    --model FNAME   model path"; echo "--port PORT   port"
        echo "--list-devices   print list of available devices and exit" ;;
--list-devices) echo "Available devices:"
        echo "  Vulkan0: A fake card (24576 MiB, 24000 MiB free)" ;;
esac
"""
ENGINE: dict[str, bytes] = {
    "llama-server": SERVER,
    "llama-bench": b"#!/bin/sh\n",
    "libllama.so.0": b"\x7fELF a library, as far as a test goes",
}


def tar_gz(
    files: dict[str, bytes] = ENGINE,
    top: str = "llama-b11429/",
    odd: tuple[tarfile.TarInfo, ...] = (),
    after: dict[str, bytes] | None = None,
) -> bytes:
    """Return a .tar.gz of files, then `odd` members, then more files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            _add(tar, top + name, data)
        for member in odd:
            tar.addfile(member)
        for name, data in (after or {}).items():
            _add(tar, name, data)
    return gzip.compress(out.getvalue(), mtime=0)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o755 if data.startswith(b"#!") else 0o644
    tar.addfile(info, io.BytesIO(data))


def member(name: str, kind: bytes, target: str = "", **more: Any) -> tarfile.TarInfo:
    """Return a member without content: a link, a device."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    for key, value in more.items():
        setattr(info, key, value)
    return info


def zipped(files: dict[str, bytes] = ENGINE, *, modes: bool = True, odd: int = 0) -> bytes:
    """Return a .zip. `modes` False: without rights, as some are. `odd`: all are of this kind."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            rights = 0o755 if data.startswith(b"#!") else 0o644
            info.external_attr = ((odd or stat.S_IFREG) | rights) << 16 if modes else 0
            whole.writestr(info, data)
    return out.getvalue()


class FakeReleases(FakeHub):
    """Releases by tag, the newest first: the archives of each, by name."""

    def __init__(self, releases: dict[str, dict[str, bytes]]) -> None:
        files = {
            f"{tag}/{name}": data for tag, each in releases.items() for name, data in each.items()
        }
        super().__init__(dict(files))
        self.releases = releases
        self.digests = True
        self.changes: dict[str, dict[str, Any]] = {}  # of single archives in the list
        self.list_status: list[tuple[int, tuple[tuple[str, str], ...]]] = []  # before the list
        self.list_body: bytes | None = None
        self.list_pages: list[str] = []  # the only ones in the list, where given

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        path = to.path.partition("?")[0]
        match = re.fullmatch(r"/repos/[^/]+/[^/]+/releases(?:/tags/(.+))?", path)
        if not match:
            super().answer(to)
            return
        if self.list_status:
            status, headers = self.list_status.pop(0)
            plain(to, status, headers)
        elif match[1] and match[1] not in self.releases:
            plain(to, 404)
        else:
            found = (
                self._release(match[1])
                if match[1]
                else [self._release(t) for t in self.list_pages or self.releases]
            )
            body = self.list_body if self.list_body is not None else json.dumps(found).encode()
            kind = "text/html" if body.startswith(b"<") else "application/json"
            to.send_response(200)
            to.send_header("Content-Type", f"{kind}; charset=utf-8")
            to.send_header("Content-Length", str(len(body)))
            to.end_headers()
            to.wfile.write(body)

    def _release(self, tag: str) -> dict[str, Any]:
        assets = []
        for name, data in self.releases[tag].items():
            asset: dict[str, Any] = {
                "name": name,
                "state": "uploaded",
                "size": len(data),
                "browser_download_url": f"{self.url}/{tag}/{name}",
            }
            if self.digests:
                asset["digest"] = f"sha256:{hashlib.sha256(data).hexdigest()}"
            assets.append(asset | self.changes.get(name, {}))
        return {"tag_name": tag, "draft": False, "prerelease": True, "assets": assets}
