"""Makes an engine from llama-cpp-python: an environment of its own, built for this machine.

The package has no wheels, and a plain install compiles for the CPU only. So its source is
downloaded and verified, compiled with the recipe's definitions, and installed beside a copy of
`llama_cpp_python/server`. What a killed run has downloaded and compiled, the next one uses.

An environment can be moved: `bin/python -m NAME` finds all it needs from where it lies. (The
scripts beside it cannot, and nobody runs them.) So it is made where nobody looks, and `store.add`
gives it its place with the stamp in it.
"""

import os
import re
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Final

from runner.base import disk, paths
from runner.base.errors import SteprunError
from runner.base.files import make_private_dir
from runner.base.progress import WAITING_FOR_ANOTHER, OnProgress, Phase, Progress, ignore
from runner.base.shell import shell_line
from runner.base.units import MIB
from runner.engine.builder import failure_causes, needs, sources_toml
from runner.engine.builder.build import build_key, remove_old_builds
from runner.engine.builder.configure import definitions, environment, jobs
from runner.engine.builder.recipe import Recipe
from runner.engine.builder.recipe_rows import Tools
from runner.engine.builder.steps import log_tail, resumable, run_step
from runner.engine.installed import store
from runner.engine.installed.describe import describe
from runner.engine.installed.stamp import Kind, Stamp
from runner.engine.llama_cpp_python import server
from runner.engine.releases.archive import unpack
from runner.machine.facts import Machine
from runner.net import packages

Variables = tuple[tuple[str, str], ...]

_DOWNLOAD: Final = "download"  # the folder that pip downloads to

MODULE: Final = "steprun_server"  # what the server package is called in the environment
# Beside what the recipe says that a build takes; measured on Linux: the archive 77 MB, the source
# 217 MB, the environment 160 MB.
ROOM_BYTES: Final = 460_000_000
# llama.cpp's own switches for what is not needed, and would be downloaded or required.
_PLAIN: Final = ("-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_UI=OFF")
# What pip calls an index that does not answer.
_UNREACHABLE: Final = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|ProxyError|"
    r"SSLError|ProtocolError"
)
# What pip adds to the words of a build: their indentation, and that it has failed.
_PIPS: Final = re.compile(
    r"^ *error: subprocess-exited.*$|^ *ERROR: Failed (?:building|to build).*$|^ {2}", re.MULTILINE
)
_QUIET: Final = (
    *("--no-input", "--no-color", "--progress-bar=off"),
    *("--disable-pip-version-check", "--no-cache-dir"),
)


def install(recipe: Recipe, machine: Machine, progress: OnProgress) -> store.InstalledEngine:
    """Build llama-cpp-python for a machine and give it its place among the engines.

    Waits for another steprun that does the same. Raises `Refused` (something is missing, no room),
    `BadFile` (not the source that was published) or `SteprunError` (no network, it does not
    compile). On any exception, KeyboardInterrupt included, every compiler is stopped, and the next
    call resumes.
    """
    tools = needs.find_tools(recipe, machine)
    work = work_dir(recipe, machine, tools)
    waiting = partial(progress, WAITING_FOR_ANOTHER)
    with disk.explained(work), disk.alone(work.with_suffix(".lock"), waiting):
        taken = store.size(work) if work.is_dir() else 0
        disk.check_room(store.work_dir(), ROOM_BYTES + recipe.build.room_mib * MIB - taken)
        make_private_dir(work)
        source = _source(work, progress)
        wheel = _wheel(recipe.title, variables(recipe, machine, tools, source), source, progress)
        made = _environment(wheel, work, progress)
        engine = _settle(made, recipe, machine, tools)
    remove_old_builds(work.with_name(f"python-{recipe.backend}"))
    return engine


def work_dir(recipe: Recipe, machine: Machine, tools: Tools) -> Path:
    """Return the folder of a build, which other builds do not share."""
    facts = (carried().package.sha256, sys.version, definitions(recipe, machine, tools))
    return store.work_dir() / f"python-{recipe.backend}-{build_key(tools, *facts)}"


def plan_install(recipe: Recipe, machine: Machine, tools: Tools) -> list[str]:
    """Return the commands that `install` would run; nothing is run.

    Raises `Refused` where pip is missing.
    """
    work, package = work_dir(recipe, machine, tools), carried().package
    source, made, wheels = work / "src", work / "made", work / "wheels"
    env = variables(recipe, machine, tools, source)
    wheel = wheels / f"{package.name.replace('-', '_')}-{package.version}-*.whl"
    return [
        f"# {work / _DOWNLOAD / packages.LISTED} holds: {packages.requirement(package)}",
        shell_line(packages.download_command(package, work / _DOWNLOAD)),
        f"# the archive is then unpacked to {source}",
        shell_line(command(work / "half", work / "out", source), env),
        f"# the wheel is then moved to {wheels}",
        shell_line(_new_environment(made)),
        shell_line(_fill_environment(made, wheel)),
    ]


