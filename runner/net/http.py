"""The HTTP client for everything but a chat's stream: redirects, tokens, limits, words of a status.

A server may answer anything, slowly, for ever. So redirects are followed here, a hop at a time
(never from https to http; headers such as a token are chosen anew for each hop), short answers are
bounded in time and in bytes, and whatever goes wrong becomes an error that says so. Proxies are
those of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY; SOCKS, too), except for
addresses on this machine.
"""

import contextlib
import json
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx2

from runner import __version__
from runner.base import units
from runner.base.errors import BadFile, Refused, SteprunError
from runner.base.text import shown
from runner.net.endpoint import Endpoint, is_loopback, same_origin
from runner.net.headers import number
from runner.net.retry import Deadline, Patience, Transient, aborted_after, retry

HOPS: Final = 5  # the most redirects that are followed
AGENT: Final = f"steprun/{__version__}"
NETWORK: Final = "Check the network or the proxy (HTTPS_PROXY, ALL_PROXY)"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FAILURES: Final = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.StreamError,
    OSError,
    ValueError,
    RuntimeError,  # a client that another thread has closed
)

Headers = Callable[[str], Mapping[str, str]]  # what to add to a request, by its URL


def no_headers(_url: str) -> Mapping[str, str]:
    """Add no headers to a request."""
    return {}


# --- what may go wrong


class Mismatch(Exception):  # noqa: N818 - an answer, not a fault
    """The server's answer is not what was promised."""


class RedirectRefused(Exception):  # noqa: N818 - an answer, not a fault
    """A redirect that must not be followed; its text says why.

    `downgrade`: it leads from https to http.
    """

    def __init__(self, why: str, *, downgrade: bool = False) -> None:
        super().__init__(why)
        self.downgrade = downgrade


class HttpStatus(Exception):  # noqa: N818 - an answer, not a fault
    """A refusal that will not pass: the answer's status, and its headers."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a status means: in words, as an error, and whether it may pass."""

    why: str
    error: type[SteprunError] = SteprunError
    passes: bool = False


_DENIED: Final = Meaning(
    "The server denies access (status {status}): it is not public, or not open to this token.",
    Refused,
)
_MISSING: Final = Meaning("The server has no such {thing} (status {status}).")
_TROUBLE: Final = Meaning("The server is in trouble (status {status}).", passes=True)
_OTHER: Final = Meaning("The server answers with status {status}.")
_MEANINGS: Final[Mapping[int, Meaning]] = {
    401: _DENIED,
    403: _DENIED,
    404: _MISSING,
    408: _TROUBLE,
    410: _MISSING,
    416: Meaning("It is empty, or shorter than it was (status {status}).", BadFile),
    425: _TROUBLE,
    429: Meaning("The server asks for a pause (status {status}).", passes=True),
}


