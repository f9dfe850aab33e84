"""How much of main memory must stay free while an engine runs. Pure."""

from runner.machine.facts import Backend, processor_reserve
from runner.plan.choose import Plan
from runner.plan.launch import Floors
from runner.plan.memory.ledger import LedgerEntry
from runner.plan.placement import is_split


def floors(plan: Plan) -> Floors:
    """Return the floors of a plan: parts of the reserve that it keeps for the system.

    With all that was planned in memory, at least the whole reserve is left. At three quarters of it
    another program has taken what was not its share; half of it is for the system to live on.
    """
    main = plan.placement.held[-1]
    reserve = main.pool.reserve_bytes or processor_reserve(plan.machine.memory_bytes)
    # Mapped weights are read by the processor where they lie; an accelerator has copies, or holds
    # the pages itself. Those that were planned to stay on the disk may go.
    processor = plan.machine.backend is Backend.CPU or is_split(plan.machine)
    mapped = sum(item.bytes for item in main.items if item.item is LedgerEntry.WEIGHTS)
    needed = mapped if processor and not plan.paged else 0
    return Floors(low=reserve * 3 // 4, least=reserve // 2, mapped=needed)
