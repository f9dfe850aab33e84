"""Where a model answers: what `engine` hands to `talk`."""

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server.

    `owned`: steprun started it, and stops it; a server that the user named is only spoken to.
    `api_key` never appears in a repr, so that it cannot reach a log or a trace.
    """

    base_url: str
    api_key: str = ""
    owned: bool = False

    def __repr__(self) -> str:
        """Name the place, never the key."""
        return f"Endpoint({self.base_url!r}, owned={self.owned})"

    @property
    def local(self) -> bool:
        """Whether it is on this machine, where no proxy may stand in between."""
        host = urlsplit(self.base_url).hostname or ""
        return host in {"localhost", "::1"} or host.startswith("127.")

    def headers(self) -> dict[str, str]:
        """Return the headers that authorise a request."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
