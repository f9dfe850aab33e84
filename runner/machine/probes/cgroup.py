"""Reads the memory limits of this process's control groups (Linux).

A group's limit holds for all groups inside it, so the least of the whole path counts: the limit
of a container, of a systemd slice, or of the scope that a terminal runs in.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from runner.base.units import GIB, MIB, size
from runner.machine.captures.capture import Reader
from runner.machine.facts import Advice
from runner.machine.probes.read import pairs, parse_size, strip_codes

# Groups 2, then 1: where they lie, their controller in /proc/self/cgroup, the files that limit
# (`high` does not refuse: it slows down to a crawl), the use, and the key of what can be dropped
# from it.
_VERSIONS = (
    (
        "/sys/fs/cgroup",
        "",
        ("memory.max", "memory.high"),
        "memory.current",
        "inactive_file",
    ),
    (
        "/sys/fs/cgroup/memory",
        "memory",
        ("memory.limit_in_bytes",),
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
_MOST_LEVELS = 32


class Kind(StrEnum):
    """What a control group belongs to, as it is called in sentences."""

    DOCKER = "Docker container"
    PODMAN = "Podman container"
    LXC = "LXC container"
    KUBERNETES = "Kubernetes pod"
    CONTAINER = "container"
    SLICE = "systemd slice"
    SCOPE = "systemd scope"
    SERVICE = "systemd service"
    GROUP = "control group"


_CONTAINERS = (Kind.DOCKER, Kind.PODMAN, Kind.LXC, Kind.KUBERNETES, Kind.CONTAINER)
_BY_PATH = (
    (re.compile(r"kubepods"), Kind.KUBERNETES),
    (re.compile(r"libpod"), Kind.PODMAN),
    (re.compile(r"docker"), Kind.DOCKER),
    (re.compile(r"(?:^|[/.])lxc(?:[/.]|$)"), Kind.LXC),
)
_BY_SUFFIX = {".slice": Kind.SLICE, ".scope": Kind.SCOPE, ".service": Kind.SERVICE}
_BY_FILE = (("/.dockerenv", Kind.DOCKER), ("/run/.containerenv", Kind.PODMAN))
_BY_MANAGER = {"lxc": Kind.LXC, "docker": Kind.DOCKER, "podman": Kind.PODMAN}


@dataclass(frozen=True, slots=True)
class Group:
    """The control group that leaves this process the least: its limit and what is left, in bytes.

    `name`: of a unit of systemd. `whole`: the group is all that this process can see of the
    system's memory (lxcfs shows the limit as MemTotal). `file`: the limit's, `memory.high` is one.
    """

    kind: Kind
    limit: int
    room: int
    name: str = ""
    file: str = "memory.max"
    whole: bool = False

    @property
    def called(self) -> str:
        """What to call it in a sentence."""
        return f"this {self.kind}" + (f" ({self.name})" if self.name else "")

    @property
    def source(self) -> str:
        """The `limit_source` of a limit that it sets."""
        return f"the memory limit of {self.called.replace(' (', ', ').rstrip(')')}, a control group"

    def warning(self) -> str:
        """Return the warning that it limits main memory."""
        return (
            f"{self.called[0].upper()}{self.called[1:]} may hold {size(self.limit)} of RAM, of "
            f"which {size(self.room)} {'is' if self.room < GIB else 'are'} left."
        )

    def advice(self, *, proxmox: bool, wanted: int = 0) -> Advice:
        """Return how to raise the limit; `wanted`: to so many bytes, where that is known."""
        more = -(-(wanted or 2 * self.limit) // MIB)
        if self.kind in _BY_UNIT:
            name = self.name or "UNIT"
            key = "MemoryHigh" if self.file == "memory.high" else "MemoryMax"
            edit = f"sudo systemctl set-property --runtime {name} {key}={{}}"
            do, undo = edit.format("infinity"), edit.format(self.limit)
            where = "Lift it, until the next start"
        elif self.kind is Kind.LXC and proxmox:
            do, undo = (f"pct set ID --memory {mib}" for mib in (more, self.limit // MIB))
            where = "On the Proxmox host, where ID is the container's number"
        elif self.kind is Kind.LXC:
            edit = "lxc config set NAME limits.memory {}MiB"
            do, undo = edit.format(more), edit.format(self.limit // MIB)
            where = "On the host, where NAME is the container's (Incus: incus config set)"
        elif self.kind is Kind.KUBERNETES:
            do = "kubectl set resources deployment NAME --limits=memory=0"
            undo = f"kubectl set resources deployment NAME --limits=memory={self.limit}"
            where = "Outside, where NAME is the deployment's"
        else:
            program = "podman" if self.kind is Kind.PODMAN else "docker"
            edit = f"{program} update --memory {{0}}m --memory-swap {{0}}m CONTAINER"
            do, undo = edit.format(more), edit.format(self.limit // MIB)
            where = (
                f"On the host, where CONTAINER is its name; or start it with {program} run without "
                "--memory, or with a larger one"
            )
        what = f"Let {self.called} hold more RAM than {size(self.limit)}. {where}"
        return Advice(what, do, undo)


_BY_UNIT = (Kind.SLICE, Kind.SCOPE, Kind.SERVICE)


def tightest(reader: Reader, memory: int) -> Group | None:
    """Return the group that leaves this process the least; None where nothing limits it.

    `memory`: all RAM that the system shows, in bytes.
    """
    # Lines as `0::/user.slice` and `4:cpu,memory:/docker/1`.
    lines = [line.split(":", 2) for line in (reader.file("/proc/self/cgroup") or "").splitlines()]
    groups = {part: line[2] for line in lines if len(line) == 3 for part in line[1].split(",")}
    found = []
    for root, controller, limits, use, cache in _VERSIONS:
        for folder in _folders(root, groups.get(controller, "")):
            # "max", or the 2^63 that control groups 1 write for it, are no size.
            values = {name: parse_size(reader.file(f"{folder}/{name}")) for name in limits}
            known = [(value, name) for name, value in values.items() if value is not None]
            if not known:
                continue
            limit, name = min(known)
            used = parse_size(reader.file(f"{folder}/{use}")) or 0
            stat = pairs(reader.file(f"{folder}/memory.stat"), " ")
            room = max(0, limit - max(0, used - (parse_size(stat.get(cache)) or 0)))
            kind, unit = _kind(reader, folder.removeprefix(root), limit, memory)
            whole = kind is Kind.LXC and _near(limit, memory)
            found.append(Group(kind, limit, room, unit, name, whole))
    return min(found, key=lambda group: group.room, default=None)


def container(reader: Reader) -> Kind | None:
    """Return the kind of container that this process is in, as its files tell; None: not known."""
    manager = strip_codes(reader.file("/run/systemd/container")).lower()
    if manager:
        return _BY_MANAGER.get(manager, Kind.CONTAINER)
    if any("lxcfs" in line for line in (reader.file("/proc/mounts") or "").splitlines()):
        return Kind.LXC
    return next((kind for path, kind in _BY_FILE if reader.glob(path)), None)


def is_container(group: Group | None) -> bool:
    """Whether a limit is that of a container, and so to be raised outside."""
    return group is not None and group.kind in _CONTAINERS


def _near(one: int, other: int) -> bool:
    return abs(one - other) <= MIB


def _kind(reader: Reader, path: str, limit: int, memory: int) -> tuple[Kind, str]:
    """Return what a group belongs to, and its unit's name where it is one of systemd's.

    The root group has no limit of its own: one that has is a container's, seen from inside. Docker
    shows all RAM there, and lxcfs the limit for it.
    """
    for pattern, kind in _BY_PATH:
        if pattern.search(path):
            return kind, ""
    if not path:
        inside = container(reader)
        return inside or (Kind.LXC if _near(limit, memory) else Kind.CONTAINER), ""
    unit = path.rpartition("/")[2]
    kind = _BY_SUFFIX.get(f".{unit.rpartition('.')[2]}", Kind.GROUP)
    return kind, unit if kind in _BY_UNIT else ""


def _folders(root: str, path: str) -> list[str]:
    """Return a group's folder and those of its parents, the outermost first."""
    parts = [part for part in path.strip().split("/") if part]
    if ".." in parts:  # outside of what a container may see
        parts = []
    return ["/".join((root, *parts[:depth])) for depth in range(min(len(parts), _MOST_LEVELS) + 1)]