def meaning(status: int) -> Meaning:
    """Return what a status means; all from 500 on are trouble that may pass."""
    return _MEANINGS.get(status, _TROUBLE if status >= 500 else _OTHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorAdvice:
    """What one caller adds to the failures of its requests.

    `what`: what has not been done; `odd`: the same where the answer is not what it should be.
    `otherwise`: what to do next, unless there is better advice: where access is denied, nothing is
    found, the answer is odd, or a redirect is refused. `thing`: what was not found, if it is not a
    file. The kinds of error decide the exit code.
    """

    what: str
    otherwise: str
    odd: str = ""
    denied: str = ""
    missing: str = ""
    mismatch: str = ""
    redirect: str = ""
    thing: str = ""
    missing_error: type[SteprunError] = SteprunError
    odd_error: type[SteprunError] = BadFile
    redirect_error: type[SteprunError] = Refused
    downgrade_error: type[SteprunError] = Refused

    def error(self, kind: type[SteprunError], why: str, after: str = "") -> SteprunError:
        """Return an error; `after`: what to do next, if that is not `otherwise`."""
        return kind(self.what, why=why, next=after or self.otherwise)

    def oddity(self, kind: type[SteprunError], why: str) -> SteprunError:
        """Return the error of an answer that is not what it should be."""
        return kind(self.odd or self.what, why=why, next=self.mismatch or self.otherwise)


@contextlib.contextmanager
def errors_for(advice: ErrorAdvice) -> Iterator[None]:
    """Turn every failure of a request into the error that people see."""
    try:
        yield
    except HttpStatus as answer:
        raise _refusal(answer, advice) from answer
    except Mismatch as error:
        raise advice.oddity(advice.odd_error, str(error)) from error
    except RedirectRefused as error:
        kind = advice.downgrade_error if error.downgrade else advice.redirect_error
        raise advice.error(kind, str(error), advice.redirect) from error
    except Transient as error:
        give_up = advice.oddity if error.final is BadFile else advice.error
        raise give_up(error.final, error.why) from error


def _refusal(answer: HttpStatus, advice: ErrorAdvice) -> SteprunError:
    means, code = meaning(answer.status), answer.headers.get("x-error-code", "")
    found = "revision" if code == "RevisionNotFound" else "file"
    why = means.why.format(status=answer.status, thing=advice.thing or found)
    if means is _MISSING:
        return advice.error(advice.missing_error, why, advice.missing)
    if means is not _DENIED:
        return advice.error(means.error, why)
    # The hub says 401 of what does not exist, so as not to reveal what is hidden.
    hidden = " The repository may not exist." if code == "RepoNotFound" else ""
    return advice.error(means.error, f"{why}{hidden}", advice.denied)


# --- the client


class Client:
    """Sends requests and follows their redirects. For one thread; `abort` is for any other.

    `headers`: what to add to a request, such as a token, by the URL of each hop.
    """

    def __init__(self, patience: Patience, headers: Headers = no_headers) -> None:
        self._timeout = httpx2.Timeout(patience.stall_s, connect=patience.head_s)
        self._headers = headers
        self._http: dict[bool, httpx2.Client] = {}
        self._response: httpx2.Response | None = None

    def send(
        self,
        url: str,
        more: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        leave_origin: bool = True,
    ) -> httpx2.Response:
        """Return an answer whose body is not read yet.

        `leave_origin` False: a redirect to another server is the answer. Raises Transient (no
        answer, or too many redirects) or RedirectRefused; the status is judged by `judge`.
        """
        first = url
        for _ in range(HOPS + 1):
            response = self._response = self._send(method, url, more or {})
            status = response.status_code
            if status in {401, 403} and url != first and not same_origin(url, first):
                raise Transient(f"The link it gave has expired (status {status}).")
            if status not in _REDIRECTS:
                return response
            target = next_hop(url, response.headers.get("location", ""))
            if not leave_origin and not same_origin(target, first):
                return response
            response.close()
            url = target
        raise Transient(f"It redirects more than {HOPS} times.")

    def _send(self, method: str, url: str, more: Mapping[str, str]) -> httpx2.Response:
        headers = {"User-Agent": AGENT, **more, **self._headers(url)}
        try:
            local = is_loopback(url)
            if local not in self._http:
                with _settings_explained():
                    self._http[local] = httpx2.Client(timeout=self._timeout, trust_env=not local)
            http = self._http[local]
            return http.send(http.build_request(method, url, headers=headers), stream=True)
        except httpx2.TimeoutException as error:
            raise Transient("No answer within the time limit.") from error
        except _FAILURES as error:
            raise Transient(failed(error), unresolved=_unresolved(error)) from error

    def pieces(self, response: httpx2.Response, *, decode: bool = False) -> Iterator[bytes]:
        """Yield the bytes of a body. Raises Transient. `decode`: undo a content encoding."""
        try:
            # Of a given size, the last piece would be lost where the connection breaks.
            yield from response.iter_bytes() if decode else response.iter_raw()
        except httpx2.TimeoutException as error:
            raise Transient("It sends almost nothing.") from error
        except _FAILURES as error:
            raise Transient(failed(error)) from error

    def close(self) -> None:
        """Close all connections."""
        with contextlib.suppress(Exception):
            if self._response is not None:
                self._response.close()
        for http in tuple(self._http.values()):
            http.close()

    def abort(self) -> None:
        """End a request from another thread."""
        with contextlib.suppress(Exception):
            if self._response is not None:
                found = self._response.extensions["network_stream"].get_extra_info("socket")
                found.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(Exception):
            for http in tuple(self._http.values()):
                http.close()


def trusting(certificate: str) -> ssl.SSLContext:
    """Return how to know a server by its very certificate, whatever name that bears."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def async_client(timeout: httpx2.Timeout, server: Endpoint, **more: Any) -> httpx2.AsyncClient:
    """Return what a chat's stream is received with from a server.

    No proxy is used to one on this machine; certificates are those of the environment, unless the
    server has one of its own.
    """
    local = server.local
    with _settings_explained():
        if server.certificate:
            more["verify"] = trusting(server.certificate)
        elif local and server.base_url.startswith("https:"):
            more["verify"] = httpx2.create_ssl_context()  # reads SSL_CERT_FILE
        elif local:
            # Without encryption no certificate is looked at: reading those of the authorities
            # would take 25 ms before each question.
            more["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        headers = {"User-Agent": AGENT, **more.pop("headers", {})}
        return httpx2.AsyncClient(timeout=timeout, trust_env=not local, headers=headers, **more)


@contextlib.contextmanager
def _settings_explained() -> Iterator[None]:
    try:
        yield
    except (ImportError, ValueError, OSError, httpx2.HTTPError) as error:
        raise SteprunError(
            "No connection can be opened.",
            why=f"The proxy or certificate settings cannot be used: {shown(str(error))}.",
            next=f"Install SOCKS support: {sys.executable} -m pip install socksio"
            if isinstance(error, ImportError)
            else "Check SSL_CERT_FILE, HTTPS_PROXY and ALL_PROXY; a proxy's address begins with"
            " http://, https://, socks5:// or socks5h://.",
        ) from error


def judge(response: httpx2.Response, *, page: bool = False) -> None:
    """Raise Transient or HttpStatus where a status is not 200 or 206, Mismatch for a web page.

    `page`: a web page is what was asked for.
    """
    status, headers = response.status_code, response.headers
    if status not in {200, 206}:
        means = meaning(status)
        if means.passes:
            raise Transient(means.why.format(status=status), number(headers, "retry-after") or 0)
        raise HttpStatus(status, headers)
    if not page and "text/html" in headers.get("content-type", ""):
        raise Mismatch("It sends a web page instead; a network may ask to sign in.")


def get_body(
    url: str,
    *,
    most_bytes: int,
    total_s: float,
    patience: Patience,
    headers: Headers = no_headers,
    page: bool = False,
) -> bytes:
    """Return a short answer, whole: at most `most_bytes`, and within `total_s` for all tries.

    `page`: it may be a web page.

    Raises Transient (tried again in vain), Mismatch (too long), HttpStatus or RedirectRefused.
    """
    deadline = Deadline(total_s)
    # A server that stays silent is ended by these limits alone.
    given = replace(
        patience, head_s=min(patience.head_s, total_s), stall_s=min(patience.stall_s, total_s)
    )

    def once() -> bytes:
        client = Client(given, headers)
        body = bytearray()
        try:
            with aborted_after(deadline.left(), client.abort):
                response = client.send(url)
                judge(response, page=page)
                for data in client.pieces(response, decode=True):
                    body += data
                    if len(body) > most_bytes:
                        raise Mismatch(f"It sends more than {units.size(most_bytes)}.")
            return bytes(body)
        finally:
            client.close()

    return retry(given, once, deadline)


def parse_json(data: bytes) -> Any:
    """Return what a JSON document holds. Raises Mismatch where it is not one."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Mismatch("It is not JSON.") from error


# --- parts of answers


def next_hop(url: str, location: str) -> str:
    """Return where `location` leads from `url`. Raises RedirectRefused where not to follow."""
    try:
        target = httpx2.URL(url).join(location) if location else None
    except httpx2.InvalidURL as error:
        raise Transient(failed(error)) from error
    if target is None or target.scheme not in {"http", "https"} or not target.host:
        raise RedirectRefused(f"It redirects to {shown(location)}, which is not a web address.")
    if url.startswith("https:") and target.scheme == "http":
        raise RedirectRefused(
            f"Its server redirects to {shown(target.host)} without encryption.", downgrade=True
        )
    return str(target)


def _unresolved(error: BaseException | None) -> bool:
    """Return whether the name of a server, or of a proxy, has no address."""
    while error is not None and not isinstance(error, socket.gaierror):
        error = error.__cause__ or error.__context__
    return error is not None


def failed(error: Exception) -> str:
    """Say why a connection failed."""
    return f"The connection failed: {shown(str(error) or type(error).__name__)}."
