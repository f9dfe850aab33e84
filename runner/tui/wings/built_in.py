"""Actions that a widget carries out itself: listed with the keys that the widget really binds."""

from collections.abc import Iterable

from textual.binding import Binding, BindingType

from runner.tui.actions import Action


def built_in(bindings: Iterable[BindingType], *ids: str, does: str) -> Action:
    """Return the action of the bindings with these `ids`. Raises `ValueError` without any."""
    keys = tuple(
        key
        for binding in bindings
        if isinstance(binding, Binding) and binding.id in ids
        for key in binding.key.split(",")
    )
    if not keys:
        raise ValueError(f"no binding is called {' or '.join(ids)}")
    return Action(ids[0], does, keys=keys)
