"""Who may ask what: Host, Origin, the kind of body, and the key. Pure."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from runner.gateway.refusal import Refusal
from runner.gateway.routes import Route


@dataclass(frozen=True, slots=True)
class Door:
    """The rules of one gateway. `keys`: by the name of their client; empty where none is needed."""

    keys: Mapping[str, str]


def admit(door: Door, route: Route, headers: Mapping[str, str]) -> str:
    """Return the client's name, empty where no key is needed. Raises Refusal (401, 403, 415)."""
    if route.open or not door.keys:
        return ""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    for name, key in door.keys.items():
        if hmac.compare_digest(given.encode(), key.encode()):
            return name
    raise Refusal(401, "The API key is missing or wrong. Send it as: Authorization: Bearer KEY")
