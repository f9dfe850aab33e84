"""The rules of one gateway, and their order. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from runner.gateway.admission import keys as api_keys
from runner.gateway.admission.hosts import Hosts
from runner.gateway.admission.origins import Origins
from runner.gateway.refusal import Refusal
from runner.gateway.routes import Route

# On every answer: nothing is guessed about its type, no foreign page shows it, no proxy keeps it.
_ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_UTF8: Final = {"utf-8", "utf8", "us-ascii"}


class WrongKey(Refusal):
    """A key was sent, and it is none of the gateway's."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one gateway.

    `keys`: by the name of their client. `key_needed`: also where `keys` is empty, because the file
    that had them has none now.
    """

    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    hosts: Hosts = field(default_factory=Hosts)
    origins: Origins = field(default_factory=Origins)
    key_needed: bool = False


def enter(rules: Rules, target: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers for the answer, whatever was asked. Raises Refusal (400, 403).

    `target`: as it was sent. One with a scheme and a host is for a proxy.
    """
    if not target.startswith("/"):
        raise Refusal(400, "This server is not a proxy. Send the path alone, such as /v1/models.")
    host = rules.hosts.check(headers)
    return _ALWAYS | rules.origins.check(headers, host)


def admit(rules: Rules, route: Route, method: str, headers: Mapping[str, str]) -> str:
    """Return the client's name, empty where no key is needed.

    Raises Refusal (401, 403, 415). `enter` comes first.
    """
    _asked_for_itself(route, method, headers)
    client = ""
    if not route.open and (rules.keys or rules.key_needed):
        sent = api_keys.sent_keys(headers)
        name = api_keys.owner(rules.keys, sent)
        if name is None:
            how = "Send it as: Authorization: Bearer KEY"
            if sent:
                raise WrongKey(401, f"The API key is wrong. {how}")
            raise Refusal(401, f"The API key is missing. {how}")
        client = name
    if method == "POST":
        _json(headers)
    return client


def _asked_for_itself(route: Route, method: str, headers: Mapping[str, str]) -> None:
    """Refuse what another site's page loads without an Origin: pictures, frames, scripts.

    A link to the gateway's own page is followed. Browsers say so since 2020 to 2023 (Fetch
    Metadata); other clients say nothing.
    """
    site = headers.get("Sec-Fetch-Site", "none")
    if site in {"none", "same-origin"} or "Origin" in headers:
        return
    link = (
        headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    )
    if not (link and route.open and method in {"GET", "HEAD"}):
        raise Refusal(403, "A page of another site may not load this.")


def _json(headers: Mapping[str, str]) -> None:
    """Refuse bodies that are no plain JSON: browsers send others without asking (CORS)."""
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refusal(415, "The body is compressed. Send it without Content-Encoding.")
    if headers.get("Content-Length") == "0":
        return  # bodies says what is missing
    if not any(name in headers for name in ("Content-Type", "Origin", "Sec-Fetch-Site")):
        return  # LiteLLM asks Ollama so; a page's request without a type has one of the others
    kind, *options = headers.get("Content-Type", "").lower().split(";")
    kind = kind.strip()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind[-5:] == "+json"
    ):
        raise Refusal(
            415,
            "The body must be JSON, and be sent as such. Add the header Content-Type: "
            "application/json (curl: -H 'Content-Type: application/json').",
        )
    for option in options:
        name, _, value = option.strip().partition("=")
        if name == "charset" and value.strip("\"' ") not in _UTF8:
            raise Refusal(415, "The body must be JSON in UTF-8; the Content-Type names another.")
