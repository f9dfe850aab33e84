"""Asks for a list of releases: GitHub's, or that of a mirror that answers as GitHub does."""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from runner.base.errors import SteprunError, UsageError
from runner.net import web
from runner.net.endpoint import Endpoint

API: Final = "https://api.github.com"
LIST_BYTES: Final = 16 << 20  # 20 releases with 40 archives each are about 2 MB
LIST_S: Final = 60.0
_RELEASES = 20  # upstream makes some ten a day; those with a version number hold no archives
_HERE = "Or fetch an archive elsewhere, and give its path: steprun engine fetch --archive PATH"


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
    if parts.username or parts.password or (parts.scheme == "http" and not Endpoint(base).local):
        raise UsageError(
            "The mirror that STEPRUN_RELEASES names cannot be used.",
            why="It holds a name or a password, or can be changed on its way (http).",
            next="Give an https address without either",
        )
    place = f"{base.rstrip('/')}/repos/{repo}/releases"
    if version == "latest":
        listed = asyncio.run(_listed(f"{place}?per_page={_RELEASES}"))
    elif re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", version):
        listed = [asyncio.run(_listed(f"{place}/tags/{version}"))]
    else:
        raise UsageError(
            f"{version!r} is no version.", why="No release has such a name.", next="Such as b11429"
        )
    if not isinstance(listed, list):
        raise _no_list(place, "It is not a list of releases.")
    return [list(_assets(item, place)) for item in listed[:_RELEASES]]


def _assets(item: Any, place: str) -> Iterable[Asset]:
    """Yield the archives of a release that are fit to be fetched; what is odd is left out."""
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
        with suppress(ValueError, httpx2.InvalidURL):  # without encryption: left out
            target = web.next_hop(place, url)
            found = re.fullmatch(r"sha256:([0-9a-f]{64})", digest)
            yield Asset(name, target, size, found[1] if found else "")


async def _listed(url: str) -> Any:
    """Return the JSON at an address of the list: bounded in time, length and trust."""
    plain = url.partition("?")[0]
    headers = {"Accept": "application/vnd.github+json", "User-Agent": web.AGENT}
    timeout = httpx2.Timeout(LIST_S / 3)
    try:
        async with (
            asyncio.timeout(LIST_S),
            web.client(timeout, local=Endpoint(url).local) as http,
        ):
            for _ in range(web.HOPS + 1):
                async with http.stream("GET", url, headers=headers) as response:
                    if response.status_code not in web.REDIRECTS:
                        return await _json(response, plain)
                    url = web.next_hop(url, response.headers.get("location", ""))
            raise _no_list(plain, f"It redirects more than {web.HOPS} times.")
    except TimeoutError as error:
        raise _no_list(plain, f"It took more than {LIST_S:.0f} seconds.") from error
    except web.RedirectRefused as error:
        raise _no_list(plain, str(error)) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
        why = web.shown(str(error) or type(error).__name__)
        raise _no_list(plain, f"The connection failed: {why}.") from error


async def _json(response: httpx2.Response, place: str) -> Any:
    status = response.status_code
    if status in {403, 429}:
        raise _closed(place, status, response.headers)
    if status == 404:
        raise UsageError(
            f"{place} is not there.",
            why="There is no such release, or no such list (status 404).",
            next="Take another --version, such as b11429, or the latest",
        )
    if status != 200:
        raise _no_list(place, f"The server answers with status {status}.")
    body = bytearray()
    async for chunk in response.aiter_bytes(1 << 16):
        body += chunk
        if len(body) > LIST_BYTES:
            raise _no_list(place, f"It is longer than {LIST_BYTES:,} bytes.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        page = "text/html" in response.headers.get("content-type", "")
        why = "A web page came in its place; a network may ask to sign in."
        raise _no_list(place, why if page else "It is no JSON.") from error


def _closed(place: str, status: int, headers: Mapping[str, str]) -> SteprunError:
    pause = web.whole(headers.get("retry-after", ""))
    wait = f"Wait {pause} seconds" if pause is not None and pause < 86_400 else "Wait an hour"
    return SteprunError(
        f"{place} gives no answer for now.",
        why=f"The server asks for a pause (status {status}): GitHub answers 60 times an hour, "
        "to all who share an address.",
        next=f"{wait} and try again, or use a mirror (STEPRUN_RELEASES). {_HERE}",
    )


def _no_list(place: str, why: str) -> SteprunError:
    return SteprunError(
        f"The list of releases at {place} cannot be read.",
        why=why,
        next=f"Check the network, or use a mirror (STEPRUN_RELEASES). {_HERE}",
    )
