"""How a prompt was read, in words, from what a server says of it."""

from dataclasses import replace

import pytest

from runner.chat.events import Usage
from runner.chat.reading import reading_text, with_headers

CACHED = Usage(prompt_tokens=6251, cached_tokens=6208, read_tps=500.0)


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        (Usage(), ""),
        (Usage(prompt_tokens=100), ""),
        (CACHED, "Read 43 of 6,251 tokens, 6,208 from the cache: 12 s saved."),
        (replace(CACHED, restored_tokens=6200),
         "Read 43 of 6,251 tokens, 6,208 from the disk: 12 s saved."),
        (replace(CACHED, read_tps=0, prefill_tps=20),
         "Read 43 of 6,251 tokens, 6,208 from the cache."),
        (Usage(prompt_tokens=2000, cached_tokens=1000, prefill_tps=100),
         "Read 1,000 of 2,000 tokens, 1,000 from the cache: 10 s saved."),
        (Usage(prompt_tokens=2000, reread="the picture in message 1 was replaced"),
         "Read again: the picture in message 1 was replaced."),
        (replace(CACHED, read_tps=0, reread="it was only thought to be"),
         "Read 43 of 6,251 tokens, 6,208 from the cache."),
        (Usage(first_token_s=0.42), "First token after 0.4 s."),
        (Usage(first_token_s=0.42, completion_tokens=1312, decode_tps=1633.9),
         "First token after 0.4 s; wrote 1,312 tokens at 1,633.9 tokens/s."),
        (Usage(completion_tokens=312, decode_tps=31.23, drafted=63, accepted=45, first_token_s=75),
         "First token after 75 s; wrote 312 tokens at 31.2 tokens/s; 45 of 63 drafts accepted."),
    ],
)  # fmt: skip
def test_what_was_read_and_what_was_not(usage: Usage, words: str) -> None:
    assert reading_text(usage) == words


def test_what_was_read_ahead_for_this_answer_was_not_cached() -> None:
    usage = with_headers(replace(CACHED, read_tps=0.0), {"x-steprun-ahead": "6200"})
    assert (usage.prompt_tokens, usage.cached_tokens) == (6251, 8)
    assert with_headers(CACHED, {"x-steprun-ahead": "9999"}).cached_tokens == 0


def test_headers_are_not_trusted() -> None:
    headers = {
        "x-steprun-restored": "12x",
        "x-steprun-reread": "a\x1b[31m" + "b" * 1000,
        "x-steprun-read-rate": "inf",
    }
    usage = with_headers(Usage(prompt_tokens=5), headers)
    assert (usage.prompt_tokens, usage.restored_tokens, usage.read_tps) == (5, 0, 0)
    assert len(usage.reread) <= 200
    assert "\x1b" not in usage.reread
    assert with_headers(Usage(), {"x-steprun-read-rate": "nan"}) == Usage()
    assert with_headers(Usage(), {}) == Usage()
