"""What an answer's headers say of how its prompt is read, before the answer begins. Pure."""

from runner.chat.reading import AHEAD, RATE, REREAD, RESTORED
from runner.gateway.activity import Entry


def headers_of(entry: Entry) -> tuple[tuple[str, str], ...]:
    """Return the headers that say how a request's prompt is read; none where nothing is to say."""
    found = (
        (RESTORED, str(entry.restored or "")),
        (AHEAD, str(entry.ahead or "")),
        (REREAD, entry.reread.encode("ascii", "replace").decode()),
        (RATE, f"{entry.read_tps:.1f}" if entry.read_tps else ""),
    )
    return tuple((name, value) for name, value in found if value)
