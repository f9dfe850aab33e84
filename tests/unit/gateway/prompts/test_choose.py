"""Which slot a request gets: the cheapest way, whatever the slots hold and the disk offers."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies

from runner.gateway.prompts.choose import (
    Holding,
    Placement,
    Rates,
    Wanted,
    choose,
    may_be_spared,
    usable,
    worth_saving,
)
from runner.kv.prompt import Part, Prompt, common, part, picture
from runner.kv.saved import Match, Saved

# A Strix Halo and a common drive: 100 tokens a second read, 1 GB a second moved.
RATES = Rates(100.0, 1e9, 26_112.0, 0.25)
LONG = 40_000  # characters: 10,000 tokens, 100 s of reading, 0.26 s to move


def said(*parts: tuple[str, str]) -> Prompt:
    return Prompt(tuple(part(kind, f"{number}", text) for number, (kind, text) in enumerate(parts)))


def lines(word: str, characters: int) -> str:
    line = f"{word} and so on\n"
    return line * (characters // len(line))


SYSTEM = ("system", lines("rule", LONG))
A = said(SYSTEM, ("user", lines("first", LONG)))
A_NEXT = Prompt((*A.parts, *said(("assistant", "Yes."), ("user", "Go on.")).parts))
B = said(SYSTEM, ("user", lines("second", LONG)))
OTHER = said(("system", lines("other", LONG)), ("user", lines("third", LONG)))
TITLE = said(("user", "A title for this, please."))


def held(slot: int, prompt: Prompt, **more: object) -> Holding:
    return Holding(slot, tokens=round(prompt.characters / 4) + 50, prompt=prompt, **more)  # type: ignore[arg-type]


def wanted(prompt: Prompt, **more: int) -> Wanted:
    return Wanted(prompt, prompt.characters, **more)  # type: ignore[arg-type]


def stored(name: str, prompt: Prompt, asked: Prompt) -> Match:
    tokens, blocks = round(prompt.characters / 4), common(prompt, asked)
    all_blocks = sum(len(each.blocks) for each in prompt.parts)
    saved = Saved(
        name, tokens, prompt.characters, tokens * 26_112, 0, 0, tokens / 100, 0, 0, "", all_blocks
    )
    return Match(saved, blocks, 0)


def chosen(*args: object, **more: object) -> Placement:
    way = choose(*args, **more)  # type: ignore[arg-type]
    assert way is not None
    return way


def test_a_next_turn_goes_where_its_conversation_is() -> None:
    way = chosen([held(0, A), Holding(1)], wanted(A_NEXT), [], RATES)
    assert (way.slot, way.save, way.restore) == (0, (), None)


def test_a_side_request_costs_no_conversation_its_cache() -> None:
    assert chosen([held(0, A), Holding(1)], wanted(TITLE), [], RATES).slot == 1
    assert chosen([held(0, TITLE), held(1, A)], wanted(TITLE), [], RATES).slot == 0


def test_with_one_slot_a_side_request_saves_it_first() -> None:
    way = chosen([held(0, A)], wanted(TITLE), [], RATES)
    assert (way.slot, way.save, way.restore) == (0, (0,), None)


def test_what_is_stored_is_not_saved_again() -> None:
    assert chosen([held(0, A, stored=1.0)], wanted(TITLE), [], RATES).save == ()


def test_two_agents_on_one_slot_save_and_restore() -> None:
    match = stored("a", A, A_NEXT)
    way = chosen([held(0, OTHER)], wanted(A_NEXT), [match], RATES)
    assert (way.slot, way.save, way.restore) == (0, (0,), match.saved)


def test_a_new_session_starts_from_a_copy_in_another_slot() -> None:
    match = stored("a", A, B)
    way = chosen([held(0, A, busy=True), held(1, TITLE)], wanted(B), [match], RATES)
    assert (way.slot, way.restore) == (1, match.saved)
    match = stored("short", said(SYSTEM, ("user", "Hi")), B)
    way = chosen([held(0, A), held(1, TITLE)], wanted(B), [match], RATES)
    assert (way.slot, way.save, way.restore) == (1, (), match.saved)


def test_a_branch_that_destroys_much_saves_it_first() -> None:
    way = chosen([held(0, A)], wanted(B), [], RATES)
    assert (way.slot, way.save) == (0, (0,))


def test_a_slow_disk_is_left_alone() -> None:
    slow = Rates(100.0, 1e5, 26_112.0, 0.25)
    way = chosen([held(0, OTHER)], wanted(A_NEXT), [stored("a", A, A_NEXT)], slow)
    assert (way.save, way.restore) == ((), None)


def test_nothing_is_written_where_nothing_may_be() -> None:
    assert chosen([held(0, A)], wanted(TITLE), [], RATES, saves=False).save == ()


def test_a_full_cache_gives_up_the_slot_with_the_least_to_lose() -> None:
    holdings = [held(0, TITLE), held(1, A), held(2, OTHER, stored=1.0)]
    way = chosen(holdings, wanted(A_NEXT), [], RATES, cells=50_000)
    assert (way.slot, way.empty, way.save) == (1, (), ())
    way = chosen(holdings, wanted(A_NEXT), [], RATES, cells=30_000)
    assert (way.slot, way.empty, way.save) == (1, (0, 2), ())


def test_several_answers_take_every_other_slot() -> None:
    way = chosen([held(0, A), held(1, OTHER)], wanted(A_NEXT, answers=2), [], RATES)
    assert (way.slot, way.empty, way.save) == (0, (1,), (1,))


def test_what_was_read_in_part_is_not_saved() -> None:
    assert worth_saving(held(0, A), RATES)
    assert not worth_saving(held(0, A, whole=False), RATES)
    assert not worth_saving(held(0, TITLE), RATES)
    assert not worth_saving(Holding(0, tokens=20_000), RATES)


def test_an_engine_goes_back_to_where_a_user_begins_to_speak() -> None:
    system = sum(len(each.blocks) for each in A.parts[:1])
    assert usable(B, common(A, B), whole=False) == A.parts[0].characters
    assert usable(B, system - 1, whole=False) == 0
    assert usable(A_NEXT, common(A, A_NEXT), whole=True) == A.characters


PROMPTS = strategies.sampled_from([A, A_NEXT, B, OTHER, TITLE, None])


@strategies.composite
def holdings(draw: strategies.DrawFn) -> list[Holding]:
    return [
        Holding(
            number,
            draw(strategies.integers(0, 30_000)),
            draw(PROMPTS),
            draw(strategies.booleans()),
            draw(strategies.booleans()),
            draw(strategies.floats(0, 1)),
            draw(strategies.floats(0, 1e6)),
        )
        for number in range(draw(strategies.integers(1, 4)))
    ]


@given(data=strategies.data())
def test_whatever_is_held(data: strategies.DataObject) -> None:
    held_now, prompt = data.draw(holdings()), data.draw(PROMPTS)
    offered = data.draw(strategies.lists(strategies.sampled_from([A, B, OTHER, TITLE])))
    cells, answers = data.draw(strategies.integers(0, 60_000)), data.draw(strategies.integers(1, 3))
    saves = data.draw(strategies.booleans())
    read, move = data.draw(strategies.floats(1, 1e5)), data.draw(strategies.floats(1e3, 1e11))
    asked = Wanted(prompt, prompt.characters if prompt else 100, answers=answers)
    matches = [stored(str(n), each, prompt) for n, each in enumerate(offered)] if prompt else []
    rates = Rates(read, move, 26_112.0, 0.25)
    way = choose(held_now, asked, matches, rates, cells=cells, saves=saves)
    idle = {each.slot: each for each in held_now if not each.busy}
    assert (way is None) == (not idle)
    if way is None:
        return
    assert way.slot in idle
    assert {*way.save, *way.empty} <= idle.keys()
    assert way.slot not in way.empty
    assert saves or not way.save
    assert all(worth_saving(idle[slot], rates) for slot in way.save)
    assert way.restore is None or way.restore in [each.saved for each in matches]
    # Reading everything in the slot with the least to lose is always possible: it is no dearer.
    alone = choose(held_now, asked, [], rates, cells=cells, saves=saves)
    assert alone is not None
    assert way.seconds <= alone.seconds + 1e-9
    left = [each for each in idle.values() if each.slot not in way.empty and each.slot != way.slot]
    need = asked.characters * 0.25 + sum(each.tokens for each in held_now if each.busy)
    if cells and any(each.tokens for each in left):
        assert need + sum(each.tokens for each in left) <= cells


@pytest.mark.parametrize("prompt", [A, B, TITLE])
def test_a_warm_slot_is_no_dearer_than_a_file(prompt: Prompt) -> None:
    way = chosen(
        [held(0, prompt), Holding(1)], wanted(prompt), [stored("x", prompt, prompt)], RATES
    )
    assert (way.slot, way.restore) == (0, None)


def test_another_short_question_about_a_document_restores_it() -> None:
    """The engine can go back to a micro-batch before the end of what it has read."""
    document = lines("fact", LONG)
    first, second = (
        said(("user", document + question)) for question in ("And why?", "Since when?")
    )
    long = said(("user", document + lines("more", LONG)))
    one, other = stored("one", first, second), stored("one", long, second)
    assert chosen([Holding(0)], wanted(second), [one], RATES).restore is one.saved
    assert chosen([Holding(0)], wanted(second), [other], RATES).restore is None
    end = RATES.near_end(first.characters)
    assert usable(second, common(first, second), whole=False, near_end=end) == end
    assert LONG - 3000 < end < LONG
    assert usable(second, common(long, second), whole=False, near_end=RATES.near_end(2 * LONG)) == 0
    # It keeps no place within a picture, and one right behind it only where that was read ahead.
    shown, again = (
        Prompt((picture("picture 1", b"PNG", LONG), *said(("user", question)).parts))
        for question in ("And why?", "Since when?")
    )
    match = stored("shown", shown, again)
    assert chosen([Holding(0)], wanted(again), [match], RATES).restore is None
    start = Prompt(again.parts[:1])
    asked = replace(wanted(again), ahead=start)
    ahead = replace(match, saved=replace(match.saved, ahead=start.characters))
    assert chosen([Holding(0)], asked, [match], RATES).restore is None
    assert chosen([Holding(0)], asked, [ahead], RATES).restore is ahead.saved
    holding = replace(held(1, shown), ahead=(start.characters,))
    assert chosen([Holding(0), holding], asked, [], RATES).slot == 1
    replaced = Prompt((picture("picture 1", b"GIF", LONG), *again.parts[1:]))
    asked = replace(wanted(replaced), ahead=Prompt(replaced.parts[:1]))
    other = replace(ahead, blocks=common(shown, replaced))
    assert chosen([Holding(0)], asked, [other], RATES).restore is None


@pytest.mark.parametrize(("idle_s", "slot"), [(60.0, 1), (3600.0, 0)])
def test_a_long_conversation_that_was_left_goes_before_a_short_one_that_goes_on(
    idle_s: float, slot: int
) -> None:
    left = replace(held(0, A), idle_s=idle_s)
    short = held(1, said(("user", lines("short", LONG // 2))))
    assert chosen([left, short], wanted(OTHER), [], RATES, saves=False).slot == slot


@pytest.mark.parametrize(("answer", "save"), [(0, (0,)), (100, ())])
def test_of_a_shared_context_an_answer_of_unknown_length_has_its_share(
    answer: int, save: tuple[int, ...]
) -> None:
    holding = held(0, A)
    cells = holding.tokens + round(TITLE.characters / 4) + 1000
    way = chosen([holding, Holding(1)], wanted(TITLE, answer_tokens=answer), [], RATES, cells=cells)
    assert way.save == save


def test_the_disk_is_asked_for_long_prompts_and_for_pictures_only() -> None:
    def may(*parts: Part, held: Prompt | None = None) -> bool:
        prompt = Prompt(parts)
        at = Holding(0, 500 if held else 0, held)
        return may_be_spared([at], Wanted(prompt, prompt.characters), RATES)

    long = part("user", "m", "word " * 400)
    assert may(long)
    assert not may(part("user", "m", "Hi"))
    assert may(part("user", "m", "Hi"), picture("p", b"data", 4 * 169))
    more = part("assistant", "m", "Yes."), part("user", "m", "Why?")
    assert may(long, *more)
    assert not may(long, *more, held=Prompt((long,)))
    assert not may_be_spared([Holding(0)], Wanted(None, 100_000), RATES)
