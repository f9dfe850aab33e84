"""Whether a prompt that was read once is read again: with saved slots, and with a spare one.

A conversation begins in one engine; its slot is saved. Later, in the same engine or in another one
that was started since, it is restored, and the next message is sent: most of the prompt has to come
from the cache, and the answer has to be the one to a prompt that was read as a whole.
"""

from collections.abc import Sequence
from typing import Final

from runner.canary import model
from runner.canary.questions import Fault, Talk, Tokens, picture
from runner.chat.wire import Message, Picture

READ: Final = 900  # tokens of a first message: more than a window, and a checkpoint before it
TOKENS: Final = 32  # of an answer that is compared with another
# Of a prompt that was read before, this much at most is read again: what follows the last answer,
# and what lies between the checkpoint that the engine goes back to and the end of the cache.
AGAIN: Final = 1 / 4
_SIZE: Final = (300, 200)
_SIDE: Final = "Where is the lamp?"


async def next_turn(talk: Talk) -> None:
    """Save a slot, empty it and restore it: the conversation goes on."""
    await _save(talk, "text")
    await _slot(talk, "erase", "text")
    await _go_on(talk, "text")


async def before_restart(talk: Talk) -> None:
    """Begin a conversation and save it."""
    await _save(talk, "text")


async def after_restart(talk: Talk) -> None:
    """Go on with it in an engine that has never read it."""
    await _go_on(talk, "text", "After a restart")


async def picture_before(talk: Talk) -> None:
    """Begin a conversation about a picture and save it."""
    await _save(talk, "picture", [_shown("red", "yellow")])


async def picture_after(talk: Talk) -> None:
    """Go on with it after a restart; with another picture that one is looked at, not the saved one.

    Raises Fault where the engine takes the saved picture for the other one.
    """
    await _go_on(talk, "picture", "With a picture, after a restart", [_shown("red", "yellow")])
    await _slot(talk, "restore", "picture")
    other = _shown("blue", "black")
    answer = await _ask(talk, [*_first([other]), *_NEXT], 1)
    if answer.prompt - answer.cached < other.tokens:
        raise Fault("A saved picture is taken for another one of the same size.")


async def heads_before(talk: Talk) -> None:
    """Begin a conversation with draft heads and save it."""
    await _save(talk, "heads")


async def heads_after(talk: Talk) -> None:
    """Go on with it after a restart: the heads go on drafting, and guess no worse."""
    cold = talk.seen["heads"][0]
    answer = await _go_on(talk, "heads", "With draft heads, after a restart")
    if cold.drafted and not answer.drafted:
        raise Fault("After a slot is restored the draft heads draft nothing.")
    if cold.accepted and not answer.accepted:
        raise Fault(f"After a slot is restored none of {answer.drafted} drafts is accepted.")


async def spare_slot(talk: Talk) -> None:
    """Send a side request to a second slot: the conversation in the first goes on."""
    cold = await _begin(talk, "text")
    await talk.tokens(_SIDE, 1, id_slot=1)
    answer = await _ask(talk, [*_first(), *_NEXT])
    _same(cold, answer, "After a request in another slot")


_NEXT: Final = (Message("assistant", model.SENTENCE), Message("user", model.PROMPTS[0]))


def _first(pictures: Sequence[Picture] = ()) -> list[Message]:
    return [Message("user", model.long_text(READ), tuple(pictures))]


def _shown(colour: str, stripe: str) -> Picture:
    return picture(*_SIZE, colour, stripe)


async def _begin(talk: Talk, name: str, pictures: Sequence[Picture] = ()) -> Tokens:
    """Read a whole conversation for its answer, unless that is known, then its beginning.

    Returns the answer to the whole.
    """
    first = _first(pictures)
    if name not in talk.seen:
        talk.seen[name] = [await _ask(talk, [*first, *_NEXT], cache_prompt=False)]
    await _ask(talk, first)
    return talk.seen[name][0]


async def _save(talk: Talk, name: str, pictures: Sequence[Picture] = ()) -> None:
    await _begin(talk, name, pictures)
    await _slot(talk, "save", name)


async def _go_on(
    talk: Talk, name: str, when: str = "After a slot is restored", pictures: Sequence[Picture] = ()
) -> Tokens:
    await _slot(talk, "restore", name)
    answer = await _ask(talk, [*_first(pictures), *_NEXT])
    _same(talk.seen[name][0], answer, when)
    return answer


def _same(cold: Tokens, answer: Tokens, when: str) -> None:
    read = answer.prompt - answer.cached
    if read > answer.prompt * AGAIN:
        raise Fault(f"{when} {read} of {answer.prompt} prompt tokens are processed again.")
    if not cold.same(answer):
        raise Fault(f"{when} the answer differs from that to a prompt that was read as a whole.")


async def _ask(
    talk: Talk, messages: Sequence[Message], count: int = TOKENS, *, cache_prompt: bool = True
) -> Tokens:
    return await talk.tokens(messages, count, id_slot=0, cache_prompt=cache_prompt)


async def _slot(talk: Talk, action: str, name: str) -> None:
    await talk.post(f"/slots/0?action={action}", {"filename": f"canary-{name}.bin"})