def command(wheel_dir: Path, build_dir: Path, source: Path) -> tuple[str, ...]:
    """Return the command that compiles the package into a wheel, in a folder that is kept."""
    return (
        *(*packages.pip(), "wheel", "--verbose", "--no-deps", *_QUIET),
        *("--wheel-dir", str(wheel_dir), f"--config-settings=build-dir={build_dir}", str(source)),
    )


def variables(recipe: Recipe, machine: Machine, tools: Tools, source: Path) -> Variables:
    """Return what the package's build is to find in its environment."""
    # It takes cmake and ninja from PATH, and downloads its own where they are missing.
    folders = dict.fromkeys(str(Path(path).parent) for path in tools.values.values())
    return (
        ("CMAKE_ARGS", shlex.join([*definitions(recipe, machine, tools), *_PLAIN])),
        ("CMAKE_BUILD_PARALLEL_LEVEL", str(jobs(recipe, machine))),
        ("PATH", os.pathsep.join([os.environ.get("PATH", os.defpath), *folders])),
        *((each, str(source.with_name("tmp"))) for each in ("TMPDIR", "TEMP", "TMP")),
        *environment(recipe, machine, tools, source),
    )


# --- the steps


def carried() -> sources_toml.Carried:
    """Return the package, as `builds/sources.toml` pins it."""
    found = sources_toml.sources()["llama-cpp-python"]
    if not isinstance(found, sources_toml.Carried):
        raise TypeError(found)
    return found


def _source(work: Path, progress: OnProgress) -> Path:
    """Return the package's source, downloaded and unpacked; all of it or nothing."""
    source, half = work / "src", work / _DOWNLOAD
    if not source.is_dir():
        shutil.rmtree(half, ignore_errors=True)
        archive = packages.download(carried().package, half, progress)
        top = carried().folder.partition("/")[0]
        unpack(archive, half / "unpacked", only=top, progress=progress)
        (half / "unpacked").rename(source)
        shutil.rmtree(half, ignore_errors=True)
    return source


def _wheel(title: str, env: Variables, source: Path, progress: OnProgress) -> Path:
    """Return the compiled package; compiled only where that is not done yet."""
    work = source.parent
    wheels, half, tmp = work / "wheels", work / "half", work / "tmp"
    if not wheels.is_dir():
        progress(Progress(Phase.COMPILING))
        for folder in (half, tmp):
            shutil.rmtree(folder, ignore_errors=True)
            make_private_dir(folder)
        what = f"llama-cpp-python for {title} does not compile."
        argv = command(half, work / "out", source)
        resumable(work, lambda: _checked(what, argv, env, work, progress), progress)
        half.rename(wheels)
    (wheel,) = wheels.glob("*.whl")
    return wheel


def _environment(wheel: Path, work: Path, progress: OnProgress) -> Path:
    """Return a folder with an environment in it: the package, what it needs, and our server."""
    progress(Progress(Phase.INSTALLING))
    made = work / "made"
    shutil.rmtree(made, ignore_errors=True)
    venv = make_private_dir(made) / "venv"
    what = "The environment of llama-cpp-python could not be made."
    for argv in (_new_environment(made), _fill_environment(made, wheel)):
        _checked(what, argv, (), work)
    (site,) = (venv / "Lib", *(venv / "lib").glob("python*"))[-1:]
    shutil.copytree(
        Path(server.__file__).parent,
        site / "site-packages" / MODULE,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return made


def _new_environment(made: Path) -> tuple[str, ...]:
    return (sys.executable, "-I", "-m", "venv", "--without-pip", str(made / "venv"))


def _fill_environment(made: Path, wheel: Path) -> tuple[str, ...]:
    only = ("--only-binary=:all:", f"{wheel}[server]")  # nothing else is to be compiled
    return (*packages.pip(), "--python", str(made / _python()), "install", *_QUIET, *only)


def _python() -> str:
    return "venv/Scripts/python.exe" if os.name == "nt" else "venv/bin/python"


def _settle(made: Path, recipe: Recipe, machine: Machine, tools: Tools) -> store.InstalledEngine:
    """Inspect the engine, and give it its place."""
    first, *rest = program = (_python(), "-I", "-m", MODULE)
    stamp = Stamp(
        name=f"{recipe.backend}-python-{carried().package.version}",
        kind=Kind.PYTHON,
        backend=recipe.backend,
        origin=carried().origin(),
        program=program,
        cmake=(*definitions(recipe, machine, tools), *_PLAIN),
    )
    return store.add(made, describe([str(made / first), *rest]).complete(stamp))


def _checked(
    what: str,
    argv: tuple[str, ...],
    env: Variables,
    work: Path,
    progress: OnProgress = ignore,
) -> None:
    """Run a step under the guard; raise what its log says where it fails."""
    log = make_private_dir(paths.state_dir() / "logs") / f"{work.name}.log"
    if not run_step(argv, env, log, progress):
        return
    tail = _PIPS.sub("", log_tail(log))
    if _UNREACHABLE.search(tail):
        raise SteprunError(
            what,
            why="The package index could not be reached.",
            next="Check the network or the proxy (HTTPS_PROXY), or set PIP_INDEX_URL to a mirror; "
            f"what was downloaded is kept (log: {log}).",
        )
    raise failure_causes.explain(what, tail, str(log))
