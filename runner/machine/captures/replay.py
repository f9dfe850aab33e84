"""Translates recorded commands into those that the probes run today.

A capture may have been typed by hand, or taken by another version of steprun, which ran other
commands for the same figures. A command that was recorded exactly needs no translation
(`capture.Replay`), and no preset does.

Pure: recorded output in, the output that the asked command would have had out. Nothing is guessed
(a column that nobody recorded is `[N/A]`, as the driver itself prints it), and nothing raises,
whatever the texts hold: anybody may write a capture.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

# The words after the program, and what it printed.
Recorded = tuple[list[str], str]
Row = dict[str, str]

_MOST_CARDS = 64
_MOST_LINES = 4096  # of one table; `nvidia-smi -q` prints about 250 for each card
_LONGEST_LINE = 400
_MOST_OBJECTS = 4096


def equivalent(recorded: Mapping[str, str], argv: Sequence[str]) -> str | None:
    """Return what a command would have printed, or None where nothing recorded tells.

    `recorded`: recorded command lines and what each printed; only those that succeeded.
    """
    asked = [word for part in argv for word in part.split()]
    program, words = _program(asked), asked[1:]
    lines = [(key.split(), out) for key, out in recorded.items()]
    near = [(line[1:], out) for line, out in lines if _program(line) == program]
    for line, out in near:
        if line == words:
            return out
    translate = _TRANSLATORS.get(program)
    return translate(words, near) if translate else None


def _program(line: Sequence[str]) -> str:
    """Return a program's own name: captures may hold its whole path, or Windows' suffix."""
    name = re.split(r"[\\/]", line[0])[-1].lower() if line else ""
    name = name.removesuffix(".exe")
    return "powershell" if name == "pwsh" else name


# --- macOS


def _sysctl(words: list[str], near: list[Recorded]) -> str | None:
    """Answer `sysctl -n KEY` from any form: `-n`, named, several keys, all."""
    key = words[-1] if words else ""
    named = re.compile(rf"^{re.escape(key)}[ \t]*[:=](.*)$", re.MULTILINE)
    for line, out in near:
        if "-n" in line:  # values alone, one line each
            keys, values = [word for word in line if word != "-n"], out.splitlines()
            if key in keys and len(keys) == len(values):
                return f"{values[keys.index(key)].strip()}\n"
        elif match := named.search(out):
            return f"{match[1].strip()}\n"
    return None


def _sw_vers(words: list[str], near: list[Recorded]) -> str | None:
    """Answer `sw_vers -productVersion` from the whole output."""
    for _, out in near:
        match = re.search(r"^ProductVersion:[ \t]*([0-9.]{1,20})$", out, re.MULTILINE)
        if match and words == ["-productVersion"]:
            return f"{match[1]}\n"
    return None


def _ioreg(words: list[str], near: list[Recorded]) -> str | None:
    """Answer for the GPU's entry from any listing that holds it."""
    if "AGXAccelerator" not in words:
        return None
    return next((out for _, out in near if '"gpu-core-count"' in out), None)


def _profiler(words: list[str], near: list[Recorded]) -> str | None:
    """Answer from the same words in any order, and from a report of more than was asked."""
    return next((out for line, out in near if set(words) <= set(line)), None)


# --- nvidia-smi

_QUERY = "--query-gpu="
_NONE = "[N/A]"
_ALIASES = {"gpu_name": "name", "gpu_uuid": "uuid"}
# What two tables of the same cards must agree on.
_IDENTITY = ("uuid", "index", "name")
_UNIT = re.compile(r"^([0-9.,]+) (?:MiB|MHz|W|%)$")
_LISTED = re.compile(r"GPU ([0-9]+): (.+) \(UUID: (GPU-[^ )]+)\)")


