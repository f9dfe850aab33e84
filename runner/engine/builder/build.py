"""Builds an engine from a llama.cpp source tree, and resumes where a killed build stopped.

cmake runs under `guard.py`, which ends it and all its compilers when this process ends, however
it ends. A build has a folder of its own, named by all that makes it differ from others: another
source, compiler or definition starts over. The engine is put together beside it, inspected, and
only then gets its place, by a rename.
"""

import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from runner.base import disk, paths
from runner.base.errors import SteprunError
from runner.base.files import make_private_dir, write_private
from runner.base.progress import WAITING_FOR_ANOTHER, OnProgress, Phase, Progress
from runner.base.units import MIB
from runner.engine.builder import Tree, failure_causes
from runner.engine.builder.configure import (
    BuildCommands,
    arguments,
    configure,
    environment,
    targets,
)
from runner.engine.builder.recipe import Recipe
from runner.engine.builder.recipe_rows import Tools
from runner.engine.builder.steps import log_tail, resumable, run_step
from runner.engine.installed import store
from runner.engine.installed.describe import describe
from runner.engine.installed.stamp import Kind, Stamp
from runner.machine.facts import Machine

_LIBRARIES: Final = ("*.so", "*.so.*", "*.dylib", "*.dll")
_NO_PAGE: Final = "building without an embedded UI"  # scripts/ui-assets.cmake of llama.cpp
# What cmake and the compilers read besides their arguments.
VARIABLES: Final = (
    *("CC", "CXX", "CUDACXX", "CUDAHOSTCXX", "HIPCXX"),
    *("CFLAGS", "CXXFLAGS", "CUDAFLAGS", "HIPFLAGS", "LDFLAGS", "CMAKE_PREFIX_PATH"),
)


def plan_build(
    recipe: Recipe, machine: Machine, tools: Tools, tree: Tree
) -> tuple[Path, BuildCommands]:
    """Return the folder of a build, which no other build shares, and what is run to build a tree.

    Nothing is touched. The commit is not part of the folder's name, so that it is known before a
    branch is fetched: what another commit has left in the folder is removed.
    """
    origin = tree.origin
    key = build_key(
        tools,
        *(origin.source, origin.where, origin.version, origin.sha256, str(tree.path)),
        *(arguments(recipe, machine, tools), environment(recipe, machine, tools, tree.path)),
    )
    work = store.work_dir() / f"build-{recipe.backend}-{key}"
    return work, configure(recipe, machine, tools, tree.path, work / "out", number=tree.build)


