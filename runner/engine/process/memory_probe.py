"""What the engine itself says that it will take, before it takes anything.

llama.cpp's `--fit on` first plays a load through without allocating and prints a table: for each
device, what the model, the context and the compute buffers would be. That takes about half a
second for 105 GB. Then it loads; here it is stopped before.

`llama-fit-params --fit-print on` prints the same table, but for a graph that returns logits for
every token of a micro-batch, which no server does: its compute column is larger than a server's.
"""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

from runner.base import paths
from runner.base.errors import Refused
from runner.base.files import write_private
from runner.base.units import MIB
from runner.plan.memory.ledger import Item, LedgerEntry

GUARD: Final = Path(__file__).with_name("guard.py")
TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.02
KEPT: Final = 200  # remembered figures; about 200 bytes each

# "|   - Host | 106701 = 100124 + 6276 + 301 |" or, of a GPU,
# "|   - CUDA0 (NAME) | total = free + (self = model + context + compute) + unaccounted |".
_ROW = re.compile(r"\|\s+- (?P<device>[^|]+?)\s*\|(?P<figures>[-\d\s=+()]+)\|")
_PROJECTOR = re.compile(r"memory usage of mmproj is ([\d.]+) MiB")
_LONGEST_LINE = 400
_TABLE = "memory breakdown [MiB]"
_DRAFT = "memory data for the extra model"
# After the tables; a real load begins only after the last of these.
_DONE = re.compile(rb"projected to use|fitting params to free memory took|load_tensors: loading")


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """What one device would hold, in bytes (whole MiB: the engine rounds down)."""

    device: str
    model: int
    context: int
    compute: int


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The engine's own account: of the model, of its draft heads, of the projector (bytes).

    `projector` is its weights and scratch memory together; 0 where there is none. `draft`'s
    `model` is 0 where the heads are part of the main file.
    """

    rows: tuple[DeviceMemory, ...]
    draft: tuple[DeviceMemory, ...] = ()
    projector: int = 0

    @property
    def compute(self) -> int:
        """The compute buffers of all graphs but the projector's, on all devices."""
        return sum(row.compute for row in (*self.rows, *self.draft))

    @property
    def total(self) -> int:
        """Everything."""
        rows = (*self.rows, *self.draft)
        return sum(r.model + r.context + r.compute for r in rows) + self.projector


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the ledger and the engine disagree; both in bytes."""

    item: str
    planned: int
    engine: int


# --- reading what it prints


def parse_breakdown(lines: Iterable[str], *, own_draft_file: bool = False) -> Breakdown | None:
    """Read the engine's output; None where it holds no table.

    Where the engine tries smaller settings it prints more tables: the first of each kind counts.
    `own_draft_file`: the draft heads are a file of their own, whose weights count.
    """
    tables: dict[bool, list[DeviceMemory]] = {}
    rows: list[DeviceMemory] | None = None
    draft, projector = False, 0
    for line in lines:
        if found := _PROJECTOR.search(line):
            projector = round(float(found[1]) * MIB)
        elif _DRAFT in line:
            draft = True
        elif _TABLE in line:
            rows = tables.setdefault(draft, []) if draft not in tables else None
        elif rows is not None and (row := _row(line)):
            rows.append(row)
    if not tables.get(False):
        return None
    heads = tuple(
        row if own_draft_file else DeviceMemory(row.device, 0, row.context, row.compute)
        for row in tables.get(True, [])
    )
    return Breakdown(tuple(tables[False]), heads, projector)


def _row(line: str) -> DeviceMemory | None:
    found = _ROW.search(line[:_LONGEST_LINE])
    if not found:
        return None
    figures = [int(number) * MIB for number in re.findall(r"-?\d+", found["figures"])]
    device = found["device"].partition(" (")[0]
    match figures:
        case [_, model, context, compute] | [_, _, _, model, context, compute, _]:
            return DeviceMemory(device, model, context, compute)
    return None


# --- asking


def probe_memory(
    program: Sequence[str], argv: Sequence[str], timeout_s: float = TIMEOUT_S
) -> Breakdown | None:
    """Ask an engine what this launch would take. None where it does not say.

    `argv`: a launch line of llama-server's flags. The engine runs under the guard: however this
    process ends, it ends too.
    """
    words = [*program, *_with_fit(argv)]
    own_draft_file = "--spec-draft-model" in argv
    with tempfile.TemporaryDirectory(prefix="steprun-oracle-") as folder:
        log = Path(folder) / "log"
        try:
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), "--log", str(log), "--", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is for steprun, which then closes the pipe
            )
        except OSError:
            return None
        with guard:
            try:
                _wait(guard, log, timeout_s)
            finally:
                if guard.stdin is not None:
                    with contextlib.suppress(OSError):
                        guard.stdin.close()  # the guard kills the engine at once
                guard.wait()
        return parse_breakdown(_lines(log), own_draft_file=own_draft_file)


def _with_fit(argv: Sequence[str]) -> list[str]:
    words = list(argv)
    for flag, value in (("--fit", "on"), ("--verbosity", "4"), ("--port", "0")):
        if flag in words:
            words[words.index(flag) + 1] = value
        else:
            words += [flag, value]
    return words


def _wait(guard: subprocess.Popen[bytes], log: Path, timeout_s: float) -> None:
    """Return when the engine has said it all, has ended, or takes too long."""
    deadline = time.monotonic() + timeout_s
    read, tail = 0, b""
    while guard.poll() is None and time.monotonic() < deadline:
        new, read = _since(read, log)
        if _DONE.search(tail + new):
            return
        tail = (tail + new)[-_LONGEST_LINE:]
        time.sleep(POLL_S)


def _since(read: int, log: Path) -> tuple[bytes, int]:
    """Return what came after so many bytes, and how many there are now; a full log starts anew."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(read if read <= size else 0)
        return file.read(), file.tell()
    return b"", read


