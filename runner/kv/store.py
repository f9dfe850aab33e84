"""Saved KV caches of one engine and model: found, written, opened, and in bounds.

A file is begun (room is made, a row says who writes it), written by the engine, finished (length,
disk, checksum, name, index: in this order) and from then on given back only if it is what was
finished. Whatever ends a process in between, the next start removes what is half.
"""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from io import FileIO
from itertools import accumulate
from pathlib import Path
from typing import Final

from runner.base import disk
from runner.base.units import size
from runner.kv import files, policy
from runner.kv.depends import Depends
from runner.kv.opened import Opened
from runner.kv.policy import Bounds
from runner.kv.prompt import Prompt
from runner.kv.saved import Match, Pending, Saved, hashes_of, is_shared, title_of
from runner.kv.shelf import Shelf

FAILURES: Final = 2  # a cache that an engine read in vain so often goes
OWNER_CHARACTERS: Final = 100
_YEAR_S: Final = 366.0 * 86400
_COUNT: Final = 1 << 53  # what a number of an engine may be at most


class Store(Shelf):
    """The saved caches that one engine may be given.

    Nothing raises what the disk does. Safe to use from any thread; methods other than `find` may
    take as long as the disk does.
    """

    def __init__(
        self,
        folder: Path,
        depends: Depends,
        bounds: Bounds,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.bounds = bounds
        self._depends = depends.key()
        self._opened = Opened()
        self._writing: dict[str, Pending] = {}
        self._left: dict[str, Pending] = {}
        super().__init__(folder, now)
        self._attempt(self._shrink, None)

    @property
    def slot_folder(self) -> Path:
        """Where the engine writes and reads files: its `--slot-save-path`."""
        return self.folder / self._depends

    def close(self) -> None:
        """Give up what is being written, and let go of the index."""
        for pending in list(self._writing.values()):
            self.abandon(pending)
        super().close()

    # ------------------------------------------------------------------ reading

    def find(self, prompt: Prompt, most: int = 4) -> tuple[Match, ...]:
        """Return the files that have the most of a prompt, from its beginning; the longest first.

        Nothing is looked up on the disk but the index.
        """
        hashes = hashes_of(prompt, self._depends)
        nothing: list[tuple[Saved, int]] = []
        found = self._attempt(lambda: self._index.longest(hashes, most, self._depends), nothing)
        lengths = (block.characters for part in prompt.parts for block in part.blocks)
        ends = tuple(accumulate(lengths)) if found else ()
        return tuple(Match(saved, depth, ends[depth - 1]) for saved, depth in found)

    def open(self, saved: Saved) -> str | None:
        """Return the name of a file for the engine, if it is what was finished; else None.

        One that is not is removed. Reads the whole file, unless this process did since it was last
        changed. It is not evicted while the engine reads it.
        """
        return self._attempt(lambda: self._open(saved), None)

    def _open(self, saved: Saved) -> str | None:
        found = self._index.one(saved.id)
        if found is None or found[0].depends != self._depends:
            return None
        self._opened.pin(saved.id)
        name = files.saved_name(saved.id)
        try:
            self._key_folder(self._depends)  # a link to another key's is no place for this one
            with files.opened(self.slot_folder / name) as file:
                self._check(file, *found)
        except files.NotWhole:
            self._drop(saved.id)
            return None
        return name

    def _check(self, file: FileIO, saved: Saved, sha256: bytes) -> None:
        before = files.state_of(file)
        if before.bytes != saved.bytes:
            raise files.NotWhole("Its length is another.")
        if self._opened.is_whole(saved.id, before):
            return
        if files.digest(file) != sha256 or files.state_of(file) != before:
            raise files.NotWhole("Its content is another.")
        self._opened.found_whole(saved.id, before)

    def used(self, saved: Saved, tokens: int, saved_s: float) -> None:
        """Count a restore that held for `tokens`, and the seconds of prefill that it saved.

        `tokens` 0: the engine read the prompt again all the same. Twice so, and the file goes.
        """

        def work() -> None:
            with self._index.change() as db:
                if tokens > 0:
                    found = self._index.one(saved.id)
                    if found is None:
                        return
                    one = found[0]
                    worth = policy.worth(
                        one.read_s, one.restores + 1, one.bytes, self._index.clock()
                    )
                    db.execute(
                        "UPDATE saved SET restores = restores + 1, saved_s = saved_s + ?, "
                        "used = ?, worth = ?, failures = 0 WHERE id = ?",
                        (_seconds(saved_s), self._now(), worth, saved.id),
                    )
                    return
                db.execute("UPDATE saved SET failures = failures + 1 WHERE id = ?", (saved.id,))
                (failed,) = db.execute(
                    "SELECT total(failures) FROM saved WHERE id = ?", (saved.id,)
                ).fetchone()
            if failed >= FAILURES:
                self._drop(saved.id)

        self._opened.unpin(saved.id)
        self._attempt(work, None)

    def drop(self, saved: Saved) -> None:
        """Remove a file."""
        self._attempt(lambda: self._drop(saved.id), None)

    def _drop(self, *ids: str) -> None:
        gone = [found[0] for each in ids if (found := self._index.one(each)) is not None]
        with self._index.change():
            self._index.forget(ids)
        self._remove(gone)

    def _remove(self, gone: Collection[Saved]) -> None:
        super()._remove(gone)
        for each in gone:
            self._opened.forget(each.id)

    # ------------------------------------------------------------------ writing

    def begin(
        self,
        prompt: Prompt,
        bytes: int,  # noqa: A002 - a size
        owner: str = "",
        ahead: int = 0,
    ) -> Pending | str:
        """Make room for a cache of about so many bytes, which the engine is about to write.

        Returns what to hand to `finish` or `abandon`, or why it is not saved, in sentences.
        `owner`: the chat that it is of; with it, it is removed. `ahead`: see `Saved`.
        """
        hashes = hashes_of(prompt, self._depends)
        if not hashes:
            return "An empty prompt has no KV cache to save."
        file_id = secrets.token_hex(8)
        pending = Pending(
            id=file_id,
            name=files.new_name(file_id),
            bytes=max(1, bytes),
            hashes=hashes,
            characters=prompt.characters,
            title=title_of(prompt),
            shared=is_shared(prompt),
            owner=owner[:OWNER_CHARACTERS],
            ahead=ahead,
        )
        began = self._attempt(lambda: self._begin(pending), None)
        return self._why_not() if began is None else began

    def _begin(self, pending: Pending) -> Pending | str:
        import psutil  # noqa: PLC0415 - 10 ms

        me = psutil.Process()
        self._key_folder(self._depends)
        day = self._day()
        row = (pending.id, self._depends, pending.bytes, me.pid, me.create_time(), day)
        for each in list(self._left.values()):
            self._abandon(each)
        with self._index.change() as db:
            why = policy.refused(self.bounds, pending.bytes, self._index.written(day))
            gone = why or self._evict(pending.bytes)
            if isinstance(gone, str):
                return gone
            db.execute("INSERT INTO pending VALUES(?, ?, ?, ?, ?, ?, ?)", (*row, pending.owner))
            self._index.written(day, pending.bytes)
        self._remove(gone)
        self._writing[pending.id] = pending
        return pending

    def finish(
        self, pending: Pending, tokens: int, read_s: float, written: int | None = None
    ) -> Saved | str:
        """Keep what the engine wrote; return it, or why it is not kept.

        `read_s`: seconds of prefill that it stands for. `written`: bytes that the engine says it
        wrote, which the file must have.
        """
        if pending.id not in self._writing:
            return "This KV cache is not being saved any more."
        finished = self._attempt(lambda: self._finish(pending, tokens, read_s, written), None)
        if not isinstance(finished, Saved):
            self.abandon(pending)
            return self._why_not() if finished is None else finished
        self._writing.pop(pending.id, None)
        return finished

    def _finish(
        self, pending: Pending, tokens: int, read_s: float, written: int | None
    ) -> Saved | str:
        path = self.slot_folder / pending.name
        try:
            with files.opened(path, write=True) as file:
                files.make_private(path, file)
                before = files.state_of(file)
                if before.bytes < 1 or written not in (None, before.bytes):
                    return (
                        f"The engine says that it saved {written:,} bytes, and the file has "
                        f"{before.bytes:,}."
                    )
                if before.bytes > self.bounds.budget_bytes:
                    return policy.refused(self.bounds, before.bytes, 0)
                os.fsync(file.fileno())
                sha256 = files.digest(file)
                files.leave_memory(file)
            whole = self.slot_folder / files.saved_name(pending.id)
            path.replace(whole)
            disk.sync_folder(self.slot_folder)
            with files.opened(whole) as file:
                after = files.state_of(file)
        except files.NotWhole as error:
            return f"The KV cache that the engine saved cannot be used. {error}"
        now = self._now()
        saved = Saved(
            id=pending.id,
            tokens=max(0, min(tokens, _COUNT)),
            characters=pending.characters,
            bytes=after.bytes,
            made=now,
            used=now,
            read_s=_seconds(read_s),
            restores=0,
            saved_s=0.0,
            title=pending.title,
            blocks=len(pending.hashes),
            depends=self._depends,
            owner=pending.owner,
            ahead=pending.ahead,
        )
        if before != replace(after, changed_ns=before.changed_ns):
            return "The KV cache was changed while it was being saved."
        kept = self._enter(pending, saved, sha256)
        if isinstance(kept, Saved):
            self._opened.found_whole(saved.id, after)
        return kept

    def _enter(self, pending: Pending, saved: Saved, sha256: bytes) -> Saved | str:
        """Put a finished file into the index, in place of what it makes superfluous."""
        with self._index.change() as db:
            row = self._index.pending(saved.id)
            if row is None:
                return "This KV cache was removed while it was being saved."
            reserved, day = row
            db.execute("DELETE FROM pending WHERE id = ?", (saved.id,))
            self._index.written(day, saved.bytes - reserved)
            number = self._index.insert(
                saved, sha256, pending.hashes, shared=pending.shared, worth=0.0
            )
            covered = self._index.covered(number, pending.hashes, self._depends)
            # A conversation stays as likely to be used as it was a turn ago.
            saved = replace(
                saved,
                restores=max((each.restores for each in covered), default=0),
                saved_s=sum((each.saved_s for each in covered), 0.0),
            )
            worth = policy.worth(saved.read_s, saved.restores, saved.bytes, self._index.clock())
            db.execute(
                "UPDATE saved SET restores = ?, saved_s = ?, worth = ? WHERE id = ?",
                (saved.restores, saved.saved_s, worth, saved.id),
            )
            self._index.forget(each.id for each in covered)
            # It may be larger than was said. Then it makes room for itself, or goes.
            gone = self._evict(0, without=saved.id)
            if isinstance(gone, str):
                self._index.forget([saved.id])
        self._remove(covered)
        if isinstance(gone, str):
            return gone
        self._remove(gone)
        return saved

    def abandon(self, pending: Pending) -> None:
        """Remove what the engine has written of a cache that is not kept."""
        self._writing.pop(pending.id, None)
        self._left[pending.id] = pending  # until it is done: the disk may be gone for a while
        self._attempt(lambda: self._abandon(pending), None)

    def _abandon(self, pending: Pending) -> None:
        paths = [self.slot_folder / name(pending.id) for name in (files.new_name, files.saved_name)]
        with self._index.change() as db:
            row = self._index.pending(pending.id)
            db.execute("DELETE FROM pending WHERE id = ?", (pending.id,))
            if row is not None:
                reserved, day = row
                self._index.written(day, sum(map(_bytes_of, paths)) - reserved)
        if self._index.one(pending.id) is None:
            for path in paths:
                files.remove(path)
        self._left.pop(pending.id, None)

    # ------------------------------------------------------------------ bounds

    def _shrink(self) -> None:
        """Come back within the bounds, which may be narrower than the last time."""
        with self._index.change():
            self._index.set_bounds(self.bounds)
            gone = self._evict(0, all_at_most=True)
        if not isinstance(gone, str):
            self._remove(gone)

    def _evict(
        self, need: int, without: str = "", *, all_at_most: bool = False
    ) -> tuple[Saved, ...] | str:
        """Take from the index what must go for `need` bytes more; the files are the caller's.

        Returns why it cannot be done, in a sentence. `without`: a file that stays.
        `all_at_most`: as much as can be done.
        """
        held, pending = self._index.held()
        free = shutil.disk_usage(self.folder).free
        over = held + pending + need - self.bounds.budget_bytes
        short = self.bounds.keep_free_bytes + pending + need - free
        pinned = {*self._opened.pinned(), without}
        must = max(over, short)
        if must <= 0:  # mostly; the worth of thousands of files would fill memory for nothing
            return ()
        kept = [each for each in self._index.kept() if each.id not in pinned]
        if all_at_most:
            must = min(must, sum(each.bytes for each in kept))
        ids = policy.leaving(kept, must)
        if ids is None:
            if over > short:
                most = size(self.bounds.budget_bytes)
                return f"The disk budget for saved prompts ({most}) is in use."
            return (
                f"The disk that holds {self.folder} is too full: {size(free)} free, and saved "
                f"prompts leave {size(self.bounds.keep_free_bytes)}."
            )
        worth = max((each.worth for each in kept if each.id in set(ids)), default=0.0)
        gone = tuple(found[0] for each in ids if (found := self._index.one(each)) is not None)
        self._index.forget(ids)
        self._index.set_clock(worth)
        return gone

    def _why_not(self) -> str:
        return self.off or self.fault


def _seconds(value: float) -> float:
    """Return seconds that are a number, whatever an engine says."""
    return min(max(0.0, value), _YEAR_S)


def _bytes_of(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.lstat().st_size
    return 0
