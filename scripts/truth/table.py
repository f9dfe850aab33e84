"""Predicted beside seen, one row for each combination, and the largest errors at the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from runner.base.units import MIB
from runner.catalog.model import Geometry
from runner.engine.process.memory_probe import Breakdown
from runner.plan.memory.compute_buffers import (
    BATCH,
    STEP_VISION,
    VISION_NODES,
    Costs,
    compute_bytes,
    compute_mtp_bytes,
    filled_bytes,
    nodes,
    overhead_bytes,
    prefill_bytes,
)
from runner.plan.memory.kv_cache import Config, kv_full_bytes, kv_mtp_bytes, kv_sliding_bytes
from runner.plan.memory.ledger import LedgerEntry
from truth.grid import Case
from truth.real import Seen

# ggml's scheduler asks for 60 tensors of 336 bytes and 48 bytes more (`ggml_backend_sched_new`).
RESERVED_NODE_BYTES = 60 * 336 + 48


@dataclass
class Errors:
    """The largest error of each kind, in per cent (caches: how many were not exact)."""

    largest: dict[str, float] = field(default_factory=dict)
    rows: int = 0

    def note(self, kind: str, percent: float) -> None:
        """Keep the larger one, with its sign."""
        if abs(percent) >= abs(self.largest.get(kind, 0.0)):
            self.largest[kind] = percent


def caches(case: Case) -> list[int]:
    """Return the caches in the order in which the engine makes them: full, sliding, heads'."""
    g, c = case.model.model_spec.geometry, case.config
    sizes = [kv_full_bytes(g, c), kv_sliding_bytes(g, c), kv_mtp_bytes(g, c) * c.mtp]
    return [size for size in sizes if size]


def graphs(case: Case, costs: Costs) -> list[int]:
    """Return the compute buffers: the trunk's, the heads', the projector's."""
    g, c = case.model.model_spec.geometry, case.config
    found = [compute_bytes(g, c, costs)]
    if c.mtp:
        found.append(compute_mtp_bytes(g, c))
    if c.projector:
        found.append(case.items(costs)[LedgerEntry.VISION_COMPUTE])
    return found


def prompt_tokens(case: Case) -> int:
    """Return how long each slot's prompt is: together they fill a micro-batch.

    The twin computes a token a second here: a short one must do.
    """
    config = case.config
    return 8 if case.model.name == "twin" else config.ubatch // config.slots + 8


def reserved_bytes(geometry: Geometry, config: Config) -> int:
    """Return what the engine reserves but hardly ever touches: no memory, so not in the ledger.

    Tables for a graph that is cut at each of its nodes; a real one is cut a few times.
    """
    return (nodes(geometry, config) + VISION_NODES * config.projector) * RESERVED_NODE_BYTES


def planned_held(case: Case, costs: Costs) -> int:
    """Return what the process should hold here: nothing that is mapped, no cell used yet.

    The projector is counted: llama.cpp reads it into memory of its own. So is what is only
    reserved: the measured process is made to touch it.
    """
    g, c = case.model.model_spec.geometry, case.config
    items = case.items(costs)
    here = overhead_bytes(g, c, costs, case.model.vision or STEP_VISION)
    apart = (
        items[LedgerEntry.WEIGHTS]
        + case.model.model_spec.mtp_bytes * c.mtp
        + items[LedgerEntry.OVERHEAD]
    )
    read = prompt_tokens(case) * c.parallel
    unread = prefill_bytes(g, c, costs, BATCH) - prefill_bytes(g, c, costs, read)
    unused = filled_bytes(g, c) + unread
    return sum(items.values()) - apart + here - unused + reserved_bytes(g, c)


def oracle_row(case: Case, told: Breakdown | None, costs: Costs, errors: Errors) -> str:
    """Compare with the engine's account, which is in whole MiB, rounded down."""
    errors.rows += 1
    if told is None:
        errors.note("no answer", 100.0)
        return f"{case}  the engine gave no account"
    exact = {
        "cache": (sum(caches(case)[: 2 if _slides(case) else 1]), sum(r.context for r in told.rows))
    }
    near = {"compute": (graphs(case, costs)[0], sum(r.compute for r in told.rows))}
    if case.config.mtp:
        exact["cache (heads)"] = (caches(case)[-1], sum(r.context for r in told.draft))
        near["compute (heads)"] = (graphs(case, costs)[1], sum(r.compute for r in told.draft))
    parts = []
    for name, (ours, theirs) in exact.items():
        wrong = ours // MIB != theirs // MIB
        errors.note(f"{name}, not exact", 100.0 * wrong)
        parts.append(f"{name} {ours / MIB:.2f} {'NOT ' * wrong}= {theirs // MIB}")
    for name, (ours, theirs) in near.items():
        # Anywhere in that MiB is no error.
        off = ours - min(max(ours, theirs), theirs + MIB - 1)
        percent = 100 * off / (theirs + MIB / 2)
        errors.note(name, percent)
        parts.append(f"{name} {ours / MIB:.2f} : {theirs // MIB} ({percent:+.2f} %)")
    return f"{case}  " + "  ".join(parts)


def real_row(case: Case, seen: Seen, costs: Costs, errors: Errors) -> str:
    """Compare with a real load."""
    errors.rows += 1
    ours = [f"{size / MIB:.2f}" for size in caches(case)]
    wrong = ours != list(seen.caches)
    errors.note("caches, not exact", 100.0 * wrong)
    compute = sum(graphs(case, costs)) / MIB
    compute_off = _percent(compute, sum(seen.compute))
    errors.note("compute buffers", compute_off)
    held = planned_held(case, costs)
    held_off = _percent(held, seen.held)
    errors.note("whole process", held_off)
    shown = "+".join(seen.caches)
    return (
        f"{case}  caches {shown} {'NOT ' + '+'.join(ours) if wrong else 'exact'}"
        f"  compute {compute:.2f} : {sum(seen.compute):.2f} ({compute_off:+.2f} %)"
        f"  process {held / MIB:.1f} : {seen.held / MIB:.1f} ({held_off:+.2f} %)"
        f"  {seen.seconds:.0f} s"
    )


def summary(title: str, errors: Errors) -> Sequence[str]:
    """Return the last lines."""
    return [
        f"{title}: {errors.rows} combinations",
        *(f"  {kind}: largest error {value:+.2f} %" for kind, value in errors.largest.items()),
    ]


def _slides(case: Case) -> bool:
    return bool(case.model.model_spec.geometry.sliding_window)


def _percent(ours: float, theirs: float) -> float:
    return 100 * (ours - theirs) / theirs if theirs else 0.0