def _smi(words: list[str], near: list[Recorded]) -> str | None:
    """Answer a query of cards, `csv,noheader,nounits`, from other queries and reports of cards."""
    fields = _fields(words)
    cards = _merged(fields, [_cards(line, out) for line, out in near])
    if not fields or not any("name" in card or "memory.total" in card for card in cards):
        return None
    rows = [[_UNIT.sub(r"\1", card.get(field, _NONE)) for field in fields] for card in cards]
    return "".join(f"{', '.join(row)}\n" for row in rows)


def _fields(words: list[str]) -> list[str]:
    """Return the columns of a query; none for other commands."""
    value = next((word.removeprefix(_QUERY) for word in words if word.startswith(_QUERY)), "")
    return [_ALIASES.get(part, part) for part in value.split(",") if part]


def _merged(fields: list[str], tables: list[list[Row]]) -> list[Row]:
    """Join tables of the same cards, the one with most of the asked fields first."""
    known = [table for table in tables if table]
    known.sort(key=lambda table: -len(table[0].keys() & set(fields)))
    cards = known[0] if known else []
    for table in known[1:]:
        if len(table) == len(cards) and all(map(_agree, cards, table)):
            cards = [{**more, **card} for card, more in zip(cards, table, strict=True)]
    return cards


def _agree(one: Row, other: Row) -> bool:
    both = [(one[key], other[key]) for key in _IDENTITY if key in one and key in other]
    return all(a == b or _NONE in (a, b) for a, b in both)


def _cards(words: list[str], out: str) -> list[Row]:
    lines = [line[:_LONGEST_LINE] for line in islice(out.splitlines(), _MOST_LINES)]
    if fields := _fields(words):
        return _queried(fields, lines)
    if "-L" in words:
        listed = [_LISTED.match(line) for line in lines]
        return [dict(zip(("index", "name", "uuid"), m.groups(), strict=True)) for m in listed if m]
    return list(_reported(lines) if "-q" in words else _drawn(lines))[:_MOST_CARDS]


def _queried(fields: list[str], lines: list[str]) -> list[Row]:
    """Read comma-separated values. A comma alone may be a decimal mark: first try with a space."""
    for mark in (", ", ","):
        split = [[cell.strip() for cell in line.split(mark)] for line in lines if line.strip()]
        rows = [row for row in split if len(row) == len(fields)]
        if rows and [cell.split(" [")[0] for cell in rows[0]] == fields:
            rows = rows[1:]  # the names of the columns
        if rows:
            return [dict(zip(fields, row, strict=True)) for row in rows[:_MOST_CARDS]]
    return []


def _reported(lines: list[str]) -> Iterator[Row]:
    """Read `nvidia-smi -q`: `key : value` lines under headings that are further out."""
    names = {"Product Name": "name", "GPU UUID": "uuid"}
    memory = {"Total": "memory.total", "Free": "memory.free"}
    card: Row = {}
    heading = ""
    for line in lines:
        if re.match(r"GPU [0-9A-Fa-f]+:", line):
            if card:
                yield card
            card = {}
            continue
        key, mark, value = (part.strip() for part in line.partition(" :"))
        if not mark:
            heading = key
        elif field := (memory if heading == "FB Memory Usage" else names).get(key):
            card.setdefault(field, value)
    if card:
        yield card


def _drawn(lines: list[str]) -> Iterator[Row]:
    """Read the plain table: of each card a line with its name and bus, then one with its memory."""
    card: Row = {}
    for line in lines:
        cells = [cell.split() for cell in line.split("|")[1:]]
        if len(cells) < 3 or not cells[1]:
            continue
        first, second = cells[:2]
        if len(first) > 2 and first[0].isdecimal() and ":" in second[0]:
            if card:
                yield card
            card = {"index": first[0], "name": " ".join(first[1:-1])}
        elif card and "memory.total" not in card:
            sizes = re.fullmatch(r"([0-9]{1,9})MiB/([0-9]{1,9})MiB", "".join(second))
            card["memory.total"] = f"{sizes[2]} MiB" if sizes else _NONE
            if sizes:
                card["memory.free"] = f"{max(0, int(sizes[2]) - int(sizes[1]))} MiB"
    if card:
        yield card


