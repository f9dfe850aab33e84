"""A plan as a document: `steprun.plan/1` of the command contract. Pure."""

from typing import Any

from runner.plan.choose import Plan
from runner.plan.launch import LaunchSpec
from runner.plan.memory.ledger import Item
from runner.plan.memory.lessons import Lesson
from runner.speed.estimate import Speed
from runner.speed.estimate import to_json as speed_json


def to_json(plan: Plan, spec: LaunchSpec, speed: Speed | None = None) -> dict[str, Any]:
    """Return the plan's document. `spec`: the launch line, empty for a refusal.

    Beyond the contract: `context_shared` says whether `context` is that of all slots together, any
    one of which may take it up, or each slot has as much; `context_total` is all of it in tokens,
    the `--ctx-size` of the launch line. `spare_slots`: those of the engine beside `parallel`, over
    the same cache: its `--parallel` counts both. `memories` is the ledger of each memory by itself,
    cards first, main memory last; `layers` what each card takes; `experts_in_ram` the `--n-cpu-moe`
    of the launch line; `choices` the rows of asked / planned / why; `speed` what to expect, null
    where nothing is known; `lesson` what runs have shown beyond what is counted, missing without
    any; `warnings` the machine's.
    """
    machine, config = plan.machine, plan.config
    return {
        "schema": "steprun.plan/1",
        "verdict": "fits" if plan.fits else "refused",
        "paged": plan.paged,
        "machine": {
            "platform": str(machine.platform),
            "name": machine.name,
            "memory_bytes": machine.memory_bytes,
            "unified": machine.unified,
        },
        "backend": str(machine.backend),
        "model": plan.model_spec.name,
        "quant": plan.variant.name,
        "projector": config.projector,
        "mtp": config.mtp,
        "context": config.context,
        "kv_type": config.kv_type,
        "ubatch": config.ubatch,
        "parallel": config.parallel,
        "spare_slots": config.spare,
        "context_shared": config.shared,
        "context_total": config.context * config.streams,
        "limit_bytes": plan.limit_bytes,
        "limit_source": plan.limit_source,
        "total_bytes": plan.total_bytes,
        "missing_bytes": max(0, -plan.placement.spare_bytes),
        "ledger": [_item(item) for item in plan.items],
        "memories": [
            {
                "name": part.pool.name,
                "limit_bytes": part.pool.limit_bytes,
                "ledger": [_item(item) for item in part.items],
            }
            for part in plan.placement.held
        ],
        "layers": list(plan.placement.layers),
        "experts_in_ram": plan.placement.n_cpu_moe,
        "argv": list(spec.argv),
        "env": dict(spec.env),
        "choices": [
            {"what": c.what, "asked": c.asked, "planned": c.planned, "why": c.why}
            for c in plan.choices
        ],
        "reasons": list(plan.reasons),
        "speed": speed_json(speed) if speed else None,
        **({"lesson": _lesson(plan.lesson)} if plan.lesson else {}),
        "warnings": [*machine.warnings, *plan.warnings],
        "unknown": list(machine.unknown),
        "fixes": [
            {"what": fix.what, "command": fix.command, "undo": fix.undo} for fix in plan.fixes
        ],
    }


def _lesson(lesson: Lesson) -> dict[str, Any]:
    return {
        "bytes": lesson.bytes,
        "seen_bytes": lesson.seen_bytes,
        "runs": lesson.runs,
        "model": lesson.model,
        "day": lesson.day,
    }


def _item(item: Item) -> dict[str, Any]:
    return {"item": str(item.item), "bytes": item.bytes, "why": item.why}
