"""A fake Hugging Face hub: real HTTP on the loopback, files of the test's own, bad manners on call.

`FakeHub({"folder/file.gguf": path_or_bytes})` answers GET and HEAD of

- `/OWNER/REPO/resolve/REVISION/folder/file.gguf`, with the headers that `huggingface_hub` needs,
- `/api/models/OWNER/REPO[/revision/REVISION]` and `.../tree/REVISION[/FOLDER]?recursive=true`,
- `.../xet-read-token/REVISION`, where it has a xet store,
- `/signed/COMMIT/folder/file.gguf?Signature=...`, where it is the CDN of another hub,
- `/folder/file.gguf`: the file, and nothing that only a hub says.

What is in it (`files`, `commit`, `commits` and `repo` may be changed between two requests):

- `files`: those of the commit that `main` stands for, by path. `commit`: that commit. `commits`:
  the files of every commit; given to the constructor, it makes unknown revisions 404; without,
  any revision is good. `main` moves with `hub.commits[NEW] = {...}; hub.commit = NEW`.
- `repo`: "OWNER/NAME", the only one there is (any other is 401); "": every name is good.
- `sums` (later: `hub.shelf.sums`): known sha256, by the file's path on disk; not checked. A
  file of more than 1 GiB without one has no sha256 here: its ETag says "no-sum-...", and its linked
  headers and its `lfs` in listings are missing.
- `cdn`: a `FakeHub()` of its own that is to send the files: resolve redirects there (302). With
  `hub.cdn = hub` the redirect is to another path of the same server.
- `xet`: a folder: the files are put into a xet store there by the real `hf_xet`.
- `port`: 0 for a free one. A hub that was left can be started again at the port it had.

How it behaves, in the words of `Manner`: `manner` is that of all files; `manners[KEY]` that of
one; `turns[KEY]` is a list of manners, one for each request, of which the last stays. KEY is the
file's path, or `signed/PATH` for a CDN's, or `api` for the API (good manners unless named here), or
`*` in `turns` for all files.

What it remembers: `asked`, a list of `Asked(method, path, headers, sent)` with the properties
`range` and `token`, and `body_bytes`, their sum. Only bytes of files count. What lay in buffers
when a client hung up counts as sent: on the loopback up to some MB a connection.

As a program (`python -m tests.fakes.hub FOLDER`) it prints its URL, serves until SIGINT or SIGTERM,
then prints `{"body_bytes": N, "asked": [[method, path, range, sent], ...]}` in one line.
"""

import argparse
import hashlib
import json
import re
import signal
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote

from tests.fakes.loopback import Loopback
from tests.fakes.sending import GOOD, Asked, Exchange, Headers, Line, Manner, named, plain
from tests.fakes.shelf import File, Shelf, git_oid, is_lfs, sha256, size

__all__ = ["COMMIT", "Asked", "FakeHub", "Manner", "plain"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"

_API = re.compile(
    r"/api/models/(?P<repo>[^/]+/[^/]+)"
    r"(?:/(?P<what>revision|tree|xet-read-token)/(?P<revision>[^/]+)(?:/(?P<under>.+))?)?"
)
_FILE = re.compile(
    r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)"
    r"|/(?P<signed>signed)/(?P<commit>[^/]+)/(?P<path>.+)|/(?P<plain>.*)"
)


class _No(Exception):  # noqa: N818 - an answer, not a fault
    """What was asked for is not there: a status, and headers that say why."""

    def __init__(self, status: int, code: str = "", commit: str = "") -> None:
        super().__init__(code)
        told = {"X-Error-Code": code, "X-Repo-Commit": commit}
        self.status, self.headers = status, [pair for pair in told.items() if pair[1]]


