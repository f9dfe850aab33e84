"""The file of the API keys: read strictly at the start, made where there is none, and re-read."""

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runner.base import paths
from runner.base.errors import Refused
from runner.base.files import write_private
from runner.base.shell import quoted
from runner.gateway.admission.keys import FIRST, KeyLines, read_lines

_LONGEST_FILE: Final = 1 << 20  # bytes: some 10,000 keys; a larger file is another kind of file
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_KEY_BYTES: Final = 32  # random ones; 43 letters


def own_file() -> Path:
    """Return where steprun keeps the keys that it makes itself."""
    return paths.config_dir() / "server.key"


def new_key() -> str:
    """Return a key that nobody can guess."""
    return secrets.token_urlsafe(_KEY_BYTES)


def make(path: Path) -> bool:
    """Make a file with one key where there is none; return whether it was made."""
    if path.exists():
        return False
    write_private(path, f"{FIRST} {new_key()}\n")
    return True


def load(path: Path) -> Mapping[str, str]:
    """Return the keys of a file. Raises Refused where it is not as safe as a key must be."""
    try:
        found, private = _read(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise Refused(
            f"The key file {path} cannot be read.",
            why=f"{error}.".replace("..", "."),
            next="Leave --api-key-file out: steprun serve then creates a key of its own.",
        ) from error
    if not private:
        raise Refused(
            f"Other users of this computer can read the key file {path}.",
            why="Whoever reads the file can use the server.",
            next=f"Keep it to yourself: chmod 600 {quoted(str(path))}",
        )
    if found.faults:
        raise Refused(
            f"The key file {path} has a line that cannot be used.",
            why=" ".join(found.faults[:3]),
            next=f"Delete it, then make one: steprun key new NAME --file {quoted(str(path))}",
        )
    if not found.keys:
        raise Refused(
            f"The key file {path} holds no key.",
            why="It is empty, or all its lines are comments.",
            next=f"Make a key: steprun key new NAME --file {quoted(str(path))}",
        )
    return found.keys


def _read(path: Path) -> tuple[KeyLines, bool]:
    """Return what a file says, and whether only its owner can read it."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        data = file.read(_LONGEST_FILE + 1)
    if len(data) > _LONGEST_FILE:
        raise ValueError("The file is larger than 1 MiB")
    return read_lines(data.decode("utf-8")), is_private(mode)


def is_private(mode: int) -> bool:
    """Whether a file of this mode can be used by its owner only; Windows has no such bits."""
    return os.name != "posix" or not mode & _OTHERS


class KeyRing:
    """The keys of a file, as it is now: a key that was removed from it is refused soon after.

    What was allowed before never stays allowed because the file cannot be read: then nobody has a
    key.
    """

    def __init__(self, path: Path, keys: Mapping[str, str]) -> None:
        self.path = path
        self.keys = keys
        self._seen: tuple[int, ...] | None = None  # read once more: it may have changed since

    def refresh(self) -> str | None:
        """Read the file again if it has changed; return what to tell the operator about it."""
        mark = self._mark()
        if mark == self._seen:
            return None
        self._seen = mark
        try:
            found, private = _read(self.path)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            self.keys = {}
            return f"The key file {self.path} cannot be read ({error}): nobody has a key now."
        faults = list(found.faults)
        if not private:
            faults.append(f"Other users can read it: chmod 600 {quoted(str(self.path))}")
        if found.keys == self.keys and not faults:
            return None
        self.keys, count = found.keys, len(found.keys)
        news = f"Read {self.path} again: {count} {'key' if count == 1 else 'keys'}."
        return " ".join([news, *faults])

    def _mark(self) -> tuple[int, ...]:
        try:
            about = self.path.stat()
        except OSError:
            return ()
        return about.st_mtime_ns, about.st_size, about.st_ino, about.st_mode


def change(path: Path, name: str, key: str | None) -> bool:
    """Give a name a key, or take its key away (None); return whether it had one.

    Every other line stays as it is. Raises Refused where the file cannot be read or written.
    """
    try:
        text = path.read_text("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"The key file {path} cannot be read.", why=f"{error}.") from error
    lines = text.splitlines()
    held = read_lines(text).keys.get(name)
    kept = [line for line in lines if held is None or line.split()[-1:] != [held]]
    if key is not None:
        kept.append(f"{name} {key}")
    write_private(path, "".join(f"{line}\n" for line in kept))
    return held is not None
