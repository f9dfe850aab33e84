"""How much memory an engine will take by its own account, before it takes any.

llama.cpp's `--fit on` first simulates a load without allocating and prints a table: for each
device, what the model, the context and the compute buffers would take. That lasts about half a
second for 105 GB. Then it loads; here it is stopped before.

`llama-fit-params --fit-print on` prints the same table, but for a graph that returns logits for
every token of a micro-batch, which no server does: its compute column is larger than a server's.
"""

import hashlib
import re
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.base import paths
from runner.base.state import JsonState
from runner.base.units import MIB
from runner.engine.process.guard import LOG_BYTES
from runner.engine.process.guarded import Guarded, Variables
from runner.plan.memory.ledger import Item, LedgerEntry
from runner.plan.placement import Placement

TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.02
KEPT: Final = 200  # remembered figures; about 200 bytes each

# "|   - Host | 106701 = 100124 + 6276 + 301 |" or, of a GPU,
# "|   - CUDA0 (NAME) | total = free + (self = model + context + compute) + unaccounted |".
_ROW = re.compile(r"\|\s+- (?P<device>[^|]+?)\s*\|(?P<figures>[-\d\s=+()]+)\|")
_PROJECTOR = re.compile(r"memory usage of mmproj is ([\d.]+) MiB")
_LONGEST_LINE = 400
_HOST = "Host"  # main memory; the rows before it are cards, in the order in which they are used
_TABLE = "memory breakdown [MiB]"
_DRAFT = "memory data for the extra model"
# After the tables; a real load begins only after the last of these.
_DONE = re.compile(r"projected to use|fitting params to free memory took|load_tensors: loading")


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

    `projector` is its weights and scratch memory together; 0 without one. `draft`'s
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


# --- parsing