# --- Windows

_HOST_KEYS = {
    "total_kib": ("total_kib", "totalvisiblememorysize"),
    "free_kib": ("free_kib", "freephysicalmemory"),
}
_PROCESSOR_KEYS = {
    "cpu": ("cpu", "name"),
    "cores": ("cores", "numberofcores"),
    "arch": ("arch", "architecture"),
}
_ADAPTER_KEYS = {
    "name": ("name", "driverdesc"),
    "id": ("pnpdeviceid", "pnp", "matchingdeviceid", "id"),
    "driver": ("driverversion", "driver"),
    "qw": ("hardwareinformation.qwmemorysize", "qwmemorysize", "qw"),
    "dw": ("hardwareinformation.memorysize", "memorysize", "dw"),
}
# Keys of an adapter's entry in the registry, which outlives the adapter.
_REGISTRY_ONLY = {"driverdesc", "matchingdeviceid", *_ADAPTER_KEYS["qw"], *_ADAPTER_KEYS["dw"]}


def _powershell(words: list[str], near: list[Recorded]) -> str | None:
    """Answer for the host or its display adapters from any objects that tell of them.

    The answers have the keys of `host.WINDOWS_HOST` and `host.WINDOWS_ADAPTERS`.
    """
    asked = " ".join(words)
    objects = list(islice((row for _, out in near for row in _objects(out)), _MOST_OBJECTS))
    if "Win32_OperatingSystem" in asked:
        answer = _host(objects)
    elif "Win32_VideoController" in asked:
        answer = _adapters(objects)
    else:
        answer = None
    return json.dumps(answer) if answer else None


def _objects(out: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON document, at most two levels deep, with their keys in small."""
    try:
        document = json.loads(out.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return
    level = [document]
    for _ in range(3):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                yield {key.lower(): item for key, item in value.items()}
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        level = inner


def _picked(row: dict[str, Any], keys: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return an object under our own keys, without what it does not tell."""
    found = {}
    for ours, theirs in keys.items():
        values = (row[key] for key in theirs if key in row)
        value = next(filter(_is_plain, values), None)
        if value is not None:
            found[ours] = value
    return found


def _is_plain(value: Any) -> bool:
    """Text, a number, or the bytes of a binary value: what a tool's answer is made of."""
    if isinstance(value, list):
        return len(value) <= 8 and all(isinstance(part, int) for part in value)
    return isinstance(value, str | int | float)


def _host(objects: list[dict[str, Any]]) -> dict[str, Any] | None:
    systems = [found for row in objects if "total_kib" in (found := _picked(row, _HOST_KEYS))]
    processors = [found for row in objects if "cores" in (found := _picked(row, _PROCESSOR_KEYS))]
    return {**(processors[0] if processors else {}), **systems[0]} if systems else None


def _adapters(objects: list[dict[str, Any]]) -> dict[str, Any] | None:
    present, registry = [], []
    for row in objects:
        found = _picked(row, _ADAPTER_KEYS)
        kept = not _REGISTRY_ONLY.isdisjoint(row)
        if "name" in found and "id" in found and (not kept or "pnpdeviceid" in row):
            present.append({"name": found["name"], "id": found["id"]})
        if "name" in found and kept:
            registry.append(found)
    ids = {str(shown["name"]): shown["id"] for shown in reversed(present)}
    for found in registry:  # an entry that does not say which card it is: the one of its name
        found.setdefault("id", ids.get(str(found["name"])))
    return {"present": present, "registry": registry} if present or registry else None


_TRANSLATORS: dict[str, Callable[[list[str], list[Recorded]], str | None]] = {
    "ioreg": _ioreg,
    "nvidia-smi": _smi,
    "powershell": _powershell,
    "sw_vers": _sw_vers,
    "sysctl": _sysctl,
    "system_profiler": _profiler,
}
