"""What a repository of the hub holds at a revision: its commit, and its GGUF files with sha256.

One question is answered with all of it, so that no commit can come in between. `huggingface_hub`
asks the same and would wait for the answer for ever, however long it is (2.4: `HfApi.model_info`
sets no time limit); a mirror is not trusted so far. Nothing is fetched.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from huggingface_hub import constants

from runner.base.errors import BadFile, Refused, SteprunError
from runner.catalog import shards
from runner.catalog.model import ModelFile
from runner.hub.address import endpoint
from runner.hub.client import Hub, refusal
from runner.net import web
from runner.net.stream import HttpStatus, HttpStream, Mismatch, Patience, Transient
from runner.net.transfer import ended_after, patiently

MOST_FILES: Final = 10_000
MOST_BYTES: Final = 16 << 20  # a file takes about 300 of them
MOST_SIZE: Final = 1 << 50  # of one file
TOTAL_S: Final = 60.0  # for one answer, whole
PATIENCE: Final = Patience(tries=3)


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A GGUF file: its path, its bytes, and its sha256, which the hub knows of large files only."""

    path: str
    bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The GGUF files of a repository at a commit. `skipped`: those with unusable names or sizes."""

    repo: str
    commit: str
    files: tuple[ListedFile, ...]
    skipped: int = 0

    @property
    def by_path(self) -> Mapping[str, ListedFile]:
        """Its files by their paths."""
        return {file.path: file for file in self.files}


def list_repository(repo: str, revision: str = "main", patience: Patience = PATIENCE) -> Listing:
    """Ask the hub for the files of a repository at a branch, a tag or a commit.

    Raises Refused (offline mode, no leave, no such repository), BadFile (no answer of a hub) or
    SteprunError (no such revision, no network, a server in trouble).
    """
    if constants.is_offline_mode():
        raise Refused(
            f"{web.shown(repo)} was not looked up",
            why="HF_HUB_OFFLINE is set, which says to stay off the network.",
            next="Unset it: unset HF_HUB_OFFLINE",
        )
    hub = Hub()
    url = f"{endpoint()}/api/models/{quote(repo)}/revision/{quote(revision, safe='')}?blobs=true"
    try:
        data = patiently(patience, lambda: _asked(url, hub, patience))
    except HttpStatus as answer:
        raise _refused(repo, revision, answer) from answer
    except Transient as error:
        wait = f" It asks to wait for {error.pause_s:.0f} seconds." if error.pause_s else ""
        raise SteprunError(
            f"{web.shown(repo)} was not looked up",
            why=f"{error}{wait}",
            next="Check the network or the proxy (HTTPS_PROXY), and try again",
        ) from error
    except Mismatch as error:
        raise _odd(repo, str(error)) from error
    except web.RedirectRefused as error:
        raise Refused(
            f"{web.shown(repo)} was not looked up",
            why=str(error),
            next="Use another mirror (HF_ENDPOINT)",
        ) from error
    return read(repo, data)


def read(repo: str, data: bytes) -> Listing:
    """Read the hub's answer; BadFile where it is none. Odd files in it are counted, not taken."""
    try:
        told = json.loads(data)
        commit, siblings = told["sha"], told["siblings"]
        sound = re.fullmatch(shards.COMMIT, commit) and isinstance(siblings, list)
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = None
    if not sound:
        raise _odd(repo, "What came is no list of a repository's files.")
    if len(siblings) > MOST_FILES:
        raise _odd(repo, f"It lists {len(siblings):,} files; the most is {MOST_FILES:,}.")
    named = [each for each in siblings if _is_gguf(each)]
    files = {file.path: file for each in named if (file := _listed(each))}
    return Listing(repo, commit, tuple(files.values()), len(named) - len(files))


def _is_gguf(entry: Any) -> bool:
    name = entry.get("rfilename") if isinstance(entry, dict) else None
    return isinstance(name, str) and name.lower().endswith(".gguf")


def _listed(entry: dict[str, Any]) -> ListedFile | None:
    path, size, lfs = entry["rfilename"], entry.get("size"), entry.get("lfs")
    if not re.fullmatch(shards.PATH, path) or type(size) is not int or not 0 < size < MOST_SIZE:
        return None
    sha256 = lfs.get("sha256") if isinstance(lfs, dict) else None
    sound = isinstance(sha256, str) and re.fullmatch(shards.SHA256, sha256)
    return ListedFile(path, size, sha256 if sound else None)


def must_be_provable(files: Sequence[ModelFile]) -> None:
    """Raise Refused where the hub tells no sha256 of a file; BadFile where two are the same."""
    bare = [file for file in files if file.sha256 is None]
    if bare:
        raise Refused(
            f"{bare[0].name} cannot be proven",
            why=f"{bare[0].repo} tells no sha256 of it, so nobody could say whether it came whole.",
            next="Fetch it yourself, then: --model PATH",
        )
    if len({file.sha256 for file in files}) < len(files):
        raise BadFile(
            f"two files of {files[0].repo} are the same",
            why="Parts of one model never are.",
            next="Name another quant, or another repository",
        )


# --- asking


def _asked(url: str, hub: Hub, patience: Patience) -> bytes:
    # A server that is silent from the beginning is ended by its own limits alone.
    head_s, stall_s = min(patience.head_s, TOTAL_S), min(patience.stall_s, TOTAL_S)
    given = replace(patience, head_s=head_s, stall_s=stall_s)
    stream = HttpStream(url, patience=given, headers=hub.headers)
    try:
        with ended_after(TOTAL_S, stream):
            stream.open()
            body = bytearray()
            for data in stream:
                body += data
                if len(body) > MOST_BYTES:
                    raise Mismatch(f"It sends more than {MOST_BYTES >> 20} MiB.")
            return bytes(body)
    finally:
        stream.close()


def _refused(repo: str, revision: str, answer: HttpStatus) -> SteprunError:
    if answer.status not in {404, 410}:
        return refusal(repo, answer.status, answer.headers)
    return SteprunError(
        f"{web.shown(repo)} was not looked up",
        why=f"There is no such repository there, or no {web.shown(revision)} in it"
        f" (status {answer.status}).",
        next="Check the name, and HF_ENDPOINT if it names a mirror",
    )


def _odd(repo: str, why: str) -> BadFile:
    return BadFile(
        f"{web.shown(repo)} has no list of files that can be read",
        why=why,
        next="A network may ask to sign in; else check HF_ENDPOINT, if it names a mirror",
    )
