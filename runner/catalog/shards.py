"""Names of model files in a repository: safe paths, and numbered shards. Pure."""

import re
from typing import Final

REPO: Final = r"[\w.-]+/[\w.-]+"
COMMIT: Final = r"[0-9a-f]{40}"
SHA256: Final = r"[0-9a-f]{64}"
# No drive, no leading slash, no `..`: such a path is joined to folders of ours.
PATH: Final = r"(?!.*(^|/)\.{1,2}(/|$))[\w.-]+(/[\w.-]+)*"

MOST: Final = 512  # parts; BF16 in parts of 1 GB has 395
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.ASCII)


def part(path: str) -> tuple[int, int]:
    """Return which part of how many a path's name says that it is, true or not."""
    match = _SHARD.fullmatch(path)
    return (int(match["number"]), int(match["count"])) if match else (1, 1)


def stem(path: str) -> str:
    """Return a path without its number and its ending."""
    match = _shard(path)
    return match["stem"] if match else path.removesuffix(".gguf")


def series(path: str) -> tuple[str, ...]:
    """Return the paths of all parts of the model that `path` is a part of, in order.

    A model in one file has one. llama.cpp opens the first and makes up the others in this way.
    """
    match = _shard(path)
    if match is None:
        return (path,)
    count = int(match["count"])
    return tuple(f"{match['stem']}-{n:05d}-of-{count:05d}.gguf" for n in range(1, count + 1))


def _shard(path: str) -> re.Match[str] | None:
    number, count = part(path)
    return _SHARD.fullmatch(path) if 1 <= number <= count <= MOST else None
