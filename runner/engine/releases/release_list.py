"""The list of an engine's releases: GitHub's, or that of a mirror that answers as GitHub does."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from runner.base.errors import SteprunError, UsageError
from runner.base.units import MIB
from runner.net import http
from runner.net.endpoint import is_loopback
from runner.net.headers import number
from runner.net.retry import Patience, Transient

API: Final = "https://api.github.com"
LIST_BYTES: Final = 16 * MIB  # 20 releases with 40 archives each are about 2 MB
LIST_S: Final = 60.0
PATIENCE: Final = Patience(head_s=LIST_S / 3, stall_s=LIST_S / 3, tries=3, wait_s=10.0)
POINTER: Final = "nightly-tag.txt"
POINTER_BYTES: Final = 1024  # a real one is 7
_RELEASES: Final = 20  # upstream makes some ten a day; those with a version number hold no archives
_ELSE: Final = (
    "use a mirror (STEPRUN_RELEASES). Or download an archive elsewhere, and give its path: "
    "steprun engine fetch --archive PATH"
)


@dataclass(frozen=True, slots=True)
class Asset:
    """An archive of a release. `sha256`: empty where the list gives none."""

    name: str
    url: str
    size: int
    sha256: str


def list_releases(base: str, repo: str, version: str) -> list[list[Asset]]:
    """Return the archives of the newest releases (`latest`), or of one, in the list's order.

    `base`: the list's address, up to `/repos/`. Raises UsageError (no such release) or
    SteprunError (no network, no list, or it is closed for a while).
    """
    parts = urlsplit(base)
    if parts.username or parts.password or (parts.scheme == "http" and not is_loopback(base)):
        raise UsageError(
            "The mirror that STEPRUN_RELEASES names cannot be used.",
            why="Its address contains a name or a password, or is not encrypted (http).",
            next="Give an https address without either.",
        )
    place = f"{base.rstrip('/')}/repos/{repo}/releases"
    latest = version == "latest"
    if not latest and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", version):
        raise UsageError(
            f"{version!r} is not a version.",
            why="No release can have this name.",
            next="Name one such as b11429.",
        )
    url = f"{place}?per_page={_RELEASES}" if latest else f"{place}/tags/{version}"
    with http.errors_for(_advice(url.partition("?")[0])):
        found = _listed(url)
        if latest and not isinstance(found, list):
            raise http.Mismatch("It is not a list of releases.")
    return [list(_assets(item, place)) for item in (found[:_RELEASES] if latest else [found])]


def pointed_to(assets: Iterable[Asset]) -> str:
    """Return the build that a release without archives stands for; empty where it names none.

    Upstream's releases with a version number hold one text, which names a build such as b11429.
    Raises `SteprunError` where it cannot be read.
    """
    for asset in assets:
        if asset.name == POINTER:
            with http.errors_for(_advice(asset.url.partition("?")[0])):
                text = http.get_body(
                    asset.url, most_bytes=POINTER_BYTES, total_s=LIST_S, patience=PATIENCE
                )
            found = re.fullmatch(rb"\s*(b[0-9]{1,9})\s*", text)
            return found[1].decode("ascii") if found else ""
    return ""


def _assets(item: Any, place: str) -> Iterable[Asset]:
    """Yield the archives of a release that can be downloaded; what is odd is left out."""
    if not isinstance(item, dict) or item.get("draft"):
        return
    listed = item.get("assets")
    for each in listed if isinstance(listed, list) else ():
        if not isinstance(each, dict) or each.get("state", "uploaded") != "uploaded":
            continue
        name, url, size = each.get("name"), each.get("browser_download_url"), each.get("size")
        digest = str(each.get("digest") or "")
        # The name becomes that of a file here.
        if not (isinstance(name, str) and re.fullmatch(r"[\w.+-]{1,200}", name, re.ASCII)):
            continue
        if not isinstance(url, str) or type(size) is not int or size <= 0:
            continue
        with suppress(http.RedirectRefused, Transient):  # without encryption: left out
            target = http.next_hop(place, url)
            found = re.fullmatch(r"sha256:([0-9a-f]{64})", digest)
            yield Asset(name, target, size, found[1] if found else "")


def _listed(url: str) -> Any:
    """Return the JSON at an address of the list: bounded in time, length and trust."""
    try:
        data = http.get_body(
            url,
            most_bytes=LIST_BYTES,
            total_s=LIST_S,
            patience=PATIENCE,
            headers=lambda _url: {"Accept": "application/vnd.github+json"},
        )
    except http.HttpStatus as answer:
        if answer.status != 403:
            raise
        why = (
            "The server asks for a pause (status 403): GitHub answers 60 requests an hour from one"
        )
        pause = number(answer.headers, "retry-after") or 0
        raise Transient(f"{why} address, which others may share.", pause) from answer
    return http.parse_json(data)


def _advice(place: str) -> http.ErrorAdvice:
    return http.ErrorAdvice(
        what=f"The list of releases at {place} cannot be read.",
        missing="Take another --version, such as b11429, or the latest.",
        otherwise=f"{http.NETWORK}, wait and try again, or {_ELSE}",
        thing="release, or no such list",
        missing_error=UsageError,
        odd_error=SteprunError,
        redirect_error=SteprunError,
        downgrade_error=SteprunError,
    )
