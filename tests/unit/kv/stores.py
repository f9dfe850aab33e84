"""Stores for tests: prompts of a few words, and an engine that writes bytes in place of a cache."""

from pathlib import Path

from runner.kv.depends import Depends
from runner.kv.policy import Bounds
from runner.kv.prompt import Prompt, part
from runner.kv.saved import Pending, Saved
from runner.kv.store import Store

DEPENDS = Depends("embedded 1", "weights", "projector", "", "q8_0")
WIDE = Bounds(1 << 30, 0, 1 << 40)
FILE = 1000  # bytes of a file, where a test does not say


def conversation(*messages: str, system: str = "You are kind.") -> Prompt:
    """Return a prompt of a system prompt and messages, the first of them the user's."""
    roles = ("user", "assistant")
    return Prompt(
        (
            part("system", "system prompt", system),
            *(
                part(roles[number % 2], f"message {number}", text)
                for number, text in enumerate(messages, 1)
            ),
        )
    )


def new_store(
    folder: Path, bounds: Bounds = WIDE, depends: Depends = DEPENDS, **named: object
) -> Store:
    return Store(folder / "prompts", depends, bounds, **named)  # type: ignore[arg-type]


def write(store: Store, pending: Pending, data: bytes) -> None:
    """Write as the engine does: with the mode that its umask leaves."""
    (store.slot_folder / pending.name).write_bytes(data)


def save(
    store: Store,
    prompt: Prompt,
    bytes_: int = FILE,
    read_s: float = 10.0,
    owner: str = "",
) -> Saved:
    pending = store.begin(prompt, bytes_, owner)
    assert isinstance(pending, Pending), pending
    write(store, pending, pending.id.encode() * (bytes_ // 16) + b"x" * (bytes_ % 16))
    saved = store.finish(pending, prompt.characters // 4, read_s, bytes_)
    assert isinstance(saved, Saved), saved
    return saved


def files_of(store: Store) -> set[str]:
    return {path.name for path in store.slot_folder.iterdir()}
