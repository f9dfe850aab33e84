"""How fast this machine reads prompts, as it was measured: what a cached prompt saves."""

from typing import Final

LEAST_TOKENS: Final = 256  # fewer do not fill a batch, and are read more slowly
_KEPT: Final = 0.8  # of what was measured before, at each new measurement


class ReadRate:
    """Prefill in tokens per second: of the latest prompts, the longer ones counting for more."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0

    def note(self, tokens: int, seconds: float) -> None:
        """Take in a prompt of which so many tokens were read in so many seconds."""
        if tokens >= LEAST_TOKENS and seconds > 0:
            self._tokens = _KEPT * self._tokens + tokens
            self._seconds = _KEPT * self._seconds + seconds

    @property
    def tps(self) -> float:
        """Tokens per second; 0 where nothing was measured yet."""
        return self._tokens / self._seconds if self._seconds else 0.0
