"""Files of the Hugging Face hub, or of a mirror, as sources of bytes: over hf-xet, or plain HTTP.

`huggingface_hub` knows the hub's token, its headers and Xet. Its own download starts a file over
whenever it is interrupted (2.4: the part has a random name and is deleted), so files are downloaded
by `runner.net.transfer`, which resumes them and verifies them while they arrive.
"""

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from huggingface_hub import constants
from huggingface_hub.utils._xet import (
    parse_xet_connection_info_from_headers,
    parse_xet_file_data_from_response,
)

from runner.base.errors import Refused
from runner.base.text import shown
from runner.catalog.model import ModelFile
from runner.hub import settings
from runner.net import http
from runner.net.endpoint import same_origin
from runner.net.headers import number
from runner.net.http import Client, HttpStatus, Mismatch
from runner.net.retry import Patience, Transient
from runner.net.stream import HttpStream, Stream
from runner.net.transfer import advice

LOG_IN: Final = "Accept the model's terms on its page, then log in: hf auth login"
# For short requests while somebody waits: a header, a list of files.
PATIENCE: Final = Patience(head_s=10.0, stall_s=20.0, tries=3, wait_s=10.0)
_XET_TRIES: Final = 2  # in a row in vain; then plain HTTP, which any proxy lets through
_XET_SPARE_S: Final = 60.0  # an access token is renewed so long before it expires


@dataclass(frozen=True, slots=True)
class Head:
    """What the hub says of a file before it sends it: `etag` is the sha256 of a large one."""

    etag: str = ""
    size: int | None = None
    xet: Any = None


class HubFile:
    """A file of a repository at a commit, as a source for `runner.net.transfer`."""

    def __init__(self, file: ModelFile, hub: "Hub", patience: Patience) -> None:
        self.name = f"{file.repo}/{file.path}"
        self.advice = advice(
            shown(self.name),
            denied=LOG_IN,
            missing="Check HF_ENDPOINT, if it names a mirror; look for newer files:"
            " steprun models check",
        )
        self.url = (
            f"{settings.endpoint()}/{file.repo}/resolve/{quote(file.revision)}/{quote(file.path)}"
        )
        self._file, self._hub, self._patience = file, hub, patience
        self._head: Head | None = None
        self._xet_tries = 0
        self._last_start = -1

    def stream(self, start: int, etag: str, end: int | None = None) -> Stream:  # noqa: ARG002
        """Return its bytes from `start` on, up to `end` or to its own end.

        The server's name for the version, `etag`, is not sent back: the commit says which it is,
        and the servers behind a mirror may each have a name of their own.
        """
        if self._head is None:
            self._head = self._checked_head()
        return self._over_xet(self._head, start, end) or HttpStream(
            self.url,
            start,
            end,
            size=self._file.bytes,
            patience=self._patience,
            headers=self._hub.headers,
        )

    def _over_xet(self, head: Head, start: int, end: int | None) -> Stream | None:
        """Return the bytes over hf-xet; None where it is unavailable, or has failed before."""
        self._xet_tries = 1 if start > self._last_start else self._xet_tries + 1
        self._last_start = start
        if head.xet is None or self._xet_tries > _XET_TRIES:
            return None
        try:
            from runner.hub.xet import XetStream  # noqa: PLC0415 - it may not be installed
        except ImportError:  # or be of another version
            return None
        access = partial(self._hub.xet_access, patience=self._patience)
        size, headers = self._file.bytes, self._hub.headers
        return XetStream(head.xet, start, end, size=size, access=access, headers=headers)

    def _checked_head(self) -> Head:
        head = self._hub.head(self.url, self._patience)
        file = self._file
        if file.sha256 and len(head.etag) == 64 and head.etag != file.sha256:
            raise Mismatch(f"The server has another file, with the sha256 {shown(head.etag)}.")
        if head.size is not None and head.size != file.bytes:
            raise Mismatch(f"It has {head.size:,} bytes, and should have {file.bytes:,}.")
        return head


class Hub:
    """The hub that HF_ENDPOINT names, with the user's token; one for all files of a pull."""

    def __init__(self, what: str = "Nothing can be downloaded from the hub.") -> None:
        """Read the user's settings. `what`: has not been done, if they forbid the network."""
        if settings.offline():
            raise Refused(
                what,
                why="HF_HUB_OFFLINE is set, which says to stay off the network.",
                next="Unset it: unset HF_HUB_OFFLINE",
            )
        self._endpoint = settings.endpoint()
        self._token = settings.token()
        self._lock = threading.Lock()
        self._xet_access: dict[str, Any] = {}

    def headers(self, url: str) -> Mapping[str, str]:
        """Return what to add to a request: the token, for the hub alone."""
        authorised = self._token and same_origin(url, self._endpoint)
        return {"Authorization": f"Bearer {self._token}"} if authorised else {}

    def head(self, url: str, patience: Patience) -> Head:
        """Ask about a file. What a server without HEAD does not say stays empty."""
        response = self._ask(url, patience, "HEAD")
        status, headers = response.status_code, response.headers
        if status in {401, 403, 404, 410}:
            raise HttpStatus(status, headers)
        if http.meaning(status).passes:
            http.judge(response)
        if status >= 400:
            return Head()
        etag = headers.get("x-linked-etag") or headers.get("etag", "")
        size = number(headers, "x-linked-size")
        if size is None and status == 200:
            size = number(headers, "content-length")
        xet = parse_xet_file_data_from_response(response, endpoint=self._endpoint)
        off = constants.HF_HUB_DISABLE_XET
        return Head(etag.removeprefix("W/").strip('"'), size, None if off else xet)

    def xet_access(self, route: str, patience: Patience) -> Any:
        """Return where the bytes of a repository lie in Xet, with a token for it that expires."""
        with self._lock:
            found = self._xet_access.get(route)
            if found is None or found.expiration_unix_epoch < time.time() + _XET_SPARE_S:
                response = self._ask(route, patience, "GET")
                http.judge(response)
                found = parse_xet_connection_info_from_headers(response.headers)
                if found is None:
                    raise Transient("The hub gives no access to Xet.")
                self._xet_access[route] = found
            return found

    def _ask(self, url: str, patience: Patience, method: str) -> Any:
        with contextlib.closing(Client(patience, self.headers)) as client:
            return client.send(url, method=method, leave_origin=False)
