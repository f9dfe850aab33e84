"""How far an answer is by the clock: what is waited for, how fast it reads, when it stalls. Pure.

All times are seconds of a monotonic clock; 0 means that it has not happened.
"""

from dataclasses import dataclass
from typing import Final

from runner.chat.events import Event, PromptProgress, Reasoning, Text, ToolCall

STALL_S: Final = 5.0  # an engine that swaps writes a token in a second or two: that is no stall
_LEAST_S: Final = 0.3  # of reading, before its rate is worth showing


@dataclass(slots=True)
class AnswerClock:
    """When what happened of one answer. The client tells of the connection, `apply` of the rest.

    `heard_at`: of the latest byte, signs of life included. `reports`: the server tells how far it
    has read, the first time when it begins. `answer_id`: what the server calls the answer.
    `ended_thinking`: it was told to end the thinking. `restored`: tokens of the prompt that
    the server took from a disk. `done` of `total` prompt tokens are read, `cached` of them were.
    """

    asked_at: float = 0.0
    connected_at: float = 0.0
    heard_at: float = 0.0
    reports: bool = False
    answer_id: str = ""
    ended_thinking: bool = False
    token_at: float = 0.0
    first_token_s: float = 0.0
    restored: int = 0
    done: int = 0
    total: int = 0
    cached: int = 0
    progress_at: float = 0.0
    _read_s: float = 0.0
    _began: tuple[int, float] = (0, 0.0)  # tokens and time of the first report
    _gap_s: float = 0.0  # the longest between two reports

    def ask(self, now: float) -> None:
        """Start anew: a question is about to be sent."""
        self.__init__(now)  # type: ignore[misc] # every field is of one answer

    def ask_again(self, now: float) -> None:
        """Start another request for the same answer: the first token has come."""
        first = self.first_token_s
        self.ask(now)
        self.first_token_s = first

    @property
    def reading(self) -> bool:
        """Whether it reads the prompt, and does not wait for its turn, as far as can be known."""
        return bool(self.total or (self.heard_at and not self.reports))

    def connected(self, now: float) -> None:
        """Note that the server has taken the connection."""
        self.connected_at = now

    def heard(self, now: float) -> None:
        """Note that the server has sent something."""
        self.heard_at = now

    def apply(self, event: Event, now: float) -> None:
        """Note an event of the answer."""
        match event:
            case PromptProgress(done, total, cached, read_s):
                self.done, self.total = min(done, total), total
                self.cached = min(cached, self.done)
                if self.progress_at:
                    self._gap_s = max(self._gap_s, now - self.progress_at)
                else:
                    self._began = (self.done, now)
                self.progress_at, self._read_s = now, read_s
            case Text() | Reasoning() | ToolCall():
                self.token_at = now
                self.first_token_s = self.first_token_s or now - self.asked_at

    def waited_s(self, now: float) -> float:
        """Return the seconds since the question."""
        return now - self.asked_at

    def read_rate(self) -> float:
        """Return how many tokens of the prompt are read in a second, 0 where unknown.

        By the server's own time where it tells it, else by that of its reports.
        """
        if self._read_s >= _LEAST_S:
            return (self.done - self.cached) / self._read_s
        done, at = self._began
        seconds = self.progress_at - at
        return max(0, self.done - done) / seconds if seconds >= _LEAST_S else 0.0

    def left_s(self, now: float) -> float:
        """Return for how many seconds it will go on reading, 0 where unknown."""
        rate = self.read_rate()
        left = (self.total - self.done) / rate if rate else 0.0
        return max(0.0, left - (now - self.progress_at))

    def silent_s(self, now: float) -> float:
        """Return for how long nothing has come, in mid-answer; 0 while that is as it should be."""
        if self.token_at:
            silent = now - self.token_at
            return silent if silent >= STALL_S else 0.0
        if not self.progress_at:
            return 0.0
        silent = now - self.progress_at
        return silent if silent >= STALL_S + 2 * self._gap_s and not self.left_s(now) else 0.0
