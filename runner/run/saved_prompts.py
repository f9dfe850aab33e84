"""How one run keeps the prompts that its engine has read: where, how much, and what they fit."""

import os
import shutil
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runner.base import paths
from runner.base.disk import existing
from runner.base.files import make_private_dir
from runner.base.units import GIB, size
from runner.catalog import shards
from runner.engine.installed import store
from runner.engine.installed.resuming import resuming
from runner.engine.installed.stamp import Kind
from runner.engine.installed.store import InstalledEngine
from runner.kv.depends import Depends
from runner.kv.kept import Kept
from runner.kv.policy import Bounds
from runner.plan.choose import Plan
from runner.plan.launch import LaunchSpec
from runner.plan.memory.kv_cache import saved_bytes
from runner.run.prepare import Prepared
from runner.weights import verified

if TYPE_CHECKING:
    from runner.run.download_missing import Ready  # it brings the hub

# Of what is free; less by what is kept already, so that it comes to a fifth in the end.
SHARE: Final = 4
# Some 40 conversations of 64K tokens in q8_0, 1.6 GiB each.
MOST_BYTES: Final = 64 * GIB
# Less than one conversation of a few thousand tokens is not worth a folder.
_LEAST_BYTES: Final = 64 << 20
# A disk that is almost full is slow, and other programs need room, too.
KEEP_FREE_BYTES: Final = 10 * GIB
# A third of what wears out a common solid-state disk within its warranty: 600 TB in 5 years are
# 328 GB a day (data sheet of Samsung's 990 PRO, 1 TB).
BYTES_A_DAY: Final = 100 * GIB
# The metadata of a GGUF stand at its beginning.
_HEADER_BYTES: Final = 1 << 20


def folder() -> Path:
    """Return the folder of all saved prompts."""
    return paths.cache_dir() / "kv"


def kept(ready: "Ready", disk: int | None) -> Kept | None:
    """Return how a run keeps prompts; None where its engine is best left to itself.

    `disk`: the bytes that they may take, 0 for none, None for a share of what is free.
    """
    prepared = ready.prepared
    config, able = prepared.plan.config, resuming(prepared.engine)
    limits = bounds(disk) if able.keeps else Bounds(0, KEEP_FREE_BYTES, 0)
    found = Kept(
        folder=folder(),
        depends=depends(ready),
        bounds=limits,
        spare_slots=config.spare,
        next_turn="resume_turn" in able.holds,
        restart="resume_restart" in able.holds,
        picture="resume_picture" in able.holds,
        draft_heads="resume_mtp" in able.holds or not config.mtp,
        token_bytes=saved_bytes(prepared.plan.model_spec.geometry, config, config.context, ())
        / config.context,
    )
    return found if found.on_disk or found.spare_slots else None


def with_slots(spec: LaunchSpec, kept: Kept, engine: InstalledEngine) -> LaunchSpec:
    """Return a launch line for whoever chooses the slots, and saves and restores them.

    Makes the folder where they are saved. Raises `Refused` where the disk says no.
    """
    words: list[str] = []
    if kept.on_disk and "--slot-save-path" in engine.stamp.flags:
        place = make_private_dir(kept.slot_folder)
        # The embedded engine wants the separator, llama-server adds it where it is missing.
        words += ["--slot-save-path", f"{place}{os.sep}"]
    if "--slot-prompt-similarity" in engine.stamp.flags:
        # Else the engine puts a short request into the slot that is the most like it.
        words += ["--slot-prompt-similarity", "0"]
    return replace(spec, argv=(*spec.argv, *words))


def bounds(disk: int | None) -> Bounds:
    """Return how much may be kept. `disk`: as asked for, None for a share of what is free."""
    if disk is None:
        free = 0
        with suppress(OSError):
            free = shutil.disk_usage(existing(folder())).free
        disk = min(free // SHARE, free - KEEP_FREE_BYTES, MOST_BYTES)
        disk = disk if disk >= _LEAST_BYTES else 0
    return Bounds(disk, KEEP_FREE_BYTES, BYTES_A_DAY)


def in_words(prepared: Prepared, disk: int | None) -> str:
    """Say where prompts are kept, and how much they may take; empty where none are."""
    if not prepared.plan.fits or not resuming(prepared.engine).keeps:
        return ""
    if most := bounds(disk).budget_bytes:
        return f"Up to {size(most)} of prompts that were read are kept in {folder()} (--kv-disk)."
    return "" if disk == 0 else f"Prompts are not kept: the disk of {folder()} is almost full."


# --- what a saved prompt fits


def depends(ready: "Ready") -> Depends:
    """Return everything that a saved prompt of this run depends on; no large file is read."""
    plan, files = ready.prepared.plan, ready.files
    known = verified.recall_all()
    names = shards.series(files.weights.name)
    parts = [files.weights.with_name(name) for name in names]
    return Depends(
        engine=_engine(ready.prepared.engine),
        weights=" ".join(_file(part, known) for part in parts),
        projector=_file(files.projector, known) if plan.config.projector else "",
        draft_heads=_heads(plan, files.mtp, known),
        kv_type=plan.config.kv_type + _streams(plan),
    )


def _streams(plan: Plan) -> str:
    """Return how many caches lie side by side; an engine takes no file of another number."""
    streams = plan.config.streams
    return f" in {streams} caches" if streams > 1 else ""


def _heads(plan: Plan, path: Path | None, known: verified.Verdicts) -> str:
    if not plan.config.mtp:
        return ""
    where = _file(path, known) if path else "in the main file"
    return f"{where} {plan.settings.mtp_tokens} tokens"


def _engine(engine: InstalledEngine) -> str:
    """Return what tells an engine's program from any other."""
    stamp = engine.stamp
    if stamp.kind is Kind.EMBEDDED:
        return f"{engine.name} {stamp.version} {_package('xllamacpp')}"
    origin = stamp.origin
    words = (engine.name, stamp.version, origin.version, origin.commit, origin.sha256, stamp.made)
    return " ".join((*words, store.content(engine.program[0])))


def _package(name: str) -> str:
    """Return a digest of a package's files: of the list of their own that its wheel brought."""
    try:
        return _digest((distribution(name).read_text("RECORD") or "").encode())
    except PackageNotFoundError:
        return ""


def _file(path: Path | None, known: verified.Verdicts) -> str:
    """Return what tells a file from any other: its SHA-256, or else size, time and beginning."""
    if path is None:
        return ""
    verdict = verified.of(known, path)
    if verdict and verdict.intact:
        return verdict.sha256
    found = path.stat()
    with path.open("rb") as file:
        header = _digest(file.read(_HEADER_BYTES))
    return f"{found.st_size} {found.st_mtime_ns} {header}"


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
