"""What a fake hub knows of the files that it serves: their sizes, their sums, their xet hashes.

Run as a program (`shelf.py STORE FILE...`) it puts files into a local xet store with the real
`hf_xet`, and prints their hashes. That is a process of its own because `hf_xet` keeps threads,
locks and a log for as long as its process lives.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

File = bytes | Path

LARGE = 1 << 30  # bytes: what is larger is not hashed unasked, as that would take seconds
_PLAIN = (".md", ".json", ".txt", ".gitattributes")


def size(file: File) -> int:
    return len(file) if isinstance(file, bytes) else file.stat().st_size


def is_lfs(name: str) -> bool:
    """Tell whether the hub keeps a file of this name outside of git, and names it by its sha256."""
    return not name.endswith(_PLAIN)


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Shelf:
    """Sums and xet hashes of files, each computed once.

    `sums`: known sha256 of files on disk; they are believed, whatever the file holds.
    `xet`: the folder of a xet store, or None.
    """

    def __init__(self, sums: Mapping[Path, str] | None = None, xet: Path | None = None) -> None:
        self.sums = dict(sums or {})
        self.xet = xet
        self._computed: dict[object, str] = {}
        self._hashes: dict[object, str] = {}
        self._lock = threading.Lock()

    def sum(self, file: File) -> str:
        """Return the sha256; "" where none is known of a large file."""
        if isinstance(file, Path) and file in self.sums:
            return self.sums[file]
        if isinstance(file, Path) and size(file) > LARGE:
            return ""
        key = _key(file)
        with self._lock:
            if key not in self._computed:
                self._computed[key] = sha256(file)
            return self._computed[key]

    def version(self, name: str, file: File) -> str:
        """Return the hub's name for a version of a file."""
        if not is_lfs(name):
            return git_oid(file if isinstance(file, bytes) else file.read_bytes())
        return self.sum(file) or f"no-sum-{hashlib.sha256(repr(_key(file)).encode()).hexdigest()}"

    def xet_hash(self, file: File) -> str:
        """Return the name of a file in the xet store, into which it is put; "" without one."""
        if self.xet is None or not size(file):
            return ""
        self.put([file])
        return self._hashes[_key(file)]

    def put(self, files: Iterable[File]) -> None:
        """Put files into the xet store, those that are there already left out."""
        if self.xet is None:
            return
        with self._lock:
            new = {_key(file): file for file in files if size(file)}
            new = {key: file for key, file in new.items() if key not in self._hashes}
            if new:
                self._hashes |= zip(new, _upload(self.xet, list(new.values())), strict=True)


def _key(file: File) -> object:
    if isinstance(file, bytes):
        return file
    found = file.stat()
    return file, found.st_size, found.st_mtime_ns


def sha256(file: File) -> str:
    if isinstance(file, bytes):
        return hashlib.sha256(file).hexdigest()
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _upload(store: Path, files: list[File]) -> list[str]:
    store.mkdir(parents=True, exist_ok=True)
    paths: list[str] = []
    for file in files:
        path = store / f"upload-{len(paths)}" if isinstance(file, bytes) else file
        if isinstance(file, bytes):
            path.write_bytes(file)
        paths.append(str(path.absolute()))
    done = subprocess.run(
        [sys.executable, __file__, str(store.absolute()), *paths],
        env=os.environ | {"HF_HOME": str(store / "home")},  # for its log
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    hashes: list[str] = json.loads(done.stdout)
    return hashes


def _main(store: str, *paths: str) -> None:
    from hf_xet import XetSession

    with XetSession().new_upload_commit(endpoint=f"local://{store}") as commit:
        begun = [commit.start_upload_file(path) for path in paths]
    print(json.dumps([each.result().xet_info.hash for each in begun]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
