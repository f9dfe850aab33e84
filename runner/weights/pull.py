"""Download files from the hub into its cache: all at once, each resumed, each verified.

A file appears under its name only when it is complete and has the published sha256, which is
computed during the download. A partial file stays beside its place, whatever interrupts it.
"""

import contextlib
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from runner.base.disk import alone, check_room, explained
from runner.base.errors import BadFile
from runner.base.files import listed
from runner.base.progress import OnProgress, Phase, Progress
from runner.catalog.model import ModelFile
from runner.hub import rate
from runner.hub.client import Hub, HubFile
from runner.net.retry import Patience
from runner.net.transfer import Download, check_digest, download_range, transfer_all
from runner.weights import block_checksums, cache_layout, links, published, verified
from runner.weights.block_checksums import BlockHasher
from runner.weights.verified import Verdict
from runner.weights.verify import BlockDownload, verify_files

# Three quarters of an hour without a byte: a router that restarts, a night's maintenance.
PATIENCE: Final = Patience(tries=50, wait_s=3600.0)
SAMPLE_S: Final = 3.0  # connections begin slowly, and nobody likes to wait
SAMPLE_MOST_S: Final = 20.0  # until the first byte


_OTHER: Final = Progress(Phase.WAITING, detail="another program downloads the same files")


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did. `bytes`: from the network. `resumed`: files partly downloaded before."""

    files: int
    bytes: int
    seconds: float
    resumed: int


def missing(files: Sequence[ModelFile], model: str) -> list[ModelFile]:
    """Return the files to download: missing or incomplete ones. Damage is not looked for."""
    return [file for file in files if cache_layout.locate(file, model) is None]


def remaining_bytes(files: Sequence[ModelFile]) -> int:
    """Return how many bytes of some missing files are still to be downloaded."""
    return sum(
        file.bytes - _begun(file)
        for file in _once(files).values()
        if not (_in_cache(file) or _same_bytes(file))
    )


def _once(files: Sequence[ModelFile]) -> dict[Path, ModelFile]:
    """Return one file for each blob that their bytes are stored in."""
    return {cache_layout.blob_path(file): file for file in files}


def pull(
    files: Sequence[ModelFile],
    model: str,
    report: OnProgress,
    patience: Patience = PATIENCE,
) -> Pulled:
    """Download and verify those of a model's files that are missing.

    Raises BadFile (it is not what was published; nothing of that file is kept), Refused (no disk
    space, no permission) or SteprunError (no network); partial files are kept. Waits for any other
    program that downloads the same file.
    """
    began = time.monotonic()
    wanted = missing(files, model)
    if not wanted:
        return Pulled(0, 0, 0.0, 0)
    folder = cache_layout.hub_cache()
    with explained(folder), contextlib.ExitStack() as held:
        folder.mkdir(parents=True, exist_ok=True)
        waiting = partial(report, _OTHER)
        # In order, so that two pulls never wait for each other.
        for lock in sorted({cache_layout.lock_path(file) for file in wanted}):
            lock.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone(lock, waiting))
        for file in missing(wanted, model):  # another program may have downloaded them meanwhile
            if _in_cache(file):
                links.show(file)
            elif old := _same_bytes(file) or _same_size(file, report):
                verdict, shown = verified.recall(old), links.share(file, old)
                if verdict:  # a second name has none of its own
                    verified.remember(shown, verdict)
        wanted = missing(wanted, model)
        if need := remaining_bytes(wanted):
            check_room(folder, need)
        once = _once(wanted)
        resumed = sum(_begun(file) > 0 for file in once.values())
        hub = Hub()
        downloads = [
            _download(file, HubFile(file, hub, patience), patience) for file in once.values()
        ]
        moving = time.monotonic()
        if downloads:
            transfer_all(downloads, report)
        moved = time.monotonic() - moving
        for file in missing(wanted, model):  # the same bytes under another name
            links.show(file, once[cache_layout.blob_path(file)])
    if shards := [file for file in files if file.role == "weights"]:
        links.gather(shards, model)
    received, took = sum(each.received for each in downloads), time.monotonic() - began
    rate.remember(received, moved)
    return Pulled(len(downloads), received, took, resumed)


def sample(files: Sequence[ModelFile], model: str, seconds: float = SAMPLE_S) -> int | None:
    """Download for a moment, and return bytes a second; partial files are kept for `pull`.

    None where no rate was measured: it was over too soon, or nothing was received for long, or
    another program downloads the same files. Raises as `pull` does.
    """
    began = time.monotonic()
    first: list[tuple[float, int]] = []
    found: list[int] = []

    def report(seen: Progress) -> None:
        now = time.monotonic()
        if seen.phase is Phase.DOWNLOADING and not first:
            first.append((now, seen.done))
        elif seen.phase is Phase.DOWNLOADING and now - first[0][0] > seconds:
            found.append(round((seen.done - first[0][1]) / (now - first[0][0])))
            raise _EnoughError
        if seen == _OTHER or (not first and now - began > SAMPLE_MOST_S):
            raise _EnoughError

    try:
        pull(files, model, report)
    except _EnoughError:
        return (found[0] or None) if found else None
    return None


class _EnoughError(Exception):
    pass


def block_download(patience: Patience = PATIENCE) -> BlockDownload:
    """Return what downloads a block of a file, as `verify_files` repairs with."""
    hub = functools.cache(Hub)  # intact files need no network

    def download(file: ModelFile, start: int, end: int) -> bytes:
        return download_range(HubFile(file, hub(), patience), start, end, patience)

    return download


def _download(file: ModelFile, source: HubFile, patience: Patience) -> Download[BlockHasher]:
    part = cache_layout.part_path(file)
    part.parent.mkdir(parents=True, exist_ok=True)
    sha256 = file.sha256 or ""
    journal = block_checksums.journal(sha256)
    rebooted = part.exists() and part.stat().st_mtime < psutil.boot_time()

    def finish(hasher: BlockHasher) -> None:
        try:
            check_digest(source, hasher.hexdigest(), sha256)
        except BadFile:
            if not hasher.back_out(part):
                part.unlink()
                journal.unlink(missing_ok=True)
            raise
        block_checksums.keep(sha256, hasher.all_checksums())
        journal.unlink(missing_ok=True)  # before the rename: no later pull would find it
        shown = links.settle(file, part)
        verified.remember(shown, Verdict(sha256))

    return Download(
        source,
        part,
        size=file.bytes,
        make=lambda: BlockHasher(journal, rebooted=rebooted),
        finish=finish,
        patience=patience,
    )


def _in_cache(file: ModelFile) -> bool:
    """Return whether another revision of the repository has downloaded the same bytes."""
    blob = cache_layout.blob_path(file)
    if cache_layout.length(blob) != file.bytes:
        return False
    verdict = verified.recall(blob)
    return verdict is None or verdict.intact


def _same_bytes(file: ModelFile) -> Path | None:
    """Return where another revision has the same bytes under its name, by what was published."""
    known = published.recall_all()
    for commit, path in _elsewhere(file):
        promise, verdict = published.of(known, file.repo, commit, file.path), verified.recall(path)
        sha256 = promise.sha256 if promise else verdict and verdict.sha256
        if sha256 == file.sha256 and (verdict is None or verdict.intact):
            return path
    return None


def _same_size(file: ModelFile, report: OnProgress) -> Path | None:
    """Return the same where it is not known what was published, by reading what has the size."""
    known = published.recall_all()
    for commit, path in _elsewhere(file):
        if published.of(known, file.repo, commit, file.path) or verified.recall(path):
            continue
        check = verify_files([(file, path)], report, keep_errors=True)[0]
        if check.intact:
            return path
        verified.forget(path)  # it is another version, which is no damage
    return None


def _elsewhere(file: ModelFile) -> list[tuple[str, Path]]:
    """Return the commits that have a file of the same name and size here, not by a link."""
    snapshots = cache_layout.repo_folder(file.repo) / "snapshots"
    found = [(folder.name, folder / file.path) for folder in listed(snapshots)]
    return [
        (commit, path)
        for commit, path in found
        if commit != file.revision
        and cache_layout.length(path) == file.bytes
        and not path.is_symlink()
    ]


def _begun(file: ModelFile) -> int:
    size = cache_layout.length(cache_layout.part_path(file))
    return size if size and size <= file.bytes else 0  # one that is too long is of no use
