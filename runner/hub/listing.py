"""The contents of a repository of the hub at a revision: its commit, and its GGUF files.

One request answers all of it, so that no commit can fall in between. `HfApi.model_info` sends the
same request; its `timeout` (2.4) limits the silence between two pieces, but neither the whole time
nor the length of the answer, and its client follows a redirect from https to http. A mirror is not
trusted that far, so the request is made by `runner.net.http`. No file is downloaded.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from runner.base import units
from runner.base.errors import BadFile, Refused
from runner.base.text import shown
from runner.catalog import shards
from runner.catalog.model import ModelFile
from runner.hub.client import LOG_IN, PATIENCE, Hub
from runner.hub.settings import endpoint
from runner.net.http import NETWORK, ErrorAdvice, Mismatch, errors_for, get_body, parse_json
from runner.net.retry import Patience

MOST_FILES: Final = 10_000
MOST_BYTES: Final = 16 * units.MIB  # a file takes about 300 bytes
MOST_SIZE: Final = 1 << 50  # of one file
TOTAL_S: Final = 60.0  # for the whole answer, all tries together


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

    Raises Refused (offline mode, no access, no such repository), BadFile (not a hub's answer) or
    SteprunError (no such revision, no network, a server in trouble).
    """
    advice = _advice(repo, revision)
    hub = Hub(advice.what)
    url = f"{endpoint()}/api/models/{quote(repo)}/revision/{quote(revision, safe='')}?blobs=true"
    with errors_for(advice):
        data = get_body(
            url, most_bytes=MOST_BYTES, total_s=TOTAL_S, patience=patience, headers=hub.headers
        )
    return read(repo, data)


def read(repo: str, data: bytes) -> Listing:
    """Read the hub's answer; BadFile where it is not one. Odd files in it are counted only."""
    with errors_for(_advice(repo)):
        answer = parse_json(data)
        commit = answer.get("sha") if isinstance(answer, dict) else None
        siblings = answer.get("siblings") if isinstance(answer, dict) else None
        if not (
            isinstance(commit, str)
            and re.fullmatch(shards.COMMIT, commit)
            and isinstance(siblings, list)
        ):
            raise Mismatch("It is not a list of a repository's files.")
        if len(siblings) > MOST_FILES:
            raise Mismatch(f"It lists {len(siblings):,} files; the most is {MOST_FILES:,}.")
    named = [each for each in siblings if _is_gguf(each)]
    files = {file.path: file for each in named if (file := _listed(each))}
    return Listing(repo, commit, tuple(files.values()), len(named) - len(files))


def _advice(repo: str, revision: str = "") -> ErrorAdvice:
    return ErrorAdvice(
        what=f"{shown(repo)} was not looked up.",
        odd=f"The list of files of {shown(repo)} cannot be read.",
        denied=LOG_IN,
        missing="Check the name, and HF_ENDPOINT if it names a mirror.",
        mismatch="A network may ask to sign in; else check HF_ENDPOINT, if it names a mirror.",
        redirect="Use another mirror (HF_ENDPOINT).",
        otherwise=f"{NETWORK}, and try again.",
        thing=f"repository or revision {shown(revision)}",
    )


def _is_gguf(entry: Any) -> bool:
    name = entry.get("rfilename") if isinstance(entry, dict) else None
    return isinstance(name, str) and name.lower().endswith(".gguf")


def _listed(entry: dict[str, Any]) -> ListedFile | None:
    path, size, lfs = entry["rfilename"], entry.get("size"), entry.get("lfs")
    if not re.fullmatch(shards.PATH, path) or type(size) is not int or not 0 < size < MOST_SIZE:
        return None
    sha256 = lfs.get("sha256") if isinstance(lfs, dict) else None
    valid = isinstance(sha256, str) and re.fullmatch(shards.SHA256, sha256)
    return ListedFile(path, size, sha256 if valid else None)


def must_be_verifiable(files: Sequence[ModelFile]) -> None:
    """Raise Refused where the hub has no sha256 for a file; BadFile where two are the same."""
    bare = [file for file in files if file.sha256 is None]
    if bare:
        raise Refused(
            f"{bare[0].name} cannot be verified.",
            why=f"{bare[0].repo} publishes no sha256 for it, so a download could not be checked.",
            next="Download it yourself, then: --model PATH",
        )
    if len({file.sha256 for file in files}) < len(files):
        raise BadFile(
            f"Two files of {files[0].repo} are the same.",
            why="Parts of one model never are.",
            next="Name another quant, or another repository.",
        )
