"""Brings the source of an engine to this disk, whole or not at all, and says what it is."""

import hashlib
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from runner.base.disk import alone, check_room, explained
from runner.base.errors import SteprunError, UsageError
from runner.base.progress import WAITING_FOR_ANOTHER, OnProgress, Phase, Progress
from runner.engine.builder import Tree, git, sources_toml
from runner.engine.builder.sources_toml import Carried, Repository
from runner.engine.installed import store
from runner.engine.installed.stamp import Origin
from runner.engine.releases import archive
from runner.net.endpoint import Endpoint
from runner.net.packages import download

DEFAULT: Final = "stepfun"
BRANCH: Final = "step3.7"  # of a repository of the user's own, where none is named
# llama.cpp's tree is 176 MB; a repository of one commit holds it once more, compressed.
ROOM_BYTES: Final = 512 << 20
_REF = re.compile(r"(?![./-])(?!.*(\.\.|//|@\{))[\w./@+-]{1,200}(?<![./])")
_SCHEMES = {"https", "http", "ssh", "file"}
_SSH = re.compile(r"[\w.-]+@[\w.-]+:[\w./~-]+")


def fetch_source(name_or_path: str, progress: OnProgress, *, at: str = "") -> Tree:
    """Return the source that a name of `builds/sources.toml` stands for, or a path.

    A branch is fetched again each time; a tag or a package that is here already is taken as it is.
    A checkout is used where it lies, and never written to; a repository (bare, `PATH.git`, an
    address) is fetched at `at`, else `BRANCH`.

    Raises UsageError (no such source, no such branch), Refused (no git, no pip, no room), BadFile
    (a package is not what was published) or SteprunError (no network).
    """
    if at and not _REF.fullmatch(at):
        raise UsageError(
            f"{at!r} names no branch or tag.",
            why="git knows no such name.",
            next=f"For example: --at {BRANCH}",
        )
    known = sources_toml.sources().get(name_or_path.partition("==")[0])
    if isinstance(known, Carried):
        return _carried(known, name_or_path, at, progress)
    if known is not None and "==" not in name_or_path:
        moves = known.moves or at not in {"", known.ref}
        known = Repository(known.name, known.url, at or known.ref, moves)
        return _repository(known, progress)
    url = _address(name_or_path)
    if url:
        return _repository(Repository("folder", url, at or BRANCH, moves=True), progress)
    return _folder(name_or_path, at)


@contextmanager
def held(tree: Tree, progress: OnProgress) -> Iterator[None]:
    """Keep a source as it is while it is built: whoever would fetch it anew waits.

    Raises `SteprunError` where it was changed between `fetch_source` and this.
    """
    if tree.path.parent != store.work_dir():
        yield  # the user's own folder
        return
    waiting = partial(progress, WAITING_FOR_ANOTHER)
    with alone(tree.path.with_name(f"{tree.path.name}.lock"), waiting):
        now = git.commit(tree.path) or tree.origin.commit
        if not tree.path.is_dir() or now != tree.origin.commit:
            raise SteprunError(
                "The source was changed while it was about to be built.",
                why="Another steprun fetched it anew.",
                next="Try again",
            )
        yield


# --- in a folder of the user's own


def _folder(text: str, at: str) -> Tree:
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise UsageError(
            f"There is no source {text!r}.",
            why=f"It is none of {', '.join(sources_toml.sources())}, and no folder.",
            next="For example: steprun engine build --source llama-cpp-python",
        )
    try:
        made = (path / "CMakeLists.txt").read_text("utf-8", "replace")
    except OSError:
        made = ""
    if not re.search(r'project\(\s*"?llama\.cpp', made):
        raise UsageError(
            f"{path} holds no llama.cpp.",
            why="It has no CMakeLists.txt that makes it.",
            next="Name a checkout of llama.cpp, a repository, or a source such as upstream",
        )
    if at:
        raise UsageError(
            "A folder is built as it is.",
            why=f"{path} is a checkout, and --at is for repositories.",
            next=f"Check {at} out there yourself, or name its repository: {path}/.git",
        )
    return Tree(path, Origin("folder", str(path), commit=git.commit(path)))


# --- in a git repository


