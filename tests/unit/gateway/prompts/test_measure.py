"""What is taken for the rates of an engine."""

from runner.gateway.prompts.engine_slots import Moved
from runner.gateway.prompts.measure import FIRST_BYTES_S, FIRST_READ_TOKENS_S, Measured
from runner.gateway.watching.account import Account
from runner.gateway.watching.read_rate import ReadRate
from runner.kv.prompt import Prompt, part


def account(tokens: int) -> Account:
    return Account(time="", client="", api="", path="", status=200, prompt_tokens=tokens)


def asked(characters: int) -> Prompt:
    return Prompt((part("user", "message 1", "x" * characters),))


def test_a_title_says_little_about_the_tokens_of_a_text() -> None:
    measured = Measured(ReadRate())
    measured.answered(account(1000), asked(4000))
    measured.answered(account(45), asked(15))  # 45 tokens, most of them the template's
    assert measured.rates().character_tokens == 0.25


def test_prompts_are_priced_by_the_one_rate_that_is_measured_of_all_requests() -> None:
    rate = ReadRate()
    measured = Measured(rate)
    assert measured.rates().read_tokens_s == FIRST_READ_TOKENS_S
    rate.note(1000, 2.0)
    assert measured.rates().read_tokens_s == 500.0


def test_a_small_file_says_nothing_about_a_disk() -> None:
    measured = Measured(ReadRate(), token_bytes=2000.0)
    assert measured.rates().token_bytes == 2000.0
    measured.moved(Moved(100, 5000, 1.0))
    assert measured.rates().bytes_s == FIRST_BYTES_S
    measured.moved(Moved(1000, 4 << 20, 0.01))
    assert measured.rates().bytes_s == (4 << 20) / 0.01
    assert measured.rates().token_bytes == (4 << 20) / 1000
