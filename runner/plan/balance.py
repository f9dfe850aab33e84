"""How many layers each card takes, and how many must leave their experts elsewhere. Pure.

Sizes in bytes: `loads` of the layers in their order, `room` of the cards in theirs.
"""

from collections.abc import Callable

_HALVINGS = 30  # of a card's spare room: 32 GiB down to less than a KiB


def fewest(loads: Callable[[int], list[int]], most: int, room: list[int]) -> int:
    """Return of how few layers the experts must stay in main memory; of all if nothing helps.

    `loads`: what each layer takes with the experts of so many elsewhere; `most`: of so many.
    """
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if _filled(loads(middle), room) is not None:
            high = middle
        else:
            low = middle + 1
    return low


def _filled(loads: list[int], room: list[int]) -> tuple[int, ...] | None:
    """Give each card in turn as many layers as it can hold; None where some are left over."""
    counts, at = [], 0
    for space in room:
        begin, left = at, space
        while at < len(loads) and loads[at] <= left:
            left -= loads[at]
            at += 1
        counts.append(at - begin)
    return tuple(counts) if at == len(loads) else None


def balanced(loads: list[int], room: list[int]) -> tuple[int, ...]:
    """Give each card layers so that the fullest has as much to spare as can be.

    Where they do not fit, the last card takes what is left over, so that the ledger shows it.
    """
    best = _filled(loads, room)
    if best is None:
        short = _filled([*loads], [*room[:-1], sum(loads)])
        return short or (len(loads), *([0] * (len(room) - 1)))
    low, high = 0, max(room)
    for _ in range(_HALVINGS):
        middle = (low + high) // 2
        counts = _filled(loads, [space - middle for space in room])
        if counts is None:
            high = middle
        else:
            best, low = counts, middle
    return best
