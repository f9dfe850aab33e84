"""What this engine on this machine does, by its own account of what it did."""

from collections.abc import Sequence
from typing import Final

from runner.gateway.prompts.choose import Rates
from runner.gateway.prompts.engine_slots import Moved
from runner.gateway.watching.account import Account
from runner.gateway.watching.read_rate import ReadRate
from runner.kv.prompt import Prompt
from runner.kv.saved import Match

# Until something was measured. A Spark reads 64K tokens in two minutes, the fastest of the machines
# that this is for; Step's cache at q8_0 has 25.5 KiB a token; a SATA drive writes 500 MB a second;
# English has four characters a token. Each makes saving look rather too dear than too cheap.
FIRST_READ_TOKENS_S: Final = 546.0
FIRST_BYTES_S: Final = 500e6
FIRST_TOKEN_BYTES: Final = 25.5 * 1024
FIRST_CHARACTER_TOKENS: Final = 0.25
LEAST_CHARACTERS: Final = 1024  # of a prompt; below it the template's own tokens count for much
LEAST_MOVED: Final = 1 << 20  # bytes of a file; below it the time is that of opening it
_WEIGHT: Final = 0.3  # of the latest in what is usual


class Measured:
    """Rates as they were measured. Each is that of the latest ones, above all.

    `reading`: what is measured of all requests. `batch`: the engine's micro-batch in tokens.
    `token_bytes`: of a saved token by the plan, 0 where it is not known.
    """

    def __init__(self, reading: ReadRate, batch: int = 512, token_bytes: float = 0.0) -> None:
        self._reading = reading
        self._batch = batch
        self._planned = token_bytes
        self._bytes_s = 0.0
        self._token_bytes = 0.0
        self._character_tokens = 0.0

    def rates(self, matches: Sequence[Match] = ()) -> Rates:
        """Return the rates; what was not measured, from files of earlier runs where there are."""
        saved = next(
            (each.saved for each in matches if each.saved.tokens and each.saved.read_s), None
        )
        read, dense = FIRST_READ_TOKENS_S, FIRST_CHARACTER_TOKENS
        size = self._planned or FIRST_TOKEN_BYTES
        if saved is not None:
            read, size = saved.tokens / saved.read_s, saved.bytes / saved.tokens
            dense = saved.tokens / max(1, saved.characters)
        return Rates(
            self._reading.tps or read,
            self._bytes_s or FIRST_BYTES_S,
            self._token_bytes or size,
            self._character_tokens or dense,
            self._batch,
        )

    def answered(self, account: Account, prompt: Prompt | None) -> None:
        """Note how many tokens the text of a prompt has."""
        if account.prompt_tokens and prompt is not None and prompt.characters >= LEAST_CHARACTERS:
            dense = account.prompt_tokens / prompt.characters
            self._character_tokens = _usual(self._character_tokens, dense)

    def moved(self, moved: Moved) -> None:
        """Note a slot that was saved or restored."""
        if moved.tokens and moved.bytes >= LEAST_MOVED:
            self._token_bytes = moved.bytes / moved.tokens
            if moved.seconds > 0:
                self._bytes_s = _usual(self._bytes_s, moved.bytes / moved.seconds)


def _usual(before: float, latest: float) -> float:
    return before + _WEIGHT * (latest - before) if before else latest