def parse_breakdown(lines: Iterable[str], *, own_draft_file: bool = False) -> Breakdown | None:
    """Parse the engine's output; None where it has no table.

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
    program: Sequence[str],
    argv: Sequence[str],
    env: Variables = (),
    timeout_s: float = TIMEOUT_S,
) -> Breakdown | None:
    """Return what this launch would take, by the engine's own account; None if it gives none.

    `argv`, `env`: a launch line of llama-server's flags and its variables, as for the start: which
    cards are used, and in which order, depends on them. The engine runs under the guard.
    """
    with tempfile.TemporaryDirectory(prefix="steprun-probe-") as folder:
        try:
            engine = Guarded([*program, *_with_fit(argv)], Path(folder) / "log", env=env)
        except OSError:
            return None
        with engine:
            try:
                _wait(engine, timeout_s)
            finally:
                engine.stop(politely=False)  # while it loads it would not listen
            lines = engine.log.tail(2 * LOG_BYTES).splitlines()
        return parse_breakdown(lines, own_draft_file="--spec-draft-model" in argv)


def _with_fit(argv: Sequence[str]) -> list[str]:
    words = list(argv)
    for flag, value in (("--fit", "on"), ("--verbosity", "4"), ("--port", "0")):
        if flag in words:
            words[words.index(flag) + 1] = value
        else:
            words += [flag, value]
    return words


def _wait(engine: Guarded, timeout_s: float) -> None:
    """Return when the engine has printed it all, has ended, or takes too long."""
    deadline = time.monotonic() + timeout_s
    while engine.status(POLL_S) is None and time.monotonic() < deadline:
        if any(map(_DONE.search, engine.log.lines())):
            return


# --- against the ledger


@dataclass(frozen=True, slots=True)
class Overfull:
    """A memory that by the engine's account has too little room.

    `name`: what the plan calls it, with the engine's name for it where it is one of several cards.
    `more`: bytes that the engine takes beyond what is planned there; `missing` of them do not fit.
    """

    name: str
    more: int
    missing: int


_PROJECTING: Final = (LedgerEntry.PROJECTOR, LedgerEntry.VISION_COMPUTE)
# What both the ledger and the engine count; the rest of a ledger is beyond the engine's account.
_COUNTED: Final = frozenset(
    {
        *(LedgerEntry.WEIGHTS, LedgerEntry.MTP, LedgerEntry.KV_FULL, LedgerEntry.KV_SLIDING),
        *(LedgerEntry.KV_STATE, LedgerEntry.COMPUTE, *_PROJECTING),
    }
)


def counted_bytes(items: Iterable[Item]) -> int:
    """Return what a ledger has of that which the engine accounts for, too."""
    return sum(item.bytes for item in items if item.item in _COUNTED)


def overfull(placement: Placement, account: Breakdown) -> tuple[Overfull, ...]:
    """Return the memories of a placement that the engine's own account would not fit in.

    Cards are compared one by one: what is free on one is of no use to another. Where the engine
    lists other cards than the plan uses, its account is compared as a whole.
    """
    names = [row.device for row in account.rows]
    cards = names[: names.index(_HOST)] if _HOST in names else names
    if not placement.cards or len(cards) != len(placement.cards):
        differences = compare(placement.items, account)
        more = sum(max(0, each.engine - each.planned) for each in differences)
        missing = more - max(0, placement.spare_bytes)
        name = min(placement.held, key=lambda use: use.spare_bytes).pool.name
        return (Overfull(name, more, missing),) if more and missing > 0 else ()
    found = []
    for index, use in enumerate(placement.counted):
        card = cards[index] if index < len(cards) else ""  # main memory comes last
        rows = [
            row
            for row in (*account.rows, *account.draft)
            if (row.device == card if card else row.device not in cards)
        ]
        engine = sum(row.model + row.context + row.compute for row in rows)
        if index == (len(cards) if placement.mmproj_on_cpu else 0):
            engine += account.projector
        more = engine - counted_bytes(use.items)
        missing = more - max(0, use.spare_bytes)
        if more > max(3 * len(rows) * MIB, engine // 100) and missing > 0:
            name = f"{card} ({use.pool.name})" if card else use.pool.name
            found.append(Overfull(name, more, missing))
    return tuple(found)


def compare(items: Iterable[Item], account: Breakdown) -> tuple[Difference, ...]:
    """Return where the ledger and the engine differ by more than rounding and 1 %.

    Draft heads count as weights: whether they are in the main file is the engine's business.
    """
    planned = {item.item: item.bytes for item in items}

    def sum_of(*entries: LedgerEntry) -> int:
        return sum(planned.get(entry, 0) for entry in entries)

    main, draft = account.rows, account.draft
    pairs = (
        (
            "weights",
            sum_of(LedgerEntry.WEIGHTS, LedgerEntry.MTP),
            sum(r.model for r in (*main, *draft)) + sum(r.context for r in draft),
            len(main) + 2 * len(draft),
        ),
        (
            "kv",
            sum_of(LedgerEntry.KV_FULL, LedgerEntry.KV_SLIDING, LedgerEntry.KV_STATE),
            sum(row.context for row in main),
            len(main),
        ),
        ("compute", sum_of(LedgerEntry.COMPUTE), account.compute, len(main) + len(draft)),
        ("projector", sum_of(*_PROJECTING), account.projector, 1),
    )
    return tuple(
        Difference(name, ours, theirs)
        for name, ours, theirs, figures in pairs
        if abs(ours - theirs) > max(figures * MIB, theirs // 100)
    )


# --- remembering


def probe_key(engine: str, argv: Sequence[str], env: Variables = ()) -> str:
    """Return what an account is remembered under.

    The engine, its launch line and variables, and the sizes of its files. An OSError, where one
    of the files is missing, is the caller's.
    """
    sizes = [Path(word).stat().st_size for word in argv if word.lower().endswith(".gguf")]
    words = (engine, *argv, *sizes, *(f"{name}={value}" for name, value in env))
    return hashlib.sha256("\0".join(map(str, words)).encode()).hexdigest()


_ACCOUNTS: Final = JsonState(
    lambda: paths.cache_dir() / "engine-memory.json", dict[str, Breakdown], dict
)


def remember_probe(key: str, account: Breakdown) -> None:
    """Keep an account for later plans, the newest 200 of them. A full disk is ignored."""

    def add(kept: dict[str, Breakdown]) -> dict[str, Breakdown]:
        kept.pop(key, None)
        return dict(list({**kept, key: account}.items())[-KEPT:])

    _ACCOUNTS.try_change(add)


def recall_probe(key: str) -> Breakdown | None:
    """Return a remembered account; None where none is known or readable."""
    return _ACCOUNTS.read().get(key)
