"""Taking over model files that another program has brought: found, proven, linked, never copied.

A file is found by its size and its header, since a user may have renamed it; the published sha256
alone decides what it is. Nothing of the other program's is written to.
"""

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import stat_result
from pathlib import Path
from typing import Final, Literal

from runner.base.errors import BadFile, Refused, SteprunError
from runner.base.progress import OnProgress, Phase, Progress
from runner.catalog.model import Geometry, Model, ModelFile
from runner.gguf.header import Header, geometry, kind, read_header
from runner.weights import cache_layout, links, verified, verify
from runner.weights.other_programs import Folder, Walk
from runner.weights.verified import Verdict

Result = Literal["linked", "here", "wrong", "unknown", "unreadable", "refused"]

_STRANGERS: Final = 1_000  # files of no known size whose headers are read; each takes up to 1 s
_AT_ONCE: Final = 16  # files read at the same time; the largest quant has 9, projector and heads
_LOOK_S: Final = 0.1  # between two looks at the threads
_LEAVE_S: Final = 6.0  # a thread has this long to end, one more than those that it waits for
# Model files by name: GGUF, or named by content as the hub's cache and Ollama do.
_LIKELY: Final = re.compile(r"(?i).+\.gguf|(sha256[-:])?[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A file of the catalog. `quant`: empty for what all quants share. `part`: of how many."""

    model: Model
    file: ModelFile
    quant: str = ""
    part: tuple[int, int] = (1, 1)

    @property
    def here(self) -> Path | None:
        """Where the file already is in its place, if it is."""
        return cache_layout.locate(self.file, self.model.name)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A file that may be one of `targets`, the likeliest first. `paths`: all names it has."""

    paths: tuple[Path, ...]
    targets: tuple[Target, ...]
    identity: tuple[int, ...]

    @property
    def path(self) -> Path:
        """The name by which people are told of it."""
        return self.paths[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file. `target`: what it is or was taken for. `why`: of all but `linked`.

    linked: proven, and found by steprun from now on. here: the target is in its place already.
    wrong: not what was published. unknown: a model of the catalog in a form that nobody published a
    hash for, as far as we know. unreadable: it went away, or its disk fails. refused: sound, but
    this system allows no link to it.
    """

    path: Path
    bytes: int
    result: Result
    target: Target | None = None
    model: str = ""
    why: str = ""
    error: SteprunError | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found. `settled`: files of which there is nothing to prove.

    `entries`: names looked at. `skipped` and `cut`: see `runner.weights.other_programs.Walk`.
    """

    candidates: tuple[Candidate, ...]
    settled: tuple[Outcome, ...]
    entries: int = 0
    skipped: int = 0
    cut: bool = False

    @property
    def to_read(self) -> int:
        """Bytes that have to be read to prove all candidates."""
        return sum(candidate.targets[0].file.bytes for candidate in self.candidates)


def targets(models: Iterable[Model]) -> list[Target]:
    """Return all files of some models that can be proven."""
    made: list[Target] = []
    for model in models:
        for quant in model.quants:
            count = len(quant.files)
            made += [Target(model, f, quant.name, (n, count)) for n, f in enumerate(quant.files, 1)]
        shared = (model.projector, model.mtp, *model.mtp_others)
        made += [Target(model, file) for file in shared if file is not None]
    return [target for target in made if target.file.sha256]


# --- finding


def find_adoptable(models: Sequence[Model], folders: Sequence[Folder], tell: OnProgress) -> Found:
    """Look through some folders for files of some models. Changes nothing, proves nothing."""
    wanted = targets(models)
    sizes = {target.file.bytes for target in wanted}
    walk = Walk()
    seen: dict[tuple[int, ...], list[Path]] = {}  # a file that has several names is one file
    for folder in folders:
        tell(Progress(Phase.SEARCHING, detail=str(folder.path)))
        for path, found in walk.files(folder.path):
            if found.st_size in sizes or _LIKELY.fullmatch(path.name):
                seen.setdefault(_identity(found), []).append(path)
    judge = _Judge(models, wanted)
    tell(Progress(Phase.INSPECTING, detail=f"{len(seen)} files"))
    judged = [judge.look(identity, paths) for identity, paths in seen.items()]
    settled = [each for each in judged if isinstance(each, Outcome)]
    candidates: list[Candidate] = []
    for candidate in (each for each in judged if isinstance(each, Candidate)):
        here = [target.here for target in candidate.targets]
        if all(here):  # whichever it is, there is no need of it
            why = f"It is at {here[0]}."
            settled.append(_outcome(candidate, "here", candidate.targets[0], why=why))
        else:
            candidates.append(candidate)
    cut = walk.cut or judge.tired
    return Found(tuple(candidates), tuple(settled), walk.entries, walk.skipped, cut)


def _identity(found: stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class _Judge:
    """Tells by size and header what a file may be."""

    def __init__(self, models: Sequence[Model], wanted: Sequence[Target]) -> None:
        self._wanted = wanted
        self._names = {target.file.name: target for target in wanted}
        self._shapes = [(_trunk(m.geometry), m) for m in models if m.geometry and not m.demo]
        self._strangers = 0
        self.tired = False

    def look(self, identity: tuple[int, ...], paths: list[Path]) -> Candidate | Outcome | None:
        """Return what there is to say of a file, if anything."""
        paths.sort(key=lambda path: path.suffix.lower() != ".gguf")
        path, size = paths[0], identity[2]
        fits = [target for target in self._wanted if target.file.bytes == size]
        named = next((self._names[p.name] for p in paths if p.name in self._names), None)
        if not fits:
            self._strangers += 1
            if self._strangers > _STRANGERS:
                self.tired = True
                return None
        try:
            header = read_header(path)
        except BadFile as error:
            said = fits[0] if fits and not named and _LIKELY.fullmatch(path.name) else named
            return Outcome(path, size, "wrong", said, why=error.why or error.what) if said else None
        except OSError as error:
            why = f"{error.strerror or error}."
            return Outcome(path, size, "unreadable", fits[0], why=why) if fits else None
        fits = [target for target in fits if _agrees(header, target)]
        if fits:
            fits.sort(key=lambda target: not _named(paths, target.file))
            return Candidate(tuple(paths), tuple(fits), identity)
        model = self._same_shape(header)
        if model:
            why = "Nobody published a hash of it that steprun knows."
            return Outcome(path, size, "unknown", model=model, why=why)
        if named:
            whole = named.file.bytes
            why = f"It has {size:,} bytes; the published file has {whole:,}."
            why = "Its header is that of something else." if size == whole else why
            return Outcome(path, size, "wrong", named, why=why)
        return None

    def _same_shape(self, header: Header) -> str:
        try:
            shape = _trunk(geometry(header)) if kind(header) == "model" else None
        except BadFile:
            return ""
        return next((model.name for known, model in self._shapes if known == shape), "")


def _trunk(shape: Geometry) -> Geometry:
    """Return a shape without its draft heads, which some quanters keep in the main file."""
    return replace(shape, mtp_layers=())


def _agrees(header: Header, target: Target) -> bool:
    """Whether a header is of the kind that a catalog file has; its hash is another matter."""
    part = (header.shards.number, header.shards.count) if header.shards else (1, 1)
    if part != target.part:
        return False
    role = {"weights": "model", "projector": "projector", "mtp": "mtp"}[target.file.role]
    return part[0] > 1 or kind(header) == role  # a shard after the first does not say what it is


def _named(paths: Iterable[Path], file: ModelFile) -> bool:
    """Whether a file is named as the catalog's, perhaps behind its repository, or by its hash."""
    ends = (file.name.casefold(), file.sha256 or file.name)
    return any(path.name.casefold().endswith(ends) for path in paths)


# --- proving and linking


def adopt(candidates: Sequence[Candidate], tell: OnProgress) -> list[Outcome]:
    """Prove candidates, and link those that are what they may be; say what became of each.

    What cannot be read or linked does not hold up the others. Each proof is remembered as soon as
    it is made, so that what an interrupted call has read need not be read again.
    """
    named = sorted(candidates, key=lambda c: not _named(c.paths, c.targets[0].file))
    left: dict[Candidate, set[Target]] = {candidate: set() for candidate in named}  # what it is not
    taken: set[Target] = set()
    outcomes: list[Outcome] = []
    while left:
        batch: dict[Target, Candidate] = {}
        for candidate, tried in list(left.items()):
            # One that is not what it seemed to be has to prove that it is a copy of something else.
            open_ = [target for target in candidate.targets if target not in (tried or taken)]
            if not open_:
                outcomes.append(_exhausted(candidate, tried))
                del left[candidate]
            elif (target := next((t for t in open_ if t not in batch), None)) is not None:
                batch[target] = candidate
        for reading in _read(list(batch.items())[:_AT_ONCE], tell):
            outcome = _settle(reading)
            if outcome is None:
                left[reading.candidate].add(reading.target)
                continue
            outcomes.append(outcome)
            del left[reading.candidate]
            if outcome.result in {"linked", "here"}:
                taken.add(reading.target)
    _gather(outcomes)
    return outcomes


def _exhausted(candidate: Candidate, tried: set[Target]) -> Outcome:
    if not tried:
        why = "Another copy of it was taken."
        return _outcome(candidate, "here", candidate.targets[0], why=why)
    why = "Its sha256 is not the one that was published."
    return _outcome(candidate, "wrong", candidate.targets[0], why=why)


def _settle(reading: "_Reading") -> Outcome | None:
    """Link what is proven; None where the file is not this target."""
    candidate, target, file = reading.candidate, reading.target, reading.target.file
    try:
        if isinstance(reading.error, Refused):  # by the disk, before there was anything to link
            return _outcome(candidate, "unreadable", target, why=reading.error.why)
        if reading.error is not None:
            raise reading.error
        if not reading.sound:
            return None
        if _identity(candidate.path.stat()) != candidate.identity:
            return _outcome(candidate, "unreadable", target, why="It changed while it was read.")
        if target.here:
            return _outcome(candidate, "here", target, why=f"It is at {target.here}.")
        link = links.link_adopted(file, target.model.name, candidate.path)
        verified.remember(link, Verdict(file.sha256 or ""))  # a hard link is a name of its own
    except Refused as error:
        return _outcome(candidate, "refused", target, why=error.why, error=error)
    except OSError as error:
        return _outcome(candidate, "unreadable", target, why=f"{error.strerror or error}.")
    return _outcome(candidate, "linked", target)


def _outcome(
    candidate: Candidate,
    result: Result,
    target: Target,
    *,
    why: str = "",
    error: SteprunError | None = None,
) -> Outcome:
    size = target.file.bytes
    return Outcome(candidate.path, size, result, target, target.model.name, why, error)


def _gather(outcomes: Iterable[Outcome]) -> None:
    """Bring the shards of what was linked together with those that the hub's cache has."""
    linked = [o.target for o in outcomes if o.result == "linked" and o.target is not None]
    for model, name in {(target.model, target.quant) for target in linked if target.quant}:
        links.gather(model.quant(name).files, model.name)


class _Stopped(Exception):  # noqa: N818 - not a fault
    """The user has had enough."""


class _Reading(threading.Thread):
    """One file under proof, so that what befalls its disk is its own affair."""

    def __init__(self, candidate: Candidate, target: Target, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.candidate, self.target = candidate, target
        self.done = 0
        self.sound = False
        self.error: BaseException | None = None
        self._stop_asked = stop

    def run(self) -> None:
        """Read it, unless it was proven before and has not changed since."""
        file, path = self.target.file, self.candidate.path
        try:
            if verified.recall(path) == Verdict(file.sha256 or ""):
                self.sound, self.done = True, file.bytes
                return
            (proof,) = verify.prove([(file, path)], self._told)
            self.sound = proof.sound
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            self.error = error

    def _told(self, now: Progress) -> None:
        self.done = now.done
        if self._stop_asked.is_set():
            raise _Stopped


def _read(batch: Sequence[tuple[Target, Candidate]], tell: OnProgress) -> list[_Reading]:
    stop = threading.Event()
    readings = [_Reading(candidate, target, stop) for target, candidate in batch]
    whole = sum(target.file.bytes for target, _ in batch)
    try:
        for reading in readings:
            reading.start()
        while running := [reading for reading in readings if reading.is_alive()]:
            running[0].join(_LOOK_S)
            tell(Progress(Phase.VERIFYING, sum(reading.done for reading in readings), whole))
    finally:
        stop.set()
        for reading in readings:
            if reading.ident is not None:
                reading.join(_LEAVE_S)
    return readings
