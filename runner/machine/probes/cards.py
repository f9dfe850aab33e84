"""Cards with memory of their own, whoever made them: when they count, and what they add up to."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from runner.base.units import GIB, size
from runner.machine.facts import AS_IF_IDLE, Backend, Device, Machine, Platform
from runner.machine.probes.host import HostFacts, Notes

# Below this a card holds no useful part of a model of 60 GB and more, or it is the graphics
# inside a desktop processor; a guess, as nobody has published one.
LEAST_BYTES = 6 * GIB
# No card has less than this: it is the graphics inside a desktop processor, not worth a warning.
_INSIDE_BYTES = 1 * GIB
# Context and driver: of 32 GB cards an engine gets 31.4 GiB each.
_RESERVE_BYTES = 6 * GIB // 10
RESERVE_WHY = f"the driver's own use of each card, {size(_RESERVE_BYTES)}"

# Cards that no probe plans for, by PCI id: named, so that nobody waits for them. Graphics inside
# Intel's processors are not among them, as nobody expects a model to run there. Sources: the PCI
# id lists of Linux's i915, xe and of Mesa (DG1, Alchemist, Battlemage).
_UNPLANNED = (
    (re.compile(r"8086:(?:490[5-9]|569[0-9a-f]|56[abc][0-9a-f]|e2[012][0-9a-f])"), "Intel Arc"),
    (re.compile(r"1ed5:[0-9a-f]{4}"), "Moore Threads"),
)


def title(cards: Sequence[Device]) -> str:
    """Return what to call these cards together: `4x NVIDIA GeForce RTX 5090`."""
    names = sorted({card.name for card in cards})
    number = len(cards)
    return f"{number}x {names[0]}" if len(names) == 1 < number else " + ".join(names)


def total(cards: Iterable[Device]) -> int:
    """Return the known memory of the cards together."""
    return sum(card.memory_bytes or 0 for card in cards)


def reserve(cards: Sequence[Device]) -> int:
    """Return what their drivers need of these cards together."""
    return min(total(cards), len(cards) * _RESERVE_BYTES)


def limit_source(cards: Sequence[Device], source: str) -> str:
    """Return a machine's `limit_source`; `source`: where the cards' memory is known from."""
    return f"memory of {len(cards)} card{'s' if len(cards) > 1 else ''}, {source}{AS_IF_IDLE}"


def discrete(
    host: HostFacts, platform: Platform, backend: Backend, cards: Sequence[Device], source: str
) -> Machine:
    """Return the machine of one or more cards; `source`: where their memory is known from."""
    return replace(
        host.machine(),
        platform=platform,
        name=title(cards),
        backend=backend,
        limit_bytes=total(cards),
        limit_source=limit_source(cards, source),
        reserve_bytes=reserve(cards),
        reserve_why=RESERVE_WHY,
        devices=tuple(cards),
        idle_bytes=host.idle_bytes,
    )


def beside(
    host: HostFacts, backend: Backend, cards: Sequence[Device], source: str
) -> tuple[Machine, ...]:
    """Return the other way to use a computer: by cards that stand beside its main accelerator."""
    if not cards:
        return ()
    platform = {Backend.CUDA: Platform.CUDA, Backend.ROCM: Platform.ROCM}
    found = platform.get(backend, Platform.VULKAN)
    return (discrete(host, found, backend, cards, source),)


def too_small(name: str, memory: int) -> str:
    """Return the warning that a card is left out."""
    return f"{name} has {size(memory)}: too little to count on."


def large(cards: Iterable[Device], notes: Notes) -> list[Device]:
    """Return the cards that are large enough to count; warn of the others."""
    cards = list(cards)
    notes.warnings.extend(
        too_small(card.name, card.memory_bytes)
        for card in cards
        if card.memory_bytes and _INSIDE_BYTES <= card.memory_bytes < LEAST_BYTES
    )
    return [card for card in cards if (card.memory_bytes or 0) >= LEAST_BYTES]


def note_unplanned(seen: Iterable[str], notes: Notes) -> None:
    """Warn of cards, by PCI id, that are present and that no probe plans for."""
    found = {name for pci in seen for ids, name in _UNPLANNED if ids.fullmatch(pci)}
    notes.warnings.extend(
        f"A card by {name} is present, but steprun does not use it: it knows NVIDIA, AMD and Apple."
        for name in sorted(found)
    )
