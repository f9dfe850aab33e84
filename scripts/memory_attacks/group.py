"""A control group of one's own, in which memory can run out without harm to anybody else."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

NAME = "steprun-attack"
_MEMBERS = "cgroup.procs"
_LIMITS = ("memory.max", "memory.limit_in_bytes")


def _folder() -> tuple[Path, str]:
    """Return where this process's groups can be made, and the file that limits one."""
    for line in Path("/proc/self/cgroup").read_text("ascii").splitlines():
        number, kinds, path = line.split(":", 2)
        if "memory" in kinds.split(","):
            return Path("/sys/fs/cgroup/memory") / path.strip("/"), _LIMITS[1]
        if number == "0" and (Path("/sys/fs/cgroup") / path.strip("/") / _LIMITS[0]).is_file():
            return Path("/sys/fs/cgroup") / path.strip("/"), _LIMITS[0]
    raise SystemExit("No control group for memory is known here: leave --inside out.")


@contextmanager
def limited(limit: int | None) -> Iterator[None]:
    """Move this process into a group that may hold `limit` bytes; None leaves it where it is."""
    if limit is None:
        yield
        return
    with made(limit) as group, entered(group):
        yield


@contextmanager
def made(limit: int) -> Iterator[Path]:
    """Make a group that may hold `limit` bytes, with nobody in it; yield its folder."""
    top, file = _folder()
    group = top / f"{NAME}-{os.getpid()}"
    try:
        group.mkdir(exist_ok=True)
        (group / file).write_text(str(limit), "ascii")
    except OSError as error:
        raise SystemExit(f"A control group cannot be made here: {error}.") from error
    try:
        yield group
    finally:
        with suppress(OSError):  # something in it has not ended yet
            group.rmdir()


def inside(group: Path, argv: Sequence[str]) -> list[str]:
    """Return the command line that runs a program in a group from its start."""
    enter = f'echo $$ > "$0/{_MEMBERS}" && exec "$@"'
    return ["sh", "-c", enter, str(group), *argv]


@contextmanager
def entered(group: Path) -> Iterator[None]:
    """Have this process in a group within the block."""
    (group / _MEMBERS).write_text(str(os.getpid()), "ascii")
    try:
        yield
    finally:
        (group.parent / _MEMBERS).write_text(str(os.getpid()), "ascii")
