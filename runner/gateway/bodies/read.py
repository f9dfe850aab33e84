"""From the bytes of a body to what is asked."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from runner.gateway import ollama
from runner.gateway.calls import Asked
from runner.gateway.refusal import Refusal
from runner.gateway.routes import Route

_READERS: Final[Mapping[str, Callable[[Asked], None]]] = {**ollama.READERS}


def read(route: Route, data: bytes) -> Asked:
    """Return what a body asks. Raises Refusal (400) for a body that is malformed."""
    asked = Asked(route, data, _document(data), route.engine_path)
    if reader := _READERS.get(route.body):
        reader(asked)
    return asked


def _document(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise Refusal(400, f"The body is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise Refusal(400, "The body must be a JSON object.")
    return found
