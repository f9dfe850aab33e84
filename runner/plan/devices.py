"""Which cards an engine uses, and in which order, as flags or variables for it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from runner.machine.facts import Machine


class Cards(Struct, frozen=True, forbid_unknown_fields=True):
    """How a backend's driver selects cards: the `[cards]` of its recipe.

    `env`: the variable that takes UUIDs or numbers. The engine then sees no other cards, and counts
    these from 0. `also`: the variables without which that would not be certain. `device`: what the
    engine calls a card, before its number.
    """

    env: str
    device: str
    also: dict[str, str]


@dataclass(frozen=True, slots=True)
class DeviceSelection:
    """What selects the devices: variables, or where there are none, `names` with `--device`.

    `names`: what the engine then calls the cards, in their order.
    """

    names: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


def device_selection(
    machine: Machine, used: Sequence[int], cards: Cards | None
) -> DeviceSelection | None:
    """Return what selects these devices, in this order; None where nothing can.

    `cards`: the variables of the backend, if it has any; else the engine must name its devices.
    """
    devices = [machine.devices[index] for index in used]
    if not devices:
        return None
    if cards is not None:
        numbers = ["" if device.index is None else str(device.index) for device in devices]
        for known in ([device.uuid for device in devices], numbers):
            if all(known) and len(set(known)) == len(known):
                names = tuple(f"{cards.device}{number}" for number in range(len(known)))
                return DeviceSelection(names, (*cards.also.items(), (cards.env, ",".join(known))))
    names = tuple(device.engine_name for device in devices)
    return DeviceSelection(names) if all(names) else None
