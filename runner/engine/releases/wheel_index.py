"""An index page of wheels, as pip reads them (PEP 503): HTML with a link for each file."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Final
from urllib.parse import unquote, urldefrag, urlsplit

from runner.base.errors import SteprunError, UsageError
from runner.base.units import MIB
from runner.net import http
from runner.net.endpoint import is_loopback
from runner.net.retry import Patience, Transient

PAGE_BYTES: Final = 4 * MIB  # 1,000 files with their digests are 300 kB
PAGE_S: Final = 60.0
PATIENCE: Final = Patience(head_s=PAGE_S / 3, stall_s=PAGE_S / 3, tries=3, wait_s=10.0)
_MOST_FILES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that a page lists. `sha256`: empty where the page gives none."""

    name: str
    url: str
    sha256: str


def files(base: str, path: str) -> list[Listed]:
    """Return the files of the page `base`/`path`/.

    Raises UsageError (the address cannot be used, there is no such page) or SteprunError (no
    network, another answer than a page).
    """
    parts = urlsplit(base)
    if parts.username or parts.password or not (parts.scheme == "https" or is_loopback(base)):
        raise UsageError(
            "The index that STEPRUN_WHEELS names cannot be used.",
            why="Its address contains a name or a password, or is not encrypted (http).",
            next="Give an https address without either.",
        )
    url = f"{base.rstrip('/')}/{path}/"
    with http.errors_for(_advice(url)):
        data = http.get_body(
            url, most_bytes=PAGE_BYTES, total_s=PAGE_S, patience=PATIENCE, page=True
        )
    return list(parse(data.decode("utf-8", "replace"), url))


def length(url: str) -> int:
    """Return a file's bytes, as its server says them; 0 where it does not."""
    client = http.Client(PATIENCE)
    try:
        response = client.send(url, method="HEAD")
        given = response.headers.get("content-length", "")
        plain = response.status_code == 200 and re.fullmatch(r"\d{1,15}", given)
        return int(given) if plain else 0
    except (Transient, http.RedirectRefused):
        return 0  # the download will say what is wrong
    finally:
        client.close()


def parse(page: str, place: str) -> Iterator[Listed]:
    """Yield the wheels of a page at the address `place`; what is odd is left out."""
    links = _Links()
    links.feed(page)
    for href in links.found[:_MOST_FILES]:
        with suppress(http.RedirectRefused, Transient, ValueError):  # without encryption: left out
            target, fragment = urldefrag(http.next_hop(place, href))
            # A fragment is lost where an address is resolved as a redirect's is.
            fragment = fragment or urldefrag(href)[1]
            name = unquote(urlsplit(target).path.rpartition("/")[2])
            digest = re.search(r"(?:^|&)sha256=([0-9a-f]{64})(?:&|$)", fragment)
            # The name becomes that of a file here.
            if re.fullmatch(r"[\w.+-]{1,200}\.whl", name, re.ASCII):
                yield Listed(name, target, digest[1] if digest else "")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fields = dict(attrs)
        if tag == "a" and fields.get("href") and "data-yanked" not in fields:
            self.found.append(fields["href"] or "")


def _advice(url: str) -> http.ErrorAdvice:
    return http.ErrorAdvice(
        what=f"The list of wheels at {url} cannot be read.",
        missing="Choose another source, or name another index (STEPRUN_WHEELS).",
        otherwise=f"{http.NETWORK}, wait and try again, or use a mirror (STEPRUN_WHEELS).",
        thing="list",
        missing_error=UsageError,
        odd_error=SteprunError,
        redirect_error=SteprunError,
        downgrade_error=SteprunError,
    )
