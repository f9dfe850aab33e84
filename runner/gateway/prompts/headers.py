"""What an answer's headers say of how its prompt is read, before the answer begins. Pure."""

from typing import Final

from runner.gateway.activity import Entry

RESTORED: Final = "x-steprun-restored"  # tokens of the prompt that came from the disk
REREAD: Final = "x-steprun-reread"  # why a prompt that an earlier one had is read again
RATE: Final = "x-steprun-read-rate"  # tokens per second at which this machine reads prompts


def headers_of(entry: Entry) -> tuple[tuple[str, str], ...]:
    """Return the headers that say how a request's prompt is read; none where nothing is to say."""
    found = (
        (RESTORED, str(entry.restored or "")),
        (REREAD, entry.reread.encode("ascii", "replace").decode()),
        (RATE, f"{entry.read_tps:.1f}" if entry.read_tps else ""),
    )
    return tuple((name, value) for name, value in found if value)
