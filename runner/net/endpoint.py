"""Addresses of servers: the endpoint that a chat talks to, and whether two URLs are one server."""

import base64
import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

_PORTS: Final = {"https": 443, "http": 80}
# Of services whose API is not below /v1, such as .../api/paas/v4 and .../v1beta/openai.
_VERSIONED: Final = re.compile(r"/v\d+(?:alpha|beta)?\d*(?:/openai)?$")
_ENDINGS: Final = (
    *("/chat/completions", "/completions", "/responses", "/messages", "/models", "/embeddings"),
    *("/api/chat", "/api/generate", "/api/tags", "/props", "/health", "/v1"),
)


# With which a chat tells a gateway of ours its session's ID.
CHAT_HEADER: Final = "x-steprun-chat"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server.

    `base_url`: without the version of the API, which `api_url` has. `login`: the user and password
    of an address that has them, encoded for a header. `key_note`: what to do where the server wants
    a key and there is none to send. `owned`: an engine that a steprun on this machine started and
    stops; a server that the user named is only spoken to. `longest_word`: the most characters
    without a break that it bears in a message; 0 where that is not known. `certificate`: a file;
    whoever bears this very certificate is the server. Empty for those that are generally trusted.
    `api_key` and `login` never appear in a repr, so that they cannot reach a log or a trace.
    """

    base_url: str
    api_key: str = ""
    owned: bool = False
    longest_word: int = 0
    login: str = ""
    key_note: str = ""
    certificate: str = ""

    def __repr__(self) -> str:
        """Name the place, never the key."""
        return f"Endpoint({self.base_url!r}, owned={self.owned})"

    @property
    def local(self) -> bool:
        """Whether it is on this machine, so that no proxy may be used."""
        return self.owned or is_loopback(self.base_url)

    def headers(self) -> dict[str, str]:
        """Return the headers that authorise a request."""
        if self.api_key:
            return {"Authorization": f"Bearer {self.api_key}"}
        return {"Authorization": f"Basic {self.login}"} if self.login else {}

    @property
    def warning(self) -> str:
        """Return what to know before a key is sent; empty where nobody else can read it."""
        if not (self.api_key or self.login) or self.local or self.base_url.startswith("https:"):
            return ""
        return f"The key goes to {self.base_url} without encryption; prefer https://."

    @property
    def api_url(self) -> str:
        """Where OpenAI's paths begin: `/v1`, unless the address names another version."""
        versioned = _VERSIONED.search(urlsplit(self.base_url).path)
        return self.base_url if versioned else f"{self.base_url}/v1"


def server_address(typed: str) -> tuple[str, str] | None:
    """Return a server's address as somebody typed it, without what follows it, and its login.

    It may lack the scheme or the host, or end in any path of the API. None where it is no address.
    """
    url = typed.strip().strip("\"'<>").strip()
    if re.fullmatch(r":?\d{1,5}", url):
        url = f"127.0.0.1:{url.removeprefix(':')}"
    elif url.count(":") > 1 and re.fullmatch(r"[0-9A-Fa-f:.]+", url):
        url = f"[{url}]"
    url = url if "://" in url else f"http://{url.removeprefix('//')}"
    parts = split_url(url)
    if parts is None or parts.port == 0 or parts.hostname is None:
        return None
    path = parts.path.rstrip("/")
    for ending in _ENDINGS:
        if path.lower().endswith(ending):
            path = path[: -len(ending)].rstrip("/")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    login = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = base64.b64encode(pair.encode()).decode("ascii")
    return f"{parts.scheme}://{host}{port}{path}", login


def is_loopback(url: str) -> bool:
    """Tell whether a URL names this machine."""
    return is_loopback_host(urlsplit(url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Tell whether only this machine can reach a host: 127.example.org may be anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def split_url(url: str) -> SplitResult | None:
    """Take an http or https URL apart; None where it is not one."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where the port is not a number
    except ValueError:
        return None
    valid = parts.scheme in _PORTS and parts.hostname and url.isprintable() and " " not in url
    return parts if valid else None


def same_origin(one: str, other: str) -> bool:
    """Tell whether two URLs have the same scheme, host and port."""
    a, b = split_url(one), split_url(other)
    return a is not None and b is not None and _origin(a) == _origin(b)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
