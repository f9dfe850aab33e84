"""What all that asks a web server here agrees on. No request is made in this module.

Redirects are followed by the callers, a hop at a time, so that nothing goes from https to http.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

import httpx2

from runner import __version__
from runner.base.errors import SteprunError

HOPS: Final = 5  # the most redirects that are followed
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
AGENT: Final = f"steprun/{__version__}"
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)


class RedirectRefused(ValueError):  # noqa: N818 - an answer, not a fault
    """A redirect that is not followed; its text says why. `host`: where it leads, unencrypted."""

    def __init__(self, why: str, host: str = "") -> None:
        super().__init__(why)
        self.host = host


def client(timeout: httpx2.Timeout, *, local: bool) -> httpx2.AsyncClient:
    """Return a client. `local`: for a server on this machine, where no proxy may stand between."""
    with _explained():
        return httpx2.AsyncClient(timeout=timeout, trust_env=not local)


def plain_client(timeout: httpx2.Timeout, *, local: bool) -> httpx2.Client:
    """Return a client that blocks: a gigabyte costs it half the time that `client` takes."""
    with _explained():
        return httpx2.Client(timeout=timeout, trust_env=not local)


def next_hop(url: str, location: str) -> str:
    """Return where `location` leads from `url`. Raises NoHop where it may not be followed."""
    target = httpx2.URL(url).join(location) if location else None
    if target is None or target.scheme not in {"http", "https"} or not target.host:
        raise RedirectRefused(f"It redirects to {shown(location)}, which is no web address.")
    if url.startswith("https:") and target.scheme == "http":
        host = shown(target.host)
        raise RedirectRefused(f"Its server redirects to {host} without encryption.", host)
    return str(target)


def content_range(headers: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Return the first byte, the last and the whole size of a partial answer."""
    match = _RANGE.fullmatch(headers.get("content-range", ""))
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def etag(headers: Mapping[str, str]) -> str:
    """Return the server's name for a version, if it is fit to go back to it in a header."""
    name = headers.get("etag", "")
    return name if re.fullmatch(r"[ -~]{1,255}", name) else ""


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (ImportError, ValueError, OSError, httpx2.HTTPError) as error:
        raise SteprunError(
            "no connection can be made",
            why=f"The proxy or certificate settings cannot be used: {shown(str(error))}.",
            next="Check HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE",
        ) from error


def whole(text: str) -> int | None:
    """Return a header's number."""
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def shown(text: str) -> str:
    """Return what a server said as it may be printed: short, and no control codes."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
