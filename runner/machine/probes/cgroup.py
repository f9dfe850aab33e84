"""Reads the memory limits of this process's control groups (Linux).

A group's limit holds for all groups inside it, so the least of the whole path counts: the limit
of a container, of a systemd slice, or of the scope that a terminal runs in.
"""

from runner.machine.captures.capture import Reader
from runner.machine.probes.read import pairs, parse_size

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


def room(reader: Reader) -> int | None:
    """Return the bytes left to this process, or None where nothing limits it."""
    # Lines as `0::/user.slice` and `4:cpu,memory:/docker/1`.
    lines = [line.split(":", 2) for line in (reader.file("/proc/self/cgroup") or "").splitlines()]
    groups = {part: line[2] for line in lines if len(line) == 3 for part in line[1].split(",")}
    found = []
    for root, controller, limits, use, cache in _VERSIONS:
        for folder in _folders(root, groups.get(controller, "")):
            # "max", or the 2^63 that control groups 1 write for it, are no size.
            known = [parse_size(reader.file(f"{folder}/{name}")) for name in limits]
            limit = min((value for value in known if value is not None), default=None)
            if limit is None:
                continue
            used = parse_size(reader.file(f"{folder}/{use}")) or 0
            stat = pairs(reader.file(f"{folder}/memory.stat"), " ")
            found.append(max(0, limit - max(0, used - (parse_size(stat.get(cache)) or 0))))
    return min(found, default=None)


def _folders(root: str, path: str) -> list[str]:
    """Return a group's folder and those of its parents, the outermost first."""
    parts = [part for part in path.strip().split("/") if part]
    if ".." in parts:  # outside of what a container may see
        parts = []
    return ["/".join((root, *parts[:depth])) for depth in range(min(len(parts), _MOST_LEVELS) + 1)]
