"""Whether an engine has become slower than it was, at comparable contexts. Pure.

What is compared is steps of decoding a second: with draft heads, tokens a second depend on how many
guesses were right, which is the text's doing. Only answers that were alone at the engine are
counted. Medians let a busy moment be, and each context has its own kind: up to twice as long.
"""

from dataclasses import dataclass, field
from statistics import median
from typing import Final

WINDOW: Final = 8  # answers
LEAST_TOKENS: Final = 64  # of an answer: a shorter one says little of a rate
SHORT: Final = 2048  # tokens of context: below, the context costs next to nothing
FALLEN: Final = 0.5  # of what it was: far beyond what differs from text to text
WELL: Final = 0.75


@dataclass(slots=True)
class Rates:
    """Follows one engine. `note` each answer; `share` says how fast it is, of what it was."""

    _best: dict[int, float] = field(default_factory=dict)  # the best median of each kind
    _window: dict[int, list[float]] = field(default_factory=dict)
    _shares: list[float] = field(default_factory=list)
    fallen: bool = False

    def note(self, *, context: int, tokens: int, accepted: int, tokens_per_s: float) -> None:
        """Take in an answer. `context`: tokens of prompt and answer. `accepted`: of the drafted."""
        steps = tokens - accepted
        if tokens < LEAST_TOKENS or steps < 1 or not 0 < tokens_per_s < 1e6:
            return
        rate = tokens_per_s * steps / tokens
        kind = max(context, SHORT).bit_length()
        window = self._window.setdefault(kind, [])
        window.append(rate)
        if kind in self._best:
            self._shares = [*self._shares, rate / self._best[kind]][-WINDOW:]
        if len(window) == WINDOW:
            self._best[kind] = max(self._best.get(kind, 0.0), median(window))
            window.clear()
        share = self.share
        if share is not None:
            self.fallen = share <= (WELL if self.fallen else FALLEN)

    @property
    def share(self) -> float | None:
        """How fast it is, of what it was; None before enough is known."""
        return median(self._shares) if len(self._shares) == WINDOW else None

    def begin_again(self) -> None:
        """Forget how fast it is, and keep how fast it was: the engine was started again."""
        self._window.clear()
        self._shares.clear()
        self.fallen = False
