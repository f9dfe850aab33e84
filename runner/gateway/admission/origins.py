"""The `Origin` header: which web pages may use a gateway, and what lets them read it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from runner.gateway.admission.hosts import host_name, is_local
from runner.gateway.refusal import Refusal

_LISTED: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}")  # header names, with commas
_MAX_AGE_S: Final = "600"  # Chromium keeps no answer to a preflight for longer than 2 hours


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins that are allowed beside the gateway's own page and pages of this machine."""

    allowed: frozenset[str] = frozenset()

    def check(self, headers: Mapping[str, str], host: str) -> dict[str, str]:
        """Return the headers that let the page of a request read its answer.

        `host`: the request's. Raises Refusal (403) for a page that may not even ask.
        """
        headers_of_all = {"Vary": "Origin"}
        origin = headers.get("Origin")
        if origin is None:
            return headers_of_all
        if self._allows(origin.lower()):
            return headers_of_all | {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Expose-Headers": "*",
            }
        if origin.lower().partition("://")[2] == host:
            return headers_of_all
        shown = origin[:100] if origin.isprintable() else "?"
        raise Refusal(
            403,
            f"A web page of the origin {shown} may not use this server. If you trust it, start "
            f"the server with: steprun serve --allow-origin {shown}",
        )

    def _allows(self, origin: str) -> bool:
        if origin in self.allowed:
            return True
        scheme, _, authority = origin.partition("://")
        name = host_name(authority) if scheme in {"http", "https"} else None
        return name is not None and is_local(name)


def preflight(method: str, headers: Mapping[str, str]) -> dict[str, str] | None:
    """Return the headers that answer a CORS preflight; None where a request is none."""
    if method != "OPTIONS" or not {"Origin", "Access-Control-Request-Method"} <= headers.keys():
        return None
    answer = {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
        "Access-Control-Max-Age": _MAX_AGE_S,
    }
    asked = headers.get("Access-Control-Request-Headers", "")
    if _LISTED.fullmatch(asked):
        answer["Access-Control-Allow-Headers"] = asked  # `*` would leave Authorization out
    if headers.get("Access-Control-Request-Private-Network") == "true":
        answer["Access-Control-Allow-Private-Network"] = "true"
    return answer


def origin_of(typed: str) -> str | None:
    """Return an origin as browsers send it (`https://example.org:8443`), None where it is none."""
    if typed == "null":
        return typed
    try:
        parts = urlsplit(typed.lower())
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not parts.netloc or parts.path.strip("/") or parts.query:
        return None
    if parts.username or host_name(parts.netloc) is None:
        return None
    default = {"http": 80, "https": 443}.get(parts.scheme)
    netloc = (
        parts.netloc.rpartition(":")[0] if port is not None and port == default else parts.netloc
    )
    return f"{parts.scheme}://{netloc}"