def _lines(log: Path) -> Iterator[str]:
    """Yield what the engine has said; the guard bounds it to a few MiB."""
    with contextlib.suppress(OSError):
        yield from log.read_text("utf-8", "replace").splitlines()


# --- against the ledger


def compare(items: Iterable[Item], told: Breakdown) -> tuple[Difference, ...]:
    """Return where the ledger and the engine differ by more than rounding and 1 %.

    Draft heads count as weights: whether they are in the main file is the engine's business.
    """
    planned = {item.item: item.bytes for item in items}

    def sum_of(*entries: LedgerEntry) -> int:
        return sum(planned.get(entry, 0) for entry in entries)

    main, draft = told.rows, told.draft
    pairs = (
        (
            "weights",
            sum_of(LedgerEntry.WEIGHTS, LedgerEntry.MTP),
            sum(r.model for r in (*main, *draft)) + sum(r.context for r in draft),
            len(main) + 2 * len(draft),
        ),
        (
            "kv",
            sum_of(LedgerEntry.KV_FULL, LedgerEntry.KV_SLIDING),
            sum(row.context for row in main),
            len(main),
        ),
        ("compute", sum_of(LedgerEntry.COMPUTE), told.compute, len(main) + len(draft)),
        ("projector", sum_of(LedgerEntry.PROJECTOR, LedgerEntry.VISION_COMPUTE), told.projector, 1),
    )
    return tuple(
        Difference(name, ours, theirs)
        for name, ours, theirs, figures in pairs
        if abs(ours - theirs) > max(figures * MIB, theirs // 100)
    )


# --- remembering


def probe_key(engine: str, argv: Sequence[str]) -> str:
    """Return what an account is remembered under: the engine, the launch line, its files' sizes.

    An OSError, where one of the files is not there, is the caller's.
    """
    sizes = [Path(word).stat().st_size for word in argv if word.lower().endswith(".gguf")]
    return hashlib.sha256("\0".join(map(str, (engine, *argv, *sizes))).encode()).hexdigest()


def remember_probe(name: str, told: Breakdown) -> None:
    """Keep an account for later plans, the newest 200 of them. A full disk is no fault."""
    kept = {k: v for k, v in _kept().items() if k != name}
    kept[name] = [[astuple(r) for r in told.rows], [astuple(r) for r in told.draft], told.projector]
    newest = dict(list(kept.items())[-KEPT:])
    with contextlib.suppress(Refused):
        write_private(_memory(), json.dumps(newest, indent=0))


def recall_probe(name: str) -> Breakdown | None:
    """Return a remembered account; None where there is none, or it cannot be read."""
    try:
        rows, draft, projector = _kept()[name]
        return Breakdown(_rows(rows), _rows(draft), int(projector))
    except (KeyError, TypeError, ValueError):
        return None


def _rows(found: Any) -> tuple[DeviceMemory, ...]:
    return tuple(DeviceMemory(str(name), int(m), int(kv), int(c)) for name, m, kv, c in found)


def _memory() -> Path:
    return paths.cache_dir() / "engine-memory.json"


def _kept() -> dict[str, Any]:
    try:
        found = json.loads(_memory().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
