"""Which sha256 the hub publishes for the files of a commit, as it said when it was last asked.

The hub's cache keeps bytes under their sha256 and links names to them. Where no links can be made
(Windows without developer mode, exFAT, some network file systems), and in a cache that was copied
with its links followed, the names hold the bytes themselves, and nothing there says what they
should be. What lies at a commit never changes, so what is known here stays right.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from runner.base.paths import state_dir
from runner.base.state import JsonState
from runner.catalog.model import ModelFile

_MOST: Final = 2_000  # files; the oldest are forgotten first


class Published(msgspec.Struct, frozen=True):
    """What a file at a commit is: its sha256 and its bytes."""

    sha256: str
    bytes: int


_STATE: Final = JsonState(
    lambda: state_dir() / "published.json", dict[str, Published], dict[str, Published]
)


def remember(files: Iterable[ModelFile]) -> None:
    """Remember what the hub says of some files; a disk that cannot be written is no error."""
    new = {
        _key(file.repo, file.revision, file.path): Published(file.sha256, file.bytes)
        for file in files
        if file.source == "hf" and file.sha256
    }
    known = recall_all()
    if any(known.get(key) != value for key, value in new.items()):
        _STATE.try_change(lambda old: dict([*(old | new).items()][-_MOST:]))


def recall_all() -> Mapping[str, Published]:
    """Return all that is known, to ask `of` about many files after one reading."""
    return _STATE.read()


def of(known: Mapping[str, Published], repo: str, commit: str, path: str) -> Published | None:
    """Return what `recall_all` knows of a file."""
    return known.get(_key(repo, commit, path))


def _key(repo: str, commit: str, path: str) -> str:
    return f"{repo}@{commit}/{path}"
