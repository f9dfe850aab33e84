"""Remembers the latest prompts, to say why the beginning of one is read again."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from runner.gateway.activity import Entry
from runner.kv.differ import nearest, why
from runner.kv.prompt import Prompt, characters_of, common

PROMPTS: Final = 8
# Of one that is remembered: 262,144 tokens, the longest context, have about 1,000 and one more for
# each message. Where all have so many, a request is judged within 18 ms.
BLOCKS: Final = 4096
# A re-reading is worth a word where it is a good part of the prompt, and more than Step's sliding
# window of 512 tokens (about 4 characters each), which is read again in any case.
LEAST_TOKENS: Final = 512
LEAST_CHARACTERS: Final = 4 * LEAST_TOKENS
LEAST_SHARE: Final = 0.25
STARTED: Final = "the engine was started again"


@dataclass(frozen=True, slots=True)
class Given:
    """A prompt that an engine was given. `starts`: how often there had been a new one."""

    prompt: Prompt
    client: str
    starts: int


class Earlier:
    """The latest prompts that an engine was given."""

    def __init__(self) -> None:
        self._given: deque[Given] = deque(maxlen=PROMPTS)

    def judge(self, entry: Entry, starts: int) -> None:
        """Set what of a request's prompt is known, and why it is read again; remember the prompt.

        Call it when the request is about to be passed on, and it is known what was restored for it.
        `starts`: of an engine, so far. A prompt is compared with those of the same client: the
        words name tools, which are nobody else's business.
        """
        now = entry.prompt
        if now is None or sum(len(part.blocks) for part in now.parts) > BLOCKS:
            return
        given = [each for each in self._given if each.client == entry.client]
        near = nearest([each.prompt for each in given], now)
        if near is not None:
            entry.known = near.shared / max(1, now.characters)
            beginning = max(characters_of(now, common(each.prompt, now)) for each in given)
            if _much(near.shared - beginning, now):
                entry.reread = why(near.prompt, now)
            elif (
                _much(near.shared, now)
                and not entry.restored
                and all(each.starts != starts for each in given)
            ):
                entry.reread = STARTED
        self._given.append(Given(now, entry.client, starts))


def _much(characters: int, prompt: Prompt) -> bool:
    return characters >= max(LEAST_CHARACTERS, LEAST_SHARE * prompt.characters)