def build_key(tools: Tools, *facts: object) -> str:
    """Return what tells a build from others: `facts`, its compilers, the variables they read."""
    known = (
        *facts,
        sorted(tools.versions.items()),
        [(variable, os.environ.get(variable)) for variable in VARIABLES],
    )
    return hashlib.sha256(json.dumps(known).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def build(
    recipe: Recipe, machine: Machine, tools: Tools, tree: Tree, progress: OnProgress
) -> store.InstalledEngine:
    """Build an engine and give it its place among the others.

    Waits for another steprun that builds the same. Raises `Refused` (no room) or `SteprunError`
    (it does not compile, or the result is not an engine). On any exception, KeyboardInterrupt
    included, every compiler is stopped, and the next call resumes.
    """
    work, commands = plan_build(recipe, machine, tools, tree)
    waited = False

    def waiting() -> None:
        nonlocal waited
        waited = True
        progress(WAITING_FOR_ANOTHER)

    with disk.explained(work), disk.alone(work.with_suffix(".lock"), waiting):
        # A folder of the user's own may have changed, whatever its commit says.
        made = _installed(tree, commands) if waited or tree.origin.source != "folder" else None
        if made:
            progress(Progress(Phase.READY, detail=f"{made.name} is already installed"))
            return made
        prepare_folder(work, tree.origin.commit)
        taken = store.size(work)
        disk.check_room(store.work_dir(), recipe.build.room_mib * MIB - taken)
        make_private_dir(work / "out")
        resumable(work, lambda: _compile(recipe, commands, work, progress), progress)
        progress(Progress(Phase.INSTALLING))
        engine = _put_together(recipe, tree, commands, work)
    remove_old_builds(work.with_name(f"build-{recipe.backend}"))
    return engine


def name_of(recipe: Recipe, tree: Tree) -> str:
    """Return what an engine is called: its backend, and where its source is from."""
    origin = tree.origin
    parts = (recipe.backend, origin.source, origin.version, origin.commit[:7])
    text = "-".join(part for part in parts if part).lower()
    return re.sub(r"[^a-z0-9._+-]+", "-", text)[:80]


def prepare_folder(work: Path, commit: str) -> None:
    """Make the folder of a build, emptied where it was begun from another commit."""
    begun = work / "commit"
    if not begun.is_file() or begun.read_text("utf-8") != commit:
        shutil.rmtree(work, ignore_errors=True)
        make_private_dir(work)
        write_private(begun, commit)


def remove_old_builds(kin: Path) -> None:
    """Remove what a finished build leaves, and what older ones of its kind left half-made.

    `kin`: the path that the names of all of them begin with.
    """
    for work in kin.parent.glob(f"{kin.name}-*"):
        lock = FileLock(work.with_suffix(".lock"))
        if work.is_dir():
            with suppress(Timeout, OSError), lock.acquire(timeout=0):
                shutil.rmtree(work, ignore_errors=True)


def _installed(tree: Tree, commands: BuildCommands) -> store.InstalledEngine | None:
    """Return an engine that was built from this very source in this very way, if any."""
    wanted = (tree.origin, _definitions(commands))
    found = (e for e in store.engines() if (e.stamp.origin, e.stamp.cmake) == wanted)
    return next(found, None)


def _compile(recipe: Recipe, commands: BuildCommands, work: Path, progress: OnProgress) -> None:
    out, configured = work / "out", work / "configured"
    logs = make_private_dir(paths.state_dir() / "logs")
    if not configured.exists():  # never, or not to its end: what is known of the compiler is not
        (out / "CMakeCache.txt").unlink(missing_ok=True)
        shutil.rmtree(out / "CMakeFiles", ignore_errors=True)
    configured.unlink(missing_ok=True)
    progress(Progress(Phase.CONFIGURING))
    log = logs / f"{work.name}-configure.log"
    if run_step(commands.configure, commands.env, log):
        raise failure_causes.explain(
            f"The build of {recipe.title} could not be configured.", log_tail(log), str(log)
        )
    write_private(configured, "")
    progress(Progress(Phase.COMPILING))
    log = logs / f"{work.name}.log"
    if run_step(commands.build, commands.env, log, progress):
        raise failure_causes.explain(
            f"llama.cpp for {recipe.title} does not compile.", log_tail(log), str(log)
        )
    if _NO_PAGE in log_tail(log):
        progress(Progress(Phase.READY, detail="the engine has no web page: it was not downloaded"))


# --- the engine


def _put_together(
    recipe: Recipe, tree: Tree, commands: BuildCommands, work: Path
) -> store.InstalledEngine:
    """Copy the programs out of the build, inspect them, and give them their place."""
    made = work / "made"
    shutil.rmtree(made, ignore_errors=True)
    place = make_private_dir(made / "bin")
    suffix = ".exe" if os.name == "nt" else ""
    programs = [target + suffix for target in targets(recipe)]
    built = _built(work / "out", programs)
    libraries = [path for pattern in _LIBRARIES for path in sorted(built.glob(pattern))]
    for path in (*(built / program for program in programs), *libraries):
        shutil.copy2(path, place / path.name, follow_symlinks=False)
    stamp = Stamp(
        name=name_of(recipe, tree),
        kind=Kind.SERVER,
        backend=recipe.backend,
        origin=tree.origin,
        program=(f"bin/{programs[0]}",),
        cmake=_definitions(commands),
    )
    return store.add(made, describe([str(place / programs[0])]).complete(stamp))


def _built(out: Path, programs: list[str]) -> Path:
    """Return the folder that the programs were built into; Visual Studio has one more level."""
    for folder in (out / "bin", out / "bin" / "Release"):
        if all((folder / program).is_file() for program in programs):
            return folder
    raise SteprunError(
        "The build ended without an error, but its programs are missing.",
        why=f"Expected in {out / 'bin'}: {', '.join(programs)}.",
        next="Try another source: steprun engine build --source xllamacpp",
    )


def _definitions(commands: BuildCommands) -> tuple[str, ...]:
    return tuple(word for word in commands.configure if word.startswith("-D"))
