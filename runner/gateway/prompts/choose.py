"""Which slot of the engine a request gets, and what is saved, emptied and restored before. Pure.

Every way to answer a request has a price in seconds: what is left to read, a file to restore, and
what is lost of that which the slot holds. The cheapest way is taken. So a short side request goes
where the least is lost, a next turn to the slot that holds its conversation, and a new session to
the cache that has the most of its beginning.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from runner.gateway.prompts.ahead import reaches
from runner.kv.policy import worth_writing
from runner.kv.prompt import Prompt, characters_of, common
from runner.kv.saved import Match, Saved

# What a conversation is worth falls by half in this time without a request: people come back after
# minutes, agents after seconds. A judgement, not a measurement.
FADES_S: Final = 600.0
# Of a shared context, kept free for the answer where a request does not say how long it may be.
ANSWER_SHARE: Final = 1 / 8
# Tokens of a cache that is worth anything at all: half of the engine's usual micro-batch (512), and
# reading fewer takes no less time. Titles and summaries are below it.
LEAST_KEPT: Final = 256
# The engine keeps a checkpoint so many tokens, and a micro-batch, before the end of a prompt
# (llama.cpp b11549, server-context.cpp).
BEFORE_END: Final = 4


@dataclass(frozen=True, slots=True)
class Rates:
    """What this engine on this machine does.

    `read_tokens_s`: prefill. `bytes_s`: saving and restoring. `token_bytes`: of a saved cache.
    `character_tokens`: tokens for a character of a prompt. `batch`: tokens read at once.
    """

    read_tokens_s: float
    bytes_s: float
    token_bytes: float
    character_tokens: float
    batch: int = 512

    def near_end(self, characters: float) -> float:
        """Return where, in a prompt of so many characters, the engine can go back to by its end.

        So a prompt can be asked again with another short question at its end.
        """
        return max(0.0, characters - (self.batch + BEFORE_END) / self.character_tokens)

    def read_s(self, tokens: float) -> float:
        """Return the seconds that reading takes."""
        return max(0.0, tokens) / self.read_tokens_s

    def move_s(self, size: float) -> float:
        """Return the seconds that so many bytes take to or from the disk."""
        return size / self.bytes_s


@dataclass(frozen=True, slots=True)
class Holding:
    """What is known of one slot.

    `tokens`: in its cache, by the engine's account; of a busy one, what it may come to. `prompt`:
    what they begin with, None where that is not known. `whole`: all of the prompt is there.
    `stored`: which share of the prompt a file has (0 to 1). `idle_s`: since its last answer.
    `ahead`: the characters of beginnings that were read ahead of the rest.
    """

    slot: int
    tokens: int = 0
    prompt: Prompt | None = None
    whole: bool = True
    busy: bool = False
    stored: float = 0.0
    idle_s: float = 0.0
    ahead: tuple[int, ...] = ()

    @property
    def known(self) -> bool:
        """Whether it holds something that can be found again."""
        return self.prompt is not None and self.tokens > 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request needs.

    `prompt`: None where it is not known. `characters`: of its text. `answer_tokens`: the most that
    is written, 0 where it does not say. `answers`: at once; each further one takes a slot, too.
    `ahead`: the beginning that other prompts may have.
    """

    prompt: Prompt | None
    characters: int
    answer_tokens: int = 0
    answers: int = 1
    ahead: Prompt | None = None

    def goes_back(self, blocks: int, ahead: Collection[int]) -> float:
        """Return the characters to the end of its beginning, where a cache can go back there.

        `blocks`: that the cache has in common. `ahead`: of what beginnings it has the ends.
        """
        begins = self.ahead
        if begins is None or begins.characters not in ahead or not reaches(begins, blocks):
            return 0.0
        return begins.characters


@dataclass(frozen=True, slots=True)
class Placement:
    """What to do for a request, in this order: save, empty, restore, ask.

    `save` and `empty` name slots. `restore`: what to put into `slot`, None for what it holds.
    `seconds`: what it costs, by the rates; `read_s` of them are for what is left to read.
    """

    slot: int
    seconds: float
    save: tuple[int, ...] = ()
    empty: tuple[int, ...] = ()
    restore: Saved | None = None
    read_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Loss:
    """What giving up slots costs, and which of them are saved before."""

    seconds: float = 0.0
    save: tuple[int, ...] = ()
    empty: tuple[int, ...] = field(default=())


