"""Makes this checkout's own Python environment, with nothing but Python itself.

`.venv` beside `pyproject.toml`, or the folder that STEPRUN_VENV names, made again when
`pyproject.toml` changes. A stamp is written last, so that the next run repairs an interrupted one.
`python scripts/_env.py TOOL ...` runs a development tool from it, such as `ruff check`.
"""

from __future__ import annotations  # the message for old Pythons must be reached on them

import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Path.expanduser raises where there is no home; this leaves the text alone.
VENV = Path(os.path.expanduser(os.environ.get("STEPRUN_VENV") or ROOT / ".venv")).absolute()  # noqa: PTH111
_STAMP = VENV / "steprun-stamp"
OLDEST = (3, 11)


def ensure(*, dev: bool) -> Path:
    """Return the environment's Python, making the environment first where needed."""
    _need_new_python()
    wanted = _wanted(dev=dev)
    if _is(wanted):
        return _python()
    try:
        VENV.parent.mkdir(parents=True, exist_ok=True)
        with _lock():
            if not _is(wanted):
                _make(dev=dev)
                _STAMP.write_text(_key(dev=dev), encoding="ascii")
    except OSError as error:
        sys.exit(_not_writable(error))
    return _python()


def enter(package: str) -> None:
    """Go on in this checkout's environment, unless this Python has a package that is needed."""
    if importlib.util.find_spec(package) is not None:
        return
    argv = [str(ensure(dev=False)), *sys.argv]
    if os.name == "posix":
        os.execv(argv[0], argv)  # noqa: S606 - the same process: signals and exit status go straight
    sys.exit(subprocess.call(argv))


def _python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _wanted(*, dev: bool) -> set[str]:
    return {_key(dev=True)} if dev else {_key(dev=True), _key(dev=False)}


def _is(wanted: set[str]) -> bool:
    return _stamped(wanted) and os.access(_python(), os.X_OK)


def _stamped(wanted: set[str]) -> bool:
    try:
        return _STAMP.read_text(encoding="ascii") in wanted
    except (OSError, ValueError):
        return False


def borrow() -> bool:
    """Let this Python use the packages of an environment whose own Python cannot be started.

    Another user's may be so: pyenv and uv keep their Pythons in a home folder. Return whether this
    was needed, and could be done.
    """
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = VENV / "lib" / version / "site-packages"
    if not _stamped(_wanted(dev=False)) or os.access(_python(), os.X_OK):
        return False
    if os.name != "posix" or not os.access(packages, os.R_OK | os.X_OK):
        return False
    sys.path[:1] = [str(ROOT), str(packages)]  # in place of this folder
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])  # for what it starts
    return True


def _not_writable(error: OSError) -> str:
    home = os.path.expanduser("~")  # noqa: PTH111 - as above
    folder = f"{home}/.steprun-venv" if os.access(home, os.W_OK) else "/tmp/steprun-venv"  # noqa: S108
    return (
        f"error: {VENV} cannot be written.\n"
        f"  why:  {error.strerror or error}. This checkout may be another user's, or read-only.\n"
        "  next: Name another folder for its Python packages (370 MB), for all that follows:\n"
        f"        export STEPRUN_VENV={shlex.quote(folder)} && {shlex.join(sys.argv)}"
    )


def _key(*, dev: bool) -> str:
    # Not this Python's version: whoever calls, the environment keeps the Python it was made with.
    text = (ROOT / "pyproject.toml").read_bytes() + repr(dev).encode()
    return hashlib.sha256(text).hexdigest()


def _need_new_python() -> None:
    """Restart with a newer Python if this one is too old."""
    if sys.version_info >= OLDEST:
        return
    for minor in (14, 13, 12, 11):
        found = shutil.which(f"python3.{minor}")
        # pyenv leaves names on the PATH that run no Python.
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            sys.exit(subprocess.call([found, *sys.argv]))
    version = ".".join(str(part) for part in sys.version_info[:2])
    sys.exit(
        "error: steprun needs Python 3.11 or newer.\n"
        f"  why:  This is Python {version}, and no newer one is on the PATH.\n"
        "  next: Install one (python.org, your package manager, or: uv python install 3.13)."
    )


def _make(*, dev: bool) -> None:
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - Path.home raises
        os.environ["HOME"] = "/nonexistent"  # Debian's word for it: pip fails where there is none
    size = "about 560 MB on disk" if dev else "about 370 MB on disk"
    _say(
        f"Making this checkout's environment in {VENV if VENV.parent != ROOT else '.venv/'} "
        f"({size}, from the package registry) ..."
    )
    if VENV.is_symlink():
        sys.exit(
            f"error: {VENV} is a link, and this checkout needs an environment of its own.\n"
            "  why:  Making one would empty the folder that the link leads to.\n"
            f"  next: rm {shlex.quote(str(VENV))}, or name another folder: STEPRUN_VENV=DIR"
        )
    # From scratch: a partial environment, or one of another Python, cannot be repaired.
    _run(sys.executable, "-m", "venv", "--clear", str(VENV))
    pip = (str(_python()), "-m", "pip", "--disable-pip-version-check", "install", "-qq")
    # pip learnt dependency groups in 25.1; the one inside a fresh environment may be older.
    _run(*pip, "--upgrade", "pip>=25.1")
    group = ("--group", f"{ROOT / 'pyproject.toml'}:dev") if dev else ()
    _run(*pip, "--editable", str(ROOT), *group)


def _run(*argv: str) -> None:
    """Run one step; on a terminal, count its seconds to show that it is running."""
    began = time.monotonic()
    try:
        with subprocess.Popen(argv, stdout=sys.stderr) as step:
            while True:
                try:
                    status = step.wait(1)
                    break
                except subprocess.TimeoutExpired:
                    _count(time.monotonic() - began)
    except FileNotFoundError as error:
        sys.exit(f"error: {argv[0]} cannot be started.\n  why:  {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    _count(0)
    if status:
        sys.exit(
            f"error: the environment could not be made (status {status}).\n"
            "  why:  See the lines above; often the network, or python3-venv is not installed.\n"
            "  next: Run the same command again; downloads are kept."
        )


def _count(seconds: float) -> None:
    """Show the seconds on a line of their own, or remove that line (0)."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r  {seconds:.0f} s" if seconds else "\r\x1b[K")
        sys.stderr.flush()


@contextmanager
def _lock() -> Iterator[None]:
    """Let one process make the environment, while others wait for it."""
    with VENV.with_name(f"{VENV.name}.lock").open("w") as file:
        if os.name == "nt":
            import msvcrt  # noqa: PLC0415 - Windows only

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl  # noqa: PLC0415 - not on Windows

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(subprocess.call([str(ensure(dev=True).with_name(sys.argv[1])), *sys.argv[2:]]))
