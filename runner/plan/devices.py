"""How an engine is told which cards to use, and in which order. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from runner.machine.facts import Machine


@dataclass(frozen=True, slots=True)
class Cards:
    """How a backend's driver is told: the `[cards]` of its recipe.

    `env`: the variable that takes UUIDs or numbers. The engine then sees no other cards, and counts
    these from 0. `also`: the variables without which that would not be certain. `device`: what the
    engine calls a card, before its number.
    """

    env: str
    device: str
    also: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceSelection:
    """What to tell an engine: variables, or where there are none `names` with `--device`.

    `names`: what it calls the cards then, in their order.
    """

    names: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


def device_selection(
    machine: Machine, used: Sequence[int], cards: Cards | None
) -> DeviceSelection | None:
    """Return how to tell the engine to use these devices, in this order; None where it cannot be.

    `cards`: the backend's own way, if it has one; else the engine must have named its devices.
    """
    devices = [machine.devices[index] for index in used]
    if not devices:
        return None
    if cards is not None:
        numbers = ["" if device.index is None else str(device.index) for device in devices]
        for known in ([device.uuid for device in devices], numbers):
            if all(known) and len(set(known)) == len(known):
                names = tuple(f"{cards.device}{number}" for number in range(len(known)))
                return DeviceSelection(names, (*cards.also, (cards.env, ",".join(known))))
    names = tuple(device.engine_name for device in devices)
    return DeviceSelection(names) if all(names) else None