def usable(
    prompt: Prompt, blocks: int, *, whole: bool, near_end: float = inf, ahead: float = 0.0
) -> float:
    """Return the characters of a prompt that need not be read again.

    `blocks`: how many at its beginning are cached; `whole`: all that is cached is in common. An
    engine with a sliding window goes back only to where a message of the user begins, to the end of
    what was read `ahead`, to the end of what it has read, and to a place before that: `near_end`,
    in characters of the prompt. That is never within a picture.
    """
    if whole:
        return characters_of(prompt, blocks)
    back = max(_begun(prompt, blocks), ahead)
    if _seen(prompt) <= near_end <= characters_of(prompt, blocks):
        return max(near_end, back)
    return back


def _seen(prompt: Prompt) -> int:
    """Return where the last picture ends, 0 where there is none."""
    end = length = 0
    for part in prompt.parts:
        length += part.characters
        end = length if part.kind == "picture" else end
    return end


def _begun(prompt: Prompt, blocks: int) -> int:
    """Return where the last message of the user begins that so many blocks reach."""
    back = seen = length = 0
    before = ""
    for part in prompt.parts:
        if part.kind in ("user", "picture") and before not in ("user", "picture"):
            back = length
        before = part.kind
        for block in part.blocks:
            if seen == blocks:
                return back
            seen += 1
            length += block.characters
    return back


def restorable(wanted: Wanted, match: Match, rates: Rates) -> float:
    """Return the tokens of a prompt that need not be read again once a file is restored."""
    if wanted.prompt is None:
        return 0.0
    whole = match.blocks >= match.saved.blocks > 0
    end = rates.near_end(match.saved.characters)
    ahead = wanted.goes_back(match.blocks, (match.saved.ahead,))
    found = usable(wanted.prompt, match.blocks, whole=whole, near_end=end, ahead=ahead)
    return found * rates.character_tokens


def answer_room(answer_tokens: int, cells: int) -> int:
    """Return the tokens to keep free for an answer, of so many that all slots have together."""
    return min(answer_tokens or cells, int(cells * ANSWER_SHARE))


def choose(
    holdings: Sequence[Holding],
    wanted: Wanted,
    matches: Sequence[Match],
    rates: Rates,
    *,
    cells: int = 0,
    saves: bool = True,
) -> Placement | None:
    """Return the cheapest way to answer a request; None where every slot is busy.

    `matches`: saved caches with the same beginning. `cells`: tokens that all slots have together,
    0 where each has its own. `saves`: files are written.
    """
    ways = _ways(holdings, wanted, matches, rates, cells, saves=saves)
    # Of equal ways, the one that restores nothing, in the slot that was idle for the longest time.
    idle = {each.slot: each.idle_s for each in holdings}
    return min(
        ways,
        key=lambda way: (way.seconds, way.restore is not None, -idle[way.slot], way.slot),
        default=None,
    )


def _ways(
    holdings: Sequence[Holding],
    wanted: Wanted,
    matches: Sequence[Match],
    rates: Rates,
    cells: int,
    *,
    saves: bool,
) -> Iterator[Placement]:
    asked = wanted.characters * rates.character_tokens
    answer = answer_room(wanted.answer_tokens, cells)
    for at in holdings:
        if at.busy:
            continue
        others = [each for each in holdings if each is not at]
        cached = min(_cached(at, wanted, rates), asked)
        loss = _lost(at, rates, at.tokens - cached, saves=saves)
        if wanted.prompt is not None and continues(at, wanted.prompt):
            loss = _Loss()
        room = _room(others, asked + answer, cells, rates, wanted.answers, saves=saves)
        yield _way(at, loss, room, rates.read_s(asked - cached))
        everything = _lost(at, rates, at.tokens, saves=saves)
        for match in matches:
            if wanted.prompt is None:
                break
            cached = restorable(wanted, match, rates)
            need = max(match.saved.tokens, asked + answer)
            room = _room(others, need, cells, rates, wanted.answers, saves=saves)
            read_s = rates.read_s(asked - cached)
            move_s = rates.move_s(match.saved.bytes)
            yield _way(at, everything, room, read_s, restore=match.saved, move_s=move_s)


