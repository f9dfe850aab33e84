"""How fast prompts are read here, and what a cached one saves."""

from runner.gateway.watching.read_rate import LEAST_TOKENS, ReadRate


def test_nothing_is_saved_as_long_as_nothing_was_measured() -> None:
    rate = ReadRate()
    rate.note(LEAST_TOKENS - 1, 1.0)
    rate.note(1000, 0.0)
    assert rate.tps == 0


def test_the_latest_and_the_longest_prompts_count_most() -> None:
    rate = ReadRate()
    rate.note(1000, 10.0)
    assert rate.tps == 100
    for _ in range(20):
        rate.note(4000, 10.0)
    assert 395 < rate.tps < 400
