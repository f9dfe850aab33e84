"""Cards with memory of their own, whoever made them: when they count, and what they add up to."""

from runner.machine.facts import Backend, Device, Machine, Platform
from runner.machine.host import Host
from runner.machine.read import GIB

# Below this a card holds no useful part of a model of 60 GB and more, or it is the graphics
# inside a desktop processor; a guess, as nobody has published one.
LEAST_BYTES = 6 * GIB
# Context and driver: of 32 GB cards an engine gets 31.4 GiB each.
_RESERVE_BYTES = 6 * GIB // 10


def discrete(
    host: Host, platform: Platform, backend: Backend, cards: list[Device], source: str
) -> Machine:
    """Return the machine of one or more cards; `source` says who told their memory."""
    names = sorted({card.name for card in cards})
    number = len(cards)
    return Machine(
        platform=platform,
        name=f"{number}x {names[0]}" if len(names) == 1 < number else " + ".join(names),
        os=host.os,
        arch=host.arch,
        memory_bytes=host.memory_bytes,
        unified=False,
        backend=backend,
        limit_bytes=sum(card.memory_bytes or 0 for card in cards),
        limit_source=f"memory of {number} card{'s' if number > 1 else ''}, {source}",
        reserve_bytes=number * _RESERVE_BYTES,
        reserve_why=f"the driver's own use of each card, {_RESERVE_BYTES / GIB:.1f} GiB",
        cores=host.cores,
        available_bytes=host.available_bytes,
        devices=tuple(cards),
    )