def _way(
    at: Holding,
    loss: _Loss,
    room: _Loss,
    read_s: float,
    *,
    restore: Saved | None = None,
    move_s: float = 0.0,
) -> Placement:
    return Placement(
        at.slot,
        loss.seconds + room.seconds + read_s + move_s,
        save=loss.save + room.save,
        empty=room.empty,
        restore=restore,
        read_s=read_s,
    )


def continues(at: Holding, prompt: Prompt) -> bool:
    """Return whether a prompt begins with all that a slot's prompt has."""
    return at.prompt is not None and at.whole and _begins(at.prompt, prompt)


def may_be_spared(holdings: Sequence[Holding], wanted: Wanted, rates: Rates) -> bool:
    """Return whether a saved cache could spare a request anything that is worth it."""
    if wanted.prompt is None or any(part.kind == "picture" for part in wanted.prompt.parts):
        return wanted.prompt is not None  # to see takes longer than a picture's tokens say
    cached = (_cached(each, wanted, rates) for each in holdings if not each.busy)
    asked = wanted.characters * rates.character_tokens
    return asked - max(cached, default=0) >= LEAST_KEPT


def _begins(first: Prompt, prompt: Prompt) -> bool:
    return common(first, prompt) == sum(len(part.blocks) for part in first.parts)


def _cached(at: Holding, wanted: Wanted, rates: Rates) -> float:
    """Return the tokens of a prompt that a slot holds and can go back to."""
    prompt = wanted.prompt
    if at.prompt is None or prompt is None:
        return 0
    if not at.whole and _begins(at.prompt, prompt):
        return at.tokens  # it is read on from where it was left
    if continues(at, prompt):
        return min(at.tokens, at.prompt.characters * rates.character_tokens)
    end = rates.near_end(at.prompt.characters)
    blocks = common(at.prompt, prompt)
    ahead = wanted.goes_back(blocks, at.ahead)
    found = usable(prompt, blocks, whole=False, near_end=end, ahead=ahead)
    return min(at.tokens, found * rates.character_tokens)


def worth_saving(at: Holding, rates: Rates, lost: float | None = None) -> bool:
    """Return whether what a slot holds is worth a file. `lost`: tokens that would go."""
    if not (at.known and at.whole) or at.stored >= 1 or at.tokens < LEAST_KEPT:
        return False
    read_s = rates.read_s(at.tokens if lost is None else lost)
    return worth_writing(read_s, int(at.tokens * rates.token_bytes), rates.bytes_s, at.stored)


def _lost(at: Holding, rates: Rates, tokens: float, *, saves: bool) -> _Loss:
    """Return what it costs that so many tokens of a slot go."""
    if not at.known or tokens <= 0 or at.tokens < LEAST_KEPT:
        return _Loss()
    likely = 1 / (1 + at.idle_s / FADES_S)
    move_s = rates.move_s(at.tokens * rates.token_bytes)
    if saves and worth_saving(at, rates, tokens):
        return _Loss(move_s + likely * move_s, save=(at.slot,))
    back = at.stored * min(move_s, rates.read_s(tokens))
    return _Loss(likely * (back + (1 - at.stored) * rates.read_s(tokens)))


def _room(
    others: Sequence[Holding],
    need: float,
    cells: int,
    rates: Rates,
    answers: int,
    *,
    saves: bool,
) -> _Loss:
    """Return what has to go from other slots, so that a request has room.

    Those with the least to lose go first. Busy ones stay, also where it is too much with them.
    """
    total = need + sum(each.tokens for each in others)
    losses = {
        each.slot: _lost(each, rates, each.tokens, saves=saves)
        for each in others
        if not each.busy and each.tokens
    }
    tokens = {each.slot: each.tokens for each in others}
    gone: list[int] = []
    for slot in sorted(losses, key=lambda slot: (losses[slot].seconds, slot)):
        if (not cells or total <= cells) and answers == 1:
            break
        total -= tokens[slot]
        gone.append(slot)
    return _Loss(
        sum(losses[slot].seconds for slot in gone),
        save=tuple(slot for slot in gone if losses[slot].save),
        empty=tuple(gone),
    )