def _address(text: str) -> str:
    """Return the address of a repository; empty where the text names none."""
    path = Path(text).expanduser()
    if path.is_dir() and (path / "HEAD").is_file() and (path / "objects").is_dir():
        return str(path.absolute())
    if _SSH.fullmatch(text):
        return text
    if "://" not in text:
        return ""
    try:
        parts = urlsplit(text)
        secret = parts.password is not None or (
            parts.username is not None and parts.scheme != "ssh"
        )
    except ValueError:
        parts, secret = urlsplit(""), False
    why = ""
    if parts.scheme not in _SCHEMES or not text.isprintable() or " " in text:
        why = f"It begins with none of {', '.join(sorted(_SCHEMES - {'http'}))}."
    elif secret:
        why = "It holds a name or a password, which would be kept beside the engine."
    elif parts.scheme == "http" and not Endpoint(text).local:
        why = "What comes over http can be changed on its way."
    if why:
        raise UsageError(
            "The address of the source cannot be used.",
            why=why,
            next="For example: --source https://github.com/ggml-org/llama.cpp.git --at b11429",
        )
    return text


def _repository(source: Repository, tell: OnProgress) -> Tree:
    """Return a tree of one commit; where one was brought before, only what changed is fetched."""
    work = store.work_dir()
    stem = re.sub(r"[^a-z0-9.]+", "-", f"{source.name}-{source.ref}".lower())[:60].strip("-")
    which = hashlib.sha256(f"{source.url} {source.ref}".encode()).hexdigest()[:8]
    place = work / f"src-{stem}-{which}"
    half = work / f"{place.name}.part"
    waiting = partial(tell, WAITING_FOR_ANOTHER)
    with explained(work), alone(work / f"{place.name}.lock", waiting):
        _remove(half)  # of a run that was killed: who knows what it lacks
        before = git.commit(place)
        if before and not source.moves:
            return _tree(place, source, before)
        check_room(work, ROOM_BYTES)
        if place.is_dir():
            place.rename(half)  # whatever happens, a tree that is being changed is not taken
        untouched = bool(before)
        try:
            now = git.clone(half, source.url, source.ref, tell)
            if now != before:
                untouched = False
                git.check_out(half, now, tell)
        except BaseException as error:
            if not untouched:
                _remove(half)
                raise
            half.rename(place)
            if type(error) is SteprunError:  # no network, and there is something to go on with
                error.next += f" - or build what came before: --source {place}"
            raise
        half.rename(place)
        if before:
            news = "as it was" if now == before else f"new, {before[:10]} before"
            tell(
                Progress(Phase.READY, detail=f"{source.name} {source.ref} is at {now[:10]}, {news}")
            )
        return _tree(place, source, now)


def _tree(place: Path, source: Repository, commit: str) -> Tree:
    return Tree(place, Origin(source.name, source.url, source.ref, commit))


# --- inside a Python package


def _carried(source: Carried, text: str, at: str, tell: OnProgress) -> Tree:
    package = source.package
    asked = text.partition("==")[2] or at or package.version
    if asked != package.version:
        raise UsageError(
            f"Of {source.name} only {package.version} can be built.",
            why=f"Its sha256 is known; {asked} would be unpacked and built unchecked.",
            next=f"steprun engine build --source {source.name}, or unpack {asked} yourself and "
            "name the folder: --source PATH",
        )
    work = store.work_dir()
    place = work / f"src-{source.name}-{package.version}-{package.sha256[:8]}"
    waiting = partial(tell, WAITING_FOR_ANOTHER)
    with explained(work), alone(work / f"{place.name}.lock", waiting):
        for left in work.glob(f"{place.name}.part-*"):  # of a run that was killed
            _remove(left)
        if not place.is_dir():
            # pip holds the archive twice while it copies it to its place, and we once more.
            check_room(work, 3 * package.bytes + ROOM_BYTES)
            half = Path(tempfile.mkdtemp(prefix=f"{place.name}.part-", dir=work))
            try:
                got = download(package, half / "pip", tell)
                archive.unpack(got, half / "tree", only=source.folder, progress=tell)
                (half / "tree").rename(place)
            finally:
                _remove(half)
    origin = Origin(source.name, package.name, package.version, source.commit, package.sha256)
    return Tree(place, origin)


def _remove(folder: Path) -> None:
    """Remove a folder, git's read-only files included, which Windows would keep."""
    for path in folder.rglob("*"):
        if not path.is_symlink() and not path.stat().st_mode & stat.S_IWRITE:
            path.chmod(stat.S_IWRITE | stat.S_IREAD)
    shutil.rmtree(folder, ignore_errors=True)
