"""Prompts by number, and for each the bytes that stand for its KV cache.

Whoever holds a file can tell from its first bytes which prompt and which engine it was saved for,
and from the rest whether it is whole: nothing has to be remembered beside it.
"""

import hashlib
import struct
from pathlib import Path
from typing import Final

from runner.base.files import listed
from runner.kv.depends import Depends
from runner.kv.files import KEY
from runner.kv.policy import Bounds
from runner.kv.prompt import Prompt, part
from runner.kv.saved import Saved
from runner.kv.shelf import Shelf
from runner.kv.store import Store

BOUNDS: Final = Bounds(2 << 20, 0, 1 << 50)
ENGINES: Final = tuple(
    Depends(f"engine {number}", "weights", "", "", "q8_0") for number in range(2)
)
_HEAD: Final = struct.Struct(">16sQQ")


class Wrong(Exception):  # noqa: N818 - the finding of an attack
    """The store gave back, or left behind, what it must not."""


def prompt(number: int) -> Prompt:
    """Return a prompt: one of 8 conversations, and its turn."""
    talk, turns = number % 8, number // 8 % 5 + 1
    return Prompt(
        (
            part("system", "system prompt", "You are kind.\n"),
            *(
                part(
                    "user" if turn % 2 == 0 else "assistant",
                    f"message {turn + 1}",
                    f"{talk} {turn}\n" * 20,
                )
                for turn in range(2 * turns - 1)
            ),
        )
    )


def content(engine: Depends, number: int, size: int) -> bytes:
    """Return `size` bytes (32 at least) that stand for the cache of a prompt."""
    head = _HEAD.pack(bytes.fromhex(engine.key()), number, size)
    return head + hashlib.shake_128(head).digest(max(0, size - len(head)))


def check_given(store: Store, engine: Depends, saved: Saved) -> int | None:
    """Open a file as a gateway does; return its prompt's number, None where it was not given.

    Raises `Wrong` if it is wrong. Another process may have evicted it by the time it is read, as
    it may for an engine.
    """
    name = store.open(saved)
    if name is None:
        return None
    try:
        data = (store.slot_folder / name).read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < _HEAD.size:
        raise Wrong(f"{name} has {len(data)} bytes")
    key, number, size = _HEAD.unpack_from(data)
    if key.hex() != engine.key():
        raise Wrong(f"{name} is of another engine")
    if data != content(engine, number, size):
        raise Wrong(f"{name} is damaged")
    if prompt(number).characters != saved.characters:
        raise Wrong(f"{name} is of another prompt")
    return int(number)


def check_found(store: Store, engine: Depends, number: int) -> None:
    """Look for a prompt, open what is found. Raises `Wrong` if it has less in common than said."""
    asked = prompt(number).chain()
    for match in store.find(prompt(number)):
        given = check_given(store, engine, match.saved)
        if given is not None and prompt(given).chain()[: match.blocks] != asked[: match.blocks]:
            raise Wrong(f"{match.saved.id} does not begin as the prompt does")


def on_disk(folder: Path) -> dict[str, int]:
    """Return the files of the store as they lie on the disk, with their bytes."""
    return {
        path.name: path.lstat().st_size
        for key in listed(folder)
        if KEY.fullmatch(key.name) and not key.is_symlink()
        for path in listed(key)
        if path.suffix in (".kv", ".new") and path.is_file() and not path.is_symlink()
    }


def check_clean(folder: Path) -> int:
    """Check what a start has left; return the number of files. Raises `Wrong`.

    Index and disk agree, all of it is within the budget, and nothing is half.
    """
    shelf = Shelf(folder)
    try:
        if shelf.off:
            raise Wrong(f"The next start is off: {shelf.off}")
        known = {f"{each.id}.kv": each.bytes for each in shelf.listed()}
        found = on_disk(folder)
        if extra := {name for name in found if name not in known}:
            raise Wrong(f"{len(extra)} files are left that no row knows: {sorted(extra)[:3]}")
        total = sum(found.values())
        if total > BOUNDS.budget_bytes:
            raise Wrong(f"{total} bytes are stored, the budget is {BOUNDS.budget_bytes}")
        return len(found)
    finally:
        shelf.close()
