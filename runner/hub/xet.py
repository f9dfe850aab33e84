"""Downloads over hf-xet: many connections at once, each chunk verified by the library."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import hf_xet

from runner.net.http import Headers, failed
from runner.net.retry import Transient

# By itself it takes 1.5 GB and more for buffers, beside a model that fills the memory.
BUFFER_BYTES: Final = 64 << 20
_CONFIG: Final = {
    "reconstruction.download_buffer_size": BUFFER_BYTES,
    "reconstruction.download_buffer_perfile_size": BUFFER_BYTES // 4,
    "reconstruction.download_buffer_limit": 2 * BUFFER_BYTES,
    "reconstruction.min_prefetch_buffer": BUFFER_BYTES // 4,
    "reconstruction.min_reconstruction_fetch_size": BUFFER_BYTES // 4,
    "telemetry.enabled": False,
}


_LOCK: Final = threading.Lock()


@functools.cache
def _session() -> Any:
    """Return the one session for all files: it has the threads and the connections."""
    return hf_xet.XetSession(hf_xet.XetConfig().with_config(_CONFIG))


class XetStream:
    """The bytes of a file from `start` on, up to `end` or to its own end.

    `data`: where it lies in Xet, as the hub says. `size`: of the whole file. `access`: returns the
    hub's access token for a route, `headers` what authorises a request for another one.
    """

    def __init__(
        self,
        data: Any,
        start: int,
        end: int | None,
        *,
        size: int,
        access: Callable[[str], Any],
        headers: Headers,
    ) -> None:
        self.size: int | None = size
        self.etag = ""
        self.skipped = 0
        self._data, self._start, self._end = data, start, end or size
        self._access, self._headers = access, headers
        self._group: Any = None

    def open(self) -> None:
        """Get access to the file."""
        route = self._data.refresh_route
        with _as_transient():
            info = self._access(route)
            with _LOCK:
                session = _session()
            self._group = session.new_download_stream_group(
                endpoint=info.endpoint,
                token=info.access_token,
                token_expiry_unix_secs=info.expiration_unix_epoch,
                token_refresh_url=route,
                token_refresh_headers=dict(self._headers(route)),
            )

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes."""
        left = self._end - self._start
        with _as_transient():
            info = hf_xet.XetFileInfo(self._data.file_hash, self.size)
            pieces = self._group.download_stream(info, start=self._start, end=self._end)
        while left > 0:
            with _as_transient():
                data = next(pieces, b"")
            if not data:
                raise Transient("The connection broke off.")
            left -= len(data)
            yield bytes(data)

    def close(self) -> None:
        """Release its connections."""
        self.abort()

    def abort(self) -> None:
        """End it from another thread."""
        if self._group is not None:
            with contextlib.suppress(Exception):
                self._group.abort()


@contextlib.contextmanager
def _as_transient() -> Iterator[None]:
    # hf_xet raises errors of many kinds, and says nothing of which may pass.
    try:
        yield
    except Transient:
        raise
    except Exception as error:
        raise Transient(failed(error)) from error
