"""Files of the Hugging Face hub, or of a mirror, as sources of bytes: over hf-xet, or plain HTTP.

`huggingface_hub` knows the hub's addresses, tokens, offline mode and Xet. Its own download begins
a file anew whenever it is interrupted (2.4: the part has a random name and is deleted), so the
bytes are brought by `runner.net.transfer`, which goes on, and proves them while they come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx2
from huggingface_hub import constants, errors, get_hf_file_metadata, get_token, set_client_factory

from runner.base.errors import Refused, SteprunError, UsageError
from runner.catalog.model import ModelFile
from runner.hub.address import endpoint, same_origin
from runner.net import web
from runner.net.endpoint import Endpoint
from runner.net.stream import (
    HttpStatus,
    HttpStream,
    Mismatch,
    Patience,
    Stream,
    Transient,
    failed,
    passing,
)

_XET_TRIES: Final = 2  # in a row in vain; then plain HTTP, which any proxy lets through


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
        self.url = f"{endpoint()}/{file.repo}/resolve/{quote(file.revision)}/{quote(file.path)}"
        self._file, self._hub, self._patience = file, hub, patience
        self._head: Head | None = None
        self._xet_tries = 0
        self._last_start = -1

    def stream(self, start: int, etag: str, end: int | None = None) -> Stream:  # noqa: ARG002
        """Return its bytes from `start` on, up to `end` or to its own end.

        The server's name for the version, `etag`, is not asked for again: the commit says which it
        is, and the servers behind a mirror may each have a name of their own.
        """
        if self._head is None:
            self._head = self._asked()
        return self._over_xet(self._head, start, end) or HttpStream(
            self.url,
            start,
            end,
            size=self._file.bytes,
            patience=self._patience,
            headers=self._hub.headers,
        )

    def _over_xet(self, head: Head, start: int, end: int | None) -> Stream | None:
        """Return the bytes as hf-xet brings them; None where it cannot, or has failed before."""
        self._xet_tries = 1 if start > self._last_start else self._xet_tries + 1
        self._last_start = start
        if head.xet is None or self._xet_tries > _XET_TRIES:
            return None
        try:
            from runner.hub.xet import XetStream  # noqa: PLC0415 - it may not be installed
        except ImportError:  # or not be what it was
            return None
        return XetStream(head.xet, self._file.bytes, start, end, self._hub.headers)

    def _asked(self) -> Head:
        head = self._hub.head(self.url, self._patience)
        file = self._file
        if file.sha256 and len(head.etag) == 64 and head.etag != file.sha256:
            raise Mismatch(
                f"The server has another file there, with the sha256 {web.shown(head.etag)}."
            )
        if head.size is not None and head.size != file.bytes:
            raise Mismatch(f"It has {head.size:,} bytes there, and should have {file.bytes:,}.")
        return head

    def refused(self, answer: HttpStatus) -> SteprunError:
        """Say what a refusal means."""
        return refusal(self.name, answer.status, answer.headers)


class Hub:
    """The hub that `HF_ENDPOINT` names, with the user's token; one for all files of a pull."""

    def __init__(self) -> None:
        if constants.is_offline_mode():
            raise Refused(
                "Nothing can be fetched from the hub",
                why="HF_HUB_OFFLINE is set, which says not to.",
                next="Unset it: env -u HF_HUB_OFFLINE steprun models pull",
            )
        self._endpoint = endpoint()
        self._token = get_token() or ""
        if not self._token.isascii() or any(c.isspace() for c in self._token):
            raise UsageError(
                "The hub's token is not a token",
                why="It holds spaces or other characters that no token has.",
                next="Set it again: hf auth login",
            )
        if Endpoint(self._endpoint).local:  # no proxy may stand between
            set_client_factory(lambda: httpx2.Client(trust_env=False))

    def headers(self, url: str) -> Mapping[str, str]:
        """Return what is sent to an address beside the usual: the token, to the hub alone."""
        if self._token and same_origin(url, self._endpoint):
            return {"Authorization": f"Bearer {self._token}"}
        return {}

    def head(self, url: str, patience: Patience) -> Head:
        """Ask about a file. A server that knows no such question is asked for the file at once."""
        try:
            found = get_hf_file_metadata(
                url,
                token=self._token or False,
                timeout=patience.head_s,
                endpoint=self._endpoint,
            )
        except errors.OfflineModeIsEnabled as error:
            raise Transient(str(error)) from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            if status in {401, 403, 404, 410}:
                raise HttpStatus(status, error.response.headers) from error
            if trouble := passing(status, error.response.headers):
                raise trouble from error
            return Head()
        except httpx2.TimeoutException as error:
            raise Transient("No answer within the time it was given.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise Transient(failed(error)) from error
        off = constants.HF_HUB_DISABLE_XET
        return Head(found.etag or "", found.size, None if off else found.xet_file_data)


def refusal(name: str, status: int, headers: Mapping[str, str]) -> SteprunError:
    """Say what the hub's refusal of a file means."""
    what = f"{web.shown(name)} was not fetched"
    if status in {401, 403}:
        # The hub says 401 of what does not exist, so as not to tell what is hidden.
        missing = headers.get("x-error-code", "") == "RepoNotFound"
        return Refused(
            what,
            why=f"The server refuses (status {status}): it is not open to everyone, or not to this "
            "token." + (" There may be no such repository." if missing else ""),
            next="Accept the model's terms on its page, then: hf auth login",
        )
    if status in {404, 410}:
        return SteprunError(
            what,
            why=f"There is no such file there (status {status}).",
            next="Check HF_ENDPOINT, if it names a mirror; see what is new: steprun models check",
        )
    return SteprunError(what, why=f"The server answers with status {status}.", next="Try again")
