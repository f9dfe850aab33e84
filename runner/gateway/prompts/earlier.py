"""Remembers the latest prompts, to say why the beginning of one is read again."""

from collections import deque
from typing import Final

from runner.gateway.activity import Entry
from runner.kv.differ import nearest, why
from runner.kv.prompt import Prompt, characters_of, common

PROMPTS: Final = 8
# Of one that is remembered: 262,144 tokens, the longest context, have about 1,000 and one more for
# each message. A request is judged within 10 ms where each has so many.
BLOCKS: Final = 4096
# A re-reading is worth a word where it is a good part of the prompt, and more than Step's sliding
# window of 512 tokens (about 4 characters each), which is read again in any case.
LEAST_TOKENS: Final = 512
LEAST_CHARACTERS: Final = 4 * LEAST_TOKENS
LEAST_SHARE: Final = 0.25
STARTED: Final = "the engine was started again"


class Earlier:
    """The latest prompts that an engine was given, each with how often it had been restarted."""

    def __init__(self) -> None:
        self._prompts: deque[tuple[Prompt, int]] = deque(maxlen=PROMPTS)

    def judge(self, entry: Entry, restarts: int) -> None:
        """Set what of a request's prompt is known, and why it is read again; remember the prompt.

        Call it when the request is about to be passed on, and it is known what was restored for it.
        `restarts`: of the engine, so far.
        """
        now = entry.prompt
        if now is None or sum(len(part.blocks) for part in now.parts) > BLOCKS:
            return
        near = nearest([prompt for prompt, _ in self._prompts], now)
        if near is not None:
            entry.known = near.shared / max(1, now.characters)
            beginning = max(characters_of(now, common(prompt, now)) for prompt, _ in self._prompts)
            if _much(near.shared - beginning, now):
                entry.reread = why(near.prompt, now)
            elif (
                _much(near.shared, now)
                and not entry.restored
                and all(since != restarts for _, since in self._prompts)
            ):
                entry.reread = STARTED
        self._prompts.append((now, restarts))


def _much(characters: int, prompt: Prompt) -> bool:
    return characters >= max(LEAST_CHARACTERS, LEAST_SHARE * prompt.characters)
