"""Adopt model files that another program has downloaded: found, verified, linked, never copied.

A file is found by its size and its header, since a user may have renamed it; the published sha256
alone decides what it is. Nothing of the other program's is written to.
"""

import re
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
from runner.weights.verify import FileCheck

Result = Literal["linked", "here", "wrong", "unknown", "unreadable", "refused"]

_MOST_UNKNOWN: Final = 1_000  # files of unknown size whose headers are read, up to 1 s each
_AT_ONCE: Final = 16  # files read at the same time; the largest quant has 9, projector and heads
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
    def installed(self) -> Path | None:
        """Where the file is installed, if it is."""
        return cache_layout.locate(self.file, self.model.name)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A file that may be one of `targets`, the likeliest first. `paths`: all names it has."""

    paths: tuple[Path, ...]
    targets: tuple[Target, ...]
    identity: tuple[int, ...]

    @property
    def path(self) -> Path:
        """The name that is shown to people."""
        return self.paths[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file. `target`: what it is or was taken for. `why`: of all but `linked`.

    linked: verified, and found by steprun from now on. here: the target is installed already.
    wrong: not what was published. unknown: a model of the catalog in a form that nobody published a
    hash for, as far as we know. unreadable: it was removed, or its disk fails. refused: intact, but
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
    """What a search has found. `settled`: files that need not be verified.

    `entries`: names looked at. `skipped` and `cut`: see `runner.weights.other_programs.Walk`.
    """

    candidates: tuple[Candidate, ...]
    settled: tuple[Outcome, ...]
    entries: int = 0
    skipped: int = 0
    cut: bool = False

    @property
    def to_read(self) -> int:
        """Bytes that have to be read to verify all candidates."""
        return sum(candidate.targets[0].file.bytes for candidate in self.candidates)


def targets(models: Iterable[Model]) -> list[Target]:
    """Return all files of some models that can be verified."""
    made: list[Target] = []
    for model in models:
        if model.ships:
            continue
        for quant in model.quants:
            count = len(quant.files)
            made += [Target(model, f, quant.name, (n, count)) for n, f in enumerate(quant.files, 1)]
        shared = (model.projector, model.mtp, *model.mtp_others)
        made += [Target(model, file) for file in shared if file is not None]
    return [target for target in made if target.file.sha256]


# --- finding


def find_adoptable(models: Sequence[Model], folders: Sequence[Folder], report: OnProgress) -> Found:
    """Look through some folders for files of some models. Nothing is changed or verified."""
    wanted = targets(models)
    sizes = {target.file.bytes for target in wanted}
    walk = Walk()
    seen: dict[tuple[int, ...], list[Path]] = {}  # a file that has several names is one file
    for folder in folders:
        report(Progress(Phase.SEARCHING, detail=str(folder.path)))
        for path, found in walk.files(folder.path):
            if found.st_size in sizes or _LIKELY.fullmatch(path.name):
                seen.setdefault(_identity(found), []).append(path)
    classifier = _Classifier(models, wanted)
    report(Progress(Phase.INSPECTING, detail=f"{len(seen)} files"))
    classified = [classifier.classify(identity, paths) for identity, paths in seen.items()]
    settled = [each for each in classified if isinstance(each, Outcome)]
    candidates: list[Candidate] = []
    for candidate in (each for each in classified if isinstance(each, Candidate)):
        installed = [target.installed for target in candidate.targets]
        if all(installed):  # whichever it is, it is not needed
            why = f"It is at {installed[0]}."
            settled.append(_outcome(candidate, "here", candidate.targets[0], why=why))
        else:
            candidates.append(candidate)
    cut = walk.cut or classifier.gave_up
    return Found(tuple(candidates), tuple(settled), walk.entries, walk.skipped, cut)


def _identity(found: stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class _Classifier:
    """Tells by size and header what a file may be."""

    def __init__(self, models: Sequence[Model], wanted: Sequence[Target]) -> None:
        self._wanted = wanted
        self._names = {target.file.name: target for target in wanted}
        self._shapes = [
            (_trunk(m.geometry), m) for m in models if m.geometry and not (m.demo or m.ships)
        ]
        self._unknown = 0
        self.gave_up = False

    def classify(self, identity: tuple[int, ...], paths: list[Path]) -> Candidate | Outcome | None:
        """Return what a file may be; None for one that is not a model of the catalog."""
        paths.sort(key=lambda path: path.suffix.lower() != ".gguf")
        path, size = paths[0], identity[2]
        fits = [target for target in self._wanted if target.file.bytes == size]
        named = next((self._names[p.name] for p in paths if p.name in self._names), None)
        if not fits:
            self._unknown += 1
            if self._unknown > _MOST_UNKNOWN:
                self.gave_up = True
                return None
        try:
            header = read_header(path)
        except BadFile as error:
            meant = fits[0] if fits and not named and _LIKELY.fullmatch(path.name) else named
            why = error.why or error.what
            return Outcome(path, size, "wrong", meant, why=why) if meant else None
        except OSError as error:
            why = f"{error.strerror or error}."
            return Outcome(path, size, "unreadable", fits[0], why=why) if fits else None
        fits = [target for target in fits if _agrees(header, target)]
        if fits:
            fits.sort(key=lambda target: not _named(paths, target.file))
            return Candidate(tuple(paths), tuple(fits), identity)
        model = self._same_shape(header)
        if model:
            why = "The catalog has no sha256 for it."
            return Outcome(path, size, "unknown", model=model, why=why)
        if named:
            whole = named.file.bytes
            why = f"It has {size:,} bytes; the published file has {whole:,}."
            why = "Its header belongs to another kind of file." if size == whole else why
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


# --- verifying and linking


def adopt(candidates: Sequence[Candidate], report: OnProgress) -> list[Outcome]:
    """Verify candidates, and link those that are what they may be; return what became of each.

    What cannot be read or linked does not hold up the others. Each verdict is remembered at once,
    so that what an interrupted call has read need not be read again.
    """
    named = sorted(candidates, key=lambda c: not _named(c.paths, c.targets[0].file))
    left: dict[Candidate, set[Target]] = {candidate: set() for candidate in named}  # what it is not
    taken: set[Target] = set()
    outcomes: list[Outcome] = []
    while left:
        batch: dict[Target, Candidate] = {}
        for candidate, tried in list(left.items()):
            # One that is not what it seemed to be may still be a copy of something else.
            open_ = [target for target in candidate.targets if target not in (tried or taken)]
            if not open_:
                outcomes.append(_exhausted(candidate, tried))
                del left[candidate]
            elif (target := next((t for t in open_ if t not in batch), None)) is not None:
                batch[target] = candidate
        for candidate, target, check in _verify(list(batch.items())[:_AT_ONCE], report):
            outcome = _link(candidate, target, check)
            if outcome is None:
                left[candidate].add(target)
                continue
            outcomes.append(outcome)
            del left[candidate]
            if outcome.result in {"linked", "here"}:
                taken.add(target)
    _gather(outcomes)
    return outcomes


def _exhausted(candidate: Candidate, tried: set[Target]) -> Outcome:
    first = candidate.targets[0]
    if tried:
        why = "Its sha256 is not the one that was published."
        return _outcome(candidate, "wrong", first, why=why)
    return _outcome(candidate, "here", first, why="Another copy was linked.")


def _link(candidate: Candidate, target: Target, check: FileCheck) -> Outcome | None:
    """Link what is verified; None where the file is not this target."""
    try:
        if isinstance(check.error, Refused):  # by the disk, before anything could be linked
            return _outcome(candidate, "unreadable", target, why=check.error.why)
        if check.error is not None:
            raise check.error
        if not check.intact:
            return None
        if _identity(candidate.path.stat()) != candidate.identity:
            return _outcome(candidate, "unreadable", target, why="It changed while it was read.")
        if target.installed:
            return _outcome(candidate, "here", target, why=f"It is at {target.installed}.")
        link = links.link_adopted(target.file, target.model.name, candidate.path)
        # A hard link is a name of its own.
        verified.remember(link, Verdict(target.file.sha256 or ""))
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
    """Put the shards that were linked beside those in the hub's cache."""
    linked = [o.target for o in outcomes if o.result == "linked" and o.target is not None]
    for model, name in {(target.model, target.quant) for target in linked if target.quant}:
        links.gather(model.quant(name).files, model.name)


def _verify(
    batch: Sequence[tuple[Target, Candidate]], report: OnProgress
) -> list[tuple[Candidate, Target, FileCheck]]:
    """Verify candidates, but for those that were verified before and have not changed since."""
    known, unread = [], []
    for target, candidate in batch:
        if verified.recall(candidate.path) == Verdict(target.file.sha256 or ""):
            check = FileCheck(target.file, candidate.path, intact=True)
            known.append((candidate, target, check))
        else:
            unread.append((candidate, target))
    files = [(target.file, candidate.path) for candidate, target in unread]
    checks = verify.verify_files(files, report, keep_errors=True)
    return known + [(*pair, check) for pair, check in zip(unread, checks, strict=True)]