class FakeHub(Loopback):
    """Serves files on a port of the loopback; the module says how."""

    method = "GET HEAD"

    def __init__(
        self,
        files: Mapping[str, File] | None = None,
        manner: Manner = GOOD,
        *,
        commit: str = COMMIT,
        commits: Mapping[str, Mapping[str, File]] | None = None,
        repo: str = "",
        sums: Mapping[Path, str] | None = None,
        cdn: "FakeHub | None" = None,
        xet: Path | None = None,
        port: int = 0,
    ) -> None:
        self.commit, self.repo, self.cdn = commit, repo, cdn
        self.commits = {each: dict(what) for each, what in (commits or {}).items()}
        self.commits.setdefault(commit, {}).update(files or {})
        self.shelf = Shelf(sums, xet)
        self.manner = manner
        self.manners: dict[str, Manner] = {}
        self.turns: dict[str, list[Manner]] = {}
        self.asked: list[Asked] = []
        self._any_revision = commits is None
        self._lock = threading.Lock()
        if cdn:
            cdn.commits, cdn.shelf = self.commits, self.shelf
        super().__init__(port)
        self._line = Line(self.over)

    def __enter__(self) -> Self:
        every = [(name, file) for files in self.commits.values() for name, file in files.items()]
        for _, file in every:
            self.shelf.sum(file)  # now, and not while a client waits
        self.shelf.put(file for name, file in every if is_lfs(name))
        return super().__enter__()

    @property
    def files(self) -> dict[str, File]:
        """The files of the commit that `main` stands for."""
        return self.commits[self.commit]

    @files.setter
    def files(self, files: Mapping[str, File]) -> None:
        self.commits[self.commit] = dict(files)

    @property
    def body_bytes(self) -> int:
        """How many bytes of files were sent, all answers together."""
        return sum(asked.sent for asked in self.asked)

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        asked = Asked(to.command, to.path, to.headers)
        self.asked.append(asked)
        try:
            self._answer(to, asked)
        except _No as no:
            plain(to, no.status, no.headers)
        except OSError:  # a client that has read enough hangs up; that is no fault
            to.close_connection = True

    def _answer(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        path, _, query = asked.path.partition("?")
        found = _API.fullmatch(path) or _FILE.fullmatch(path)
        if found is None:
            raise _No(400)
        at = {key: unquote(text or "") for key, text in found.groupdict().items()}
        if found.re is _API:
            key, answer = "api", self._api
        elif at["signed"]:
            key, answer = f"signed/{at['path']}", self._signed
        else:
            key, answer = at["name"] or at["plain"], self._resolve
        exchange = Exchange(to, asked, self._manner(key, asked.method))
        if not self._line.refuses(exchange):
            answer(exchange, at, parse_qs(query))

    def _manner(self, key: str, method: str) -> Manner:
        """Return how to behave, with one request's turn used up."""
        with self._lock:
            own = key == "api" or key in self.manners or key in self.turns
            turns = self.turns.get(key if own else "*")
            if turns and turns[0].only in ("", method):
                turn = turns.pop(0)
                if own:
                    self.manners[key] = turn
                else:
                    self.manner = turn
            manner = self.manners.get(key, GOOD if key == "api" else self.manner)
        return manner if manner.only in ("", method) else GOOD

    # --- what a hub says

    def _find(self, repo: str, revision: str) -> str:
        """Return the commit that a revision stands for."""
        if self.repo not in ("", repo):
            raise _No(401, "RepoNotFound")
        if revision in self.commits:
            return revision
        if revision in ("", "main") or self._any_revision:
            return revision if re.fullmatch(r"[0-9a-f]{40}", revision) else self.commit
        raise _No(404, "RevisionNotFound")

    def _api(self, exchange: Exchange, at: dict[str, str], asks: dict[str, list[str]]) -> None:
        repo, what, under = at["repo"], at["what"], at["under"]
        commit = self._find(repo, at["revision"])
        headers: Headers = []
        body: Any
        if what == "tree":
            body = self._tree(commit, under, deep=asks.get("recursive", [""])[0] in ("1", "true"))
        elif what == "xet-read-token":
            if not self.shelf.xet:
                raise _No(404, "EntryNotFound")
            store, until = f"local://{self.shelf.xet.absolute()}", int(time.time()) + 3600
            body = {"casUrl": store, "accessToken": "xet-token", "exp": until}
            headers = [
                ("X-Xet-Cas-Url", store),
                ("X-Xet-Access-Token", "xet-token"),
                ("X-Xet-Token-Expiration", str(until)),
            ]
        else:
            body = {"id": repo, "modelId": repo, "sha": commit, "private": False, "gated": False}
            body["siblings"] = self._siblings(commit, blobs="blobs" in asks)
        data = json.dumps(body).encode()
        plain(exchange.to, 200, headers, data, "application/json; charset=utf-8")

    def _entry(self, name: str, file: File) -> dict[str, Any]:
        """Return what the listing of a folder says of a file."""
        lie = self.manners.get(name, self.manner).size_lie
        entry = {"type": "file", "path": name, "size": size(file) + lie}
        version = self.shelf.version(name, file)
        if not is_lfs(name):
            return entry | {"oid": version}
        entry["oid"] = git_oid(version.encode())  # of the pointer, which is not made here
        if known := self.shelf.sum(file):
            entry["lfs"] = {"oid": known, "size": size(file) + lie, "pointerSize": 135}
        if name_in_store := self.shelf.xet_hash(file):
            entry["xetHash"] = name_in_store
        return entry

    def _tree(self, commit: str, under: str, *, deep: bool) -> list[dict[str, Any]]:
        start = f"{under.strip('/')}/" if under else ""
        inside = {n: f for n, f in self._files(commit).items() if n.startswith(start)}
        if start and not inside:
            raise _No(404, "EntryNotFound", commit)
        entries = {}
        for name, file in inside.items():
            parts = name.split("/")
            for depth in range(start.count("/") + 1, len(parts)):
                folder = "/".join(parts[:depth])
                oid = git_oid(folder.encode())
                entries[folder] = {"type": "directory", "oid": oid, "size": 0, "path": folder}
            entries[name] = self._entry(name, file)
        return [e for n, e in entries.items() if deep or n.count("/") == start.count("/")]

    def _siblings(self, commit: str, *, blobs: bool) -> list[dict[str, Any]]:
        siblings = []
        for name, file in self._files(commit).items():
            sibling: dict[str, Any] = {"rfilename": name}
            if blobs:
                entry = self._entry(name, file)
                sibling |= {"size": entry["size"], "blobId": entry["oid"]}
                if "lfs" in entry:
                    sibling["lfs"] = entry["lfs"] | {"sha256": entry["lfs"]["oid"]}
            siblings.append(sibling)
        return siblings

    def _files(self, commit: str) -> dict[str, File]:
        return self.commits.get(commit, self.files)

    # --- files

    def _resolve(self, exchange: Exchange, at: dict[str, str], asks: dict[str, list[str]]) -> None:
        """Answer with a file, or with the address of it at the CDN."""
        repo, name = at["repo"], at["name"] or at["plain"]
        commit = self._find(repo, at["revision"]) if repo else self.commit
        file = self._files(commit).get(name)
        if file is None:
            raise _No(404, "EntryNotFound", commit if repo else "")
        etag = self._etag(exchange.manner, self.shelf.version(name, file))
        headers = self._hub_headers(exchange.manner, repo, commit, name) if repo else []
        if repo and is_lfs(name) and self.cdn:
            secret = hashlib.sha256(f"{commit}{name}".encode()).hexdigest()
            query = f"Expires={int(time.time()) + 3600}&Signature={secret}"
            there = f"{self.cdn.url}/signed/{commit}/{quote(name)}?{query}"
            plain(exchange.to, 302, [*headers, *named("ETag", etag), ("Location", there)])
        else:
            self._line.send(exchange, file, etag, headers)

    def _signed(self, exchange: Exchange, at: dict[str, str], asks: dict[str, list[str]]) -> None:
        """Answer as a CDN, which has names of its own for versions."""
        name, commit = at["path"], at["commit"]
        file = self._files(commit).get(name)
        if file is None or "Signature" not in asks:
            raise _No(403)
        headers, version = [], f"cdn-{self.shelf.version(name, file)[:16]}"
        if self.cdn is self:  # clients take it for the hub's own answer
            headers = self._hub_headers(exchange.manner, "owner/repo", commit, name)
            version = self.shelf.version(name, file)
        self._line.send(exchange, file, self._etag(exchange.manner, version), headers)

    def _hub_headers(self, manner: Manner, repo: str, commit: str, name: str) -> Headers:
        file = self._files(commit)[name]
        headers = [("X-Repo-Commit", commit)]
        known = is_lfs(name) and self.shelf.sum(file)
        if known:
            headers.append(("X-Linked-Size", str(size(file) + manner.size_lie)))
            headers += named("X-Linked-ETag", self._etag(manner, known))
        if known and (name_in_store := self.shelf.xet_hash(file)):
            token = f"{self.url}/api/models/{repo}/xet-read-token/{commit}"
            headers.append(("X-Xet-Hash", name_in_store))
            headers.append(("Link", f'<{token}>; rel="xet-auth"'))
        return headers

    def _etag(self, manner: Manner, version: str) -> str:
        if not manner.etag:
            return ""
        told = manner.etag if isinstance(manner.etag, str) else version
        return f'"{len(self.asked)}"' if manner.restless else f'"{told}"'


def _listed(folder: Path, sums: Path | None) -> tuple[dict[str, File], dict[Path, str]]:
    """Return the files in a folder by their path in it, and the sums of all by their own."""
    known: dict[str, str] = json.loads(sums.read_text()) if sums else {}
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [path for path in found if sums is None or not path.samefile(sums)]
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return dict(names), {path: known.get(name) or sha256(path) for name, path in names.items()}


def _main() -> None:
    words = argparse.ArgumentParser(prog="python -m tests.fakes.hub")
    words.add_argument("folder", type=Path)
    words.add_argument("--port", type=int, default=0)
    words.add_argument("--commit", default=COMMIT)
    words.add_argument("--sums", type=Path, help='JSON: {"PATH": "sha256"}')
    words.add_argument("--rate", type=float, default=0, help="bytes a second, all together")
    said = words.parse_args()
    files, sums = _listed(said.folder, said.sums)
    ends = {signal.SIGINT, signal.SIGTERM}
    for each in ends:
        signal.signal(each, signal.default_int_handler)  # a background job has SIGINT ignored
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    manner = Manner(rate=said.rate)
    with FakeHub(files, manner, commit=said.commit, sums=sums, port=said.port) as hub:
        print(hub.url, flush=True)
        signal.sigwait(ends)
    asked = [[each.method, each.path, each.range, each.sent] for each in hub.asked]
    print(json.dumps({"body_bytes": hub.body_bytes, "asked": asked}), flush=True)


if __name__ == "__main__":
    _main()
