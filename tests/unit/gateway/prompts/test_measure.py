"""What is taken for the rates of an engine."""

from runner.gateway.prompts.engine_slots import Moved
from runner.gateway.prompts.measure import FIRST_BYTES_S, Measured
from runner.gateway.watching.account import Account
from runner.kv.prompt import Prompt, part


def account(tokens: int, cached: int, seconds: float) -> Account:
    return Account(
        time="",
        client="",
        api="",
        path="",
        status=200,
        prompt_tokens=tokens,
        cached_tokens=cached,
        read_s=seconds,
    )


def asked(characters: int) -> Prompt:
    return Prompt((part("user", "message 1", "x" * characters),))


def test_a_title_says_little_about_the_tokens_of_a_text() -> None:
    measured = Measured()
    measured.answered(account(1000, 0, 2.0), asked(4000))
    measured.answered(account(45, 0, 0.3), asked(15))  # 45 tokens, most of them the template's
    rates = measured.rates()
    assert (rates.character_tokens, rates.read_tokens_s) == (0.25, 500.0)


def test_what_is_cached_was_not_read() -> None:
    measured = Measured()
    measured.answered(account(1000, 800, 2.0), None)
    assert measured.rates().read_tokens_s == 100.0


def test_a_small_file_says_nothing_about_a_disk() -> None:
    measured = Measured(token_bytes=2000.0)
    assert measured.rates().token_bytes == 2000.0
    measured.moved(Moved(100, 5000, 1.0))
    assert measured.rates().bytes_s == FIRST_BYTES_S
    measured.moved(Moved(1000, 4 << 20, 0.01))
    assert measured.rates().bytes_s == (4 << 20) / 0.01
    assert measured.rates().token_bytes == (4 << 20) / 1000
