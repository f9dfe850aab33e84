"""Disks that are full, read-only or gone under a store. Needs the right to mount."""

import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path

from kv_attacks.contents import BOUNDS, ENGINES, Wrong, check_given, content, prompt
from runner.kv.saved import Pending, Saved
from runner.kv.store import Store

SIZE = 3 << 20  # of the disk
_FILE = 100_000


def attack(folder: Path) -> list[str]:
    """Return what was tried; raises `Wrong` where a disk gets the better of the store."""
    done = []
    folder.mkdir(parents=True, exist_ok=True)
    for each in (_full, _read_only, _gone):
        try:
            _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder))
        except (OSError, subprocess.CalledProcessError):
            return ["(no right to mount)"]
        try:
            each(folder)
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        done.append(each.__name__.strip("_").replace("_", "-"))
    return done


def _full(disk: Path) -> None:
    """Others fill the disk; everything answers in words, and is as before once there is room."""
    store = _store(disk)
    saved = _save(store, 1)
    pending = store.begin(prompt(2), _FILE)
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    if isinstance(pending, Pending):
        (store.slot_folder / pending.name).touch()
        _refuses(store.finish(pending, 1, 1.0, _FILE))
    _refuses(store.begin(prompt(3), _FILE))
    for number in range(200):  # until its index finds no room for its log
        store.used(saved, 1, 1.0)
        store.find(prompt(number))
    filler.unlink()
    _works_again(store, saved)


def _read_only(disk: Path) -> None:
    """Make the disk read-only between two starts: with files open, the system refuses to."""
    store = _store(disk)
    saved = _save(store, 1)
    store.close()
    _mount("-o", "remount,ro", str(disk))
    store = _store(disk)
    _refuses(store.begin(prompt(3), _FILE))
    _all_calls(store, saved)
    _mount("-o", "remount,rw", str(disk))
    _works_again(store, saved)


def _gone(disk: Path) -> None:
    """Unmount the disk: nothing may be written to the one below its folder."""
    store = _store(disk)
    saved = _save(store, 1)
    subprocess.run(["umount", "-l", str(disk)], check=True)
    _refuses(store.begin(prompt(3), _FILE))
    _all_calls(store, saved)
    if left := list(disk.iterdir()):
        raise Wrong(f"The store was begun again on another disk: {left}")
    _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk))


def _all_calls(store: Store, saved: Saved) -> None:
    calls: tuple[Callable[[], object], ...] = (
        *(lambda: store.find(prompt(1)), lambda: store.open(saved), store.listed, store.totals),
        *(lambda: store.used(saved, 1, 1.0), lambda: store.drop(saved), store.clear),
    )
    for call in calls:
        call()


def _works_again(store: Store, saved: Saved) -> None:
    store._again_at = 0.0  # noqa: SLF001 - it tries again after a minute
    if check_given(store, ENGINES[0], saved) != 1:
        raise Wrong("What was saved before is lost.")
    _save(store, 4)
    if store.off:
        raise Wrong(f"The store stays off: {store.off}")
    store.close()


def _store(disk: Path) -> Store:
    return Store(disk / "store", ENGINES[0], BOUNDS)


def _save(store: Store, number: int) -> Saved:
    pending = store.begin(prompt(number), _FILE)
    if not isinstance(pending, Pending):
        raise Wrong(f"Nothing can be saved: {pending}")
    path = store.slot_folder / pending.name
    path.write_bytes(content(ENGINES[0], number, _FILE))
    finished = store.finish(pending, 1, 1.0, _FILE)
    if not isinstance(finished, Saved):
        raise Wrong(f"Nothing can be saved: {finished}")
    return finished


def _refuses(answer: object) -> None:
    if not isinstance(answer, str) or not answer.endswith("."):
        raise Wrong(f"No refusal in words: {answer!r}")
    print(f"  {answer}")


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)
