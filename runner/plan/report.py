"""A plan as a document: `steprun.plan/1` of the command contract. Pure."""

from typing import Any

from runner.plan.choose import Plan


def to_json(plan: Plan, argv: tuple[str, ...]) -> dict[str, Any]:
    """Return the plan's document. `argv`: the launch line, empty for a refusal."""
    machine, config = plan.machine, plan.config
    return {
        "schema": "steprun.plan/1",
        "verdict": "fits" if plan.fits else "refused",
        "machine": {
            "platform": str(machine.platform),
            "name": machine.name,
            "memory_bytes": machine.memory_bytes,
            "unified": machine.unified,
        },
        "backend": str(machine.backend),
        "model": plan.subject.name,
        "quant": plan.variant.name,
        "projector": config.projector,
        "mtp": config.mtp,
        "context": config.context,
        "kv_type": config.kv_type,
        "ubatch": config.ubatch,
        "parallel": config.parallel,
        "limit_bytes": machine.limit_bytes,
        "limit_source": machine.limit_source,
        "total_bytes": plan.total_bytes,
        "ledger": [
            {"item": str(item.item), "bytes": item.bytes, "why": item.why} for item in plan.items
        ],
        "argv": list(argv),
        "reasons": list(plan.reasons),
        "fixes": [{"what": fix.what, "command": fix.command} for fix in plan.fixes],
    }
