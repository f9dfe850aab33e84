"""Hostile files: whatever a disk, a program or a stranger can make of what the store wrote."""

import contextlib
import os
import random
import shutil
import socket
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kv_attacks.contents import (
    BOUNDS,
    ENGINES,
    Wrong,
    check_clean,
    check_found,
    check_given,
    content,
    prompt,
)
from runner.kv.saved import Pending, Saved
from runner.kv.store import Store

Attack = Callable[[random.Random, Path, Path], None]


def _cut(dice: random.Random, path: Path, _: Path) -> None:
    os.truncate(path, dice.randrange(path.stat().st_size))


def _grow(dice: random.Random, path: Path, _: Path) -> None:
    with path.open("ab") as file:
        file.write(dice.randbytes(dice.randrange(1, 5000)))


def _flip(dice: random.Random, path: Path, _: Path) -> None:
    with path.open("r+b") as file:
        file.seek(dice.randrange(path.stat().st_size))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ (1 << dice.randrange(8))]))


def _flip_unseen(dice: random.Random, path: Path, other: Path) -> None:
    """Change a byte, and set the time of the change back."""
    before = path.stat()
    _flip(dice, path, other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _hole(_: random.Random, path: Path, __: Path) -> None:
    """Replace the content by zeros, as some file systems do after a power cut."""
    size = path.stat().st_size
    os.truncate(path, 0)
    os.truncate(path, size)


def _giant(_: random.Random, path: Path, __: Path) -> None:
    os.truncate(path, 1 << 42)


def _swap(_: random.Random, path: Path, other: Path) -> None:
    aside = path.with_name("aside")
    path.rename(aside)
    other.rename(path)
    aside.rename(other)


def _other_content(_: random.Random, path: Path, other: Path) -> None:
    shutil.copyfile(other, path)


def _same_length(dice: random.Random, path: Path, _: Path) -> None:
    """Replace it by a whole file of another prompt, of the same length."""
    size = path.stat().st_size
    path.write_bytes(content(ENGINES[0], dice.randrange(40), max(32, size)))


def _rename(dice: random.Random, path: Path, _: Path) -> None:
    path.rename(path.with_name(f"{dice.randbytes(8).hex()}.kv"))


def _unfinish(_: random.Random, path: Path, __: Path) -> None:
    path.rename(path.with_suffix(".new"))


def _to_other_key(_: random.Random, path: Path, other: Path) -> None:
    path.replace(other.parent / path.name)


def _over_other_key(_: random.Random, path: Path, other: Path) -> None:
    shutil.copyfile(path, other)


def _second_name(_: random.Random, path: Path, __: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.with_name("second").hardlink_to(path)


def _same_file_twice(_: random.Random, path: Path, other: Path) -> None:
    other.unlink(missing_ok=True)
    other.hardlink_to(path)


def _link_to(where: str) -> Attack:
    def attack(_: random.Random, path: Path, other: Path) -> None:
        path.unlink()
        path.symlink_to(where or other)

    attack.__name__ = f"_link_to_{where.rpartition('/')[2] or 'other'}"
    return attack


def _link_to_itself(_: random.Random, path: Path, __: Path) -> None:
    """Move the file away, and put a link to it in its place: the content is right."""
    away = path.with_name("away")
    path.replace(away)
    path.symlink_to(away)


def _pipe(_: random.Random, path: Path, __: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _socket(_: random.Random, path: Path, __: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as it, contextlib.suppress(OSError):  # its name has a limit
        it.bind(str(path))


def _folder(_: random.Random, path: Path, __: Path) -> None:
    path.unlink()
    (path / "within").mkdir(parents=True)


def _unreadable(_: random.Random, path: Path, __: Path) -> None:
    path.chmod(0)


def _orphans(dice: random.Random, path: Path, _: Path) -> None:
    for _number in range(50):
        name = f"{dice.randbytes(8).hex()}{dice.choice(('.kv', '.new'))}"
        path.with_name(name).write_bytes(dice.randbytes(100))


def _strangers(dice: random.Random, path: Path, _: Path) -> None:
    for folder in (path.parent, path.parent.parent):
        for number in range(100):
            (folder / f"stranger {number} {dice.random()}").touch()


def _key_is_link(_: random.Random, path: Path, other: Path) -> None:
    if path.parent != other.parent:
        shutil.rmtree(path.parent)
        path.parent.symlink_to(other.parent)


def _key_is_file(_: random.Random, path: Path, __: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("no folder")


def _key_gone(_: random.Random, path: Path, __: Path) -> None:
    shutil.rmtree(path.parent)


def _all_gone(_: random.Random, path: Path, __: Path) -> None:
    shutil.rmtree(path.parents[1])


def _index(change: Callable[[random.Random, Path], None]) -> Attack:
    def attack(dice: random.Random, path: Path, _: Path) -> None:
        change(dice, path.parents[1] / "index.sqlite")

    attack.__name__ = f"index{change.__name__}"
    return attack


def _sql(name: str, *statements: str) -> Attack:
    def change(_: random.Random, path: Path) -> None:
        db = sqlite3.connect(path, isolation_level=None)
        with contextlib.closing(db), contextlib.suppress(sqlite3.Error):
            for each in statements:
                db.execute(each)

    change.__name__ = f"_{name}"
    return _index(change)


def _nonsense(dice: random.Random, path: Path) -> None:
    path.write_bytes(dice.randbytes(dice.randrange(1, 50_000)))


def _cut_index(dice: random.Random, path: Path) -> None:
    os.truncate(path, dice.randrange(path.stat().st_size))


def _scratched(dice: random.Random, path: Path) -> None:
    with path.open("r+b") as file:
        for _ in range(20):
            file.seek(dice.randrange(path.stat().st_size))
            file.write(dice.randbytes(8))


def _gone(_: random.Random, path: Path) -> None:
    path.unlink()


def _log_nonsense(dice: random.Random, path: Path) -> None:
    path.with_name(path.name + "-wal").write_bytes(dice.randbytes(40_000))


def _index_pipe(_: random.Random, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _index_link(_: random.Random, path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("victim"))


def _lock_pipe(_: random.Random, path: Path) -> None:
    path.with_suffix(".lock").unlink(missing_ok=True)
    os.mkfifo(path.with_suffix(".lock"))


def _lock_folder(_: random.Random, path: Path) -> None:
    path.with_suffix(".lock").unlink(missing_ok=True)
    path.with_suffix(".lock").mkdir()


ATTACKS: tuple[Attack, ...] = (
    *(_cut, _grow, _flip, _flip_unseen, _hole, _giant, _swap, _other_content, _same_length),
    *(_rename, _unfinish, _to_other_key, _over_other_key, _second_name, _same_file_twice),
    *(_link_to(""), _link_to("/dev/zero"), _link_to("/etc/passwd"), _link_to_itself),
    *(_pipe, _socket, _folder, _unreadable, _orphans, _strangers),
    *(_key_is_link, _key_is_file, _key_gone, _all_gone),
    *map(_index, (_nonsense, _cut_index, _scratched, _gone, _log_nonsense)),
    *map(_index, (_index_pipe, _index_link, _lock_pipe, _lock_folder)),
    _sql("newer", "PRAGMA user_version = 99"),
    _sql("without_a_table", "DROP TABLE chains"),
    _sql("with_a_trigger", "CREATE TRIGGER t AFTER INSERT ON saved BEGIN DELETE FROM saved; END"),
    _sql("escaping", "UPDATE saved SET id = '../../etc' || number"),
    _sql("other_types", "UPDATE saved SET worth = 'much', sha256 = 10000000000"),
    _sql("other_keys", "UPDATE saved SET depends = (SELECT min(depends) FROM saved)"),
    _sql("crossed", "UPDATE saved SET sha256 = (SELECT max(sha256) FROM saved)"),
    _sql("huge_sizes", "UPDATE saved SET bytes = 9000000000000000000"),
    _sql("dead_writers", "INSERT INTO pending SELECT id, depends, 1, -1, 0, 0, '' FROM saved"),
)


def attack(folder: Path, count: int, dice: random.Random) -> Counter[str]:
    """Let the store meet so many hostile files; return how often each. Raises `Wrong`.

    Half of them while it runs, half between two starts.
    """
    done: Counter[str] = Counter()
    stores = _opened(folder)
    for number in range(count):
        saved = _filled(stores, dice)
        (engine, target), (other_engine, other) = dice.sample(saved, 2)
        each = ATTACKS[number % len(ATTACKS)]
        restart = dice.random() < 0.5
        if restart:
            _close(stores)
        paths = [
            stores[at].slot_folder / f"{one.id}.kv"
            for at, one in ((engine, target), (other_engine, other))
        ]
        each(dice, *paths)
        done[each.__name__.strip("_")] += 1
        if restart:
            stores = _opened(folder)
        try:
            for at, one in saved:
                check_given(stores[at], ENGINES[at], one)
            for at, store in enumerate(stores):
                check_found(store, ENGINES[at], dice.randrange(40))
            _close(stores)
            check_clean(folder)
        except Wrong as wrong:
            raise Wrong(f"{each.__name__.strip('_')} ({number}): {wrong}") from None
        if (folder / "victim").exists():
            raise Wrong(f"{each.__name__.strip('_')} ({number}): a link was followed")
        stores = _opened(folder)
    _close(stores)
    return done


def _opened(folder: Path) -> list[Store]:
    return [Store(folder, engine, BOUNDS) for engine in ENGINES]


def _close(stores: list[Store]) -> None:
    for each in stores:
        each.close()


def _filled(stores: list[Store], dice: random.Random) -> list[tuple[int, Saved]]:
    """Save until each engine has some files; return them all.

    Damage to the index that is met on the way costs what it knew, and what is being saved.
    """
    for at, store in enumerate(stores):
        why: object = ""
        for _ in range(30):
            if sum(each.depends == ENGINES[at].key() for each in store.listed()) >= 5:
                break
            number, size = dice.randrange(40), dice.randrange(32, 60_000)
            pending = store.begin(prompt(number), size)
            if not isinstance(pending, Pending):
                why = pending
                continue
            path = store.slot_folder / pending.name
            path.write_bytes(content(ENGINES[at], number, size))
            why = store.finish(pending, 1, dice.random(), size)
        else:
            raise Wrong(f"Nothing can be saved: {why}")
    keys = [engine.key() for engine in ENGINES]
    return [(keys.index(each.depends), each) for each in stores[0].listed()]
