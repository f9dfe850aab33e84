"""When an engine has become slow, and when its texts only differ."""

import random

import pytest

from runner.gateway.trouble.rates import WINDOW, Rates


def told(rates: Rates, *, times: int = 1, context: int = 4000, tps: float = 20.0) -> Rates:
    for _ in range(times):
        rates.note(context=context, tokens=300, accepted=0, tokens_per_s=tps)
    return rates


def test_half_of_what_it_was_is_seen_after_a_few_answers() -> None:
    rates = told(Rates(), times=20)
    assert (rates.fallen, rates.share) == (False, 1.0)
    told(rates, times=WINDOW // 2, tps=9.0)
    assert not rates.fallen
    told(rates, times=WINDOW // 2, tps=9.0)
    assert rates.fallen
    assert rates.share == pytest.approx(0.45)


def test_one_slow_answer_is_none() -> None:
    rates = told(Rates(), times=20)
    for _ in range(50):
        told(rates, times=5)
        told(rates, tps=2.0)
        assert not rates.fallen


def test_a_long_context_is_slow_by_nature() -> None:
    """Step on a DGX Spark: 23.9 tokens a second at first, 16.1 at 64K, 8.6 at 262K."""
    rates = told(Rates(), times=20, context=1000, tps=23.9)
    told(rates, times=40, context=64_000, tps=16.1)
    told(rates, times=40, context=260_000, tps=8.6)
    assert not rates.fallen


def test_what_the_draft_heads_guess_is_the_texts_doing() -> None:
    """All guesses right, then none: three times the tokens, and the same steps a second."""
    rates = Rates()
    for _ in range(20):
        rates.note(context=4000, tokens=300, accepted=200, tokens_per_s=45.0)
    for _ in range(20):
        rates.note(context=4000, tokens=300, accepted=0, tokens_per_s=15.0)
    assert not rates.fallen


def test_noise_is_no_fall() -> None:
    chance, rates = random.Random(1), Rates()
    for _ in range(3000):
        told(rates, context=chance.randrange(100, 200_000), tps=chance.lognormvariate(3.0, 0.25))
        assert not rates.fallen


def test_it_is_well_again_when_it_is_nearly_as_fast_as_it_was() -> None:
    rates = told(told(Rates(), times=20), times=WINDOW, tps=8.0)
    assert rates.fallen
    assert told(rates, times=WINDOW, tps=13.0).fallen
    assert not told(rates, times=WINDOW, tps=18.0).fallen


def test_a_new_engine_is_measured_by_the_old_one() -> None:
    rates = told(told(Rates(), times=20), times=WINDOW, tps=8.0)
    rates.begin_again()
    assert (rates.fallen, rates.share) == (False, None)
    assert told(rates, times=WINDOW, tps=8.0).fallen


@pytest.mark.parametrize("tps", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_a_rate_that_is_none_is_left_out(tps: float) -> None:
    rates = told(told(Rates(), times=20), times=50, tps=tps)
    assert rates.share == 1.0


def test_short_answers_say_nothing() -> None:
    rates = told(Rates(), times=20)
    for _ in range(50):
        rates.note(context=4000, tokens=10, accepted=0, tokens_per_s=1.0)
    assert not rates.fallen
