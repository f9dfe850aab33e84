"""What an answer of several requests took: an answer that calls tools is asked for again. Pure."""

from dataclasses import replace

from runner.chat.events import Usage


def with_earlier(earlier: Usage | None, now: Usage) -> Usage:
    """Return what requests of one answer took together. `now`: of the latest; the rest before it.

    The prompt is the latest one, which has the earlier ones and what was written for them. Of it,
    what no request had to read counts as cached; so what was read is the sum.
    """
    if earlier is None:
        return now
    read = sum(each.prompt_tokens - each.cached_tokens for each in (earlier, now))
    return replace(
        now,
        cached_tokens=max(0, now.prompt_tokens - read),
        completion_tokens=earlier.completion_tokens + now.completion_tokens,
        earlier_tokens=earlier.completion_tokens,
        prefill_tps=_rate(
            (earlier.prompt_tokens - earlier.cached_tokens, earlier.prefill_tps),
            (now.prompt_tokens - now.cached_tokens, now.prefill_tps),
        ),
        decode_tps=_rate(
            (earlier.completion_tokens, earlier.decode_tps),
            (now.completion_tokens, now.decode_tps),
        ),
        drafted=earlier.drafted + now.drafted,
        accepted=earlier.accepted + now.accepted,
        restored_tokens=earlier.restored_tokens,  # later requests find theirs in the engine
        reread=earlier.reread or now.reread,
        read_tps=now.read_tps or earlier.read_tps,
        first_token_s=earlier.first_token_s or now.first_token_s,
    )


def _rate(*parts: tuple[int, float]) -> float:
    """Return the rate of all; pairs of tokens and tokens per second, 0 where it is unknown."""
    known = [(tokens, rate) for tokens, rate in parts if rate and tokens > 0]
    seconds = sum(tokens / rate for tokens, rate in known)
    return sum(tokens for tokens, _ in known) / seconds if seconds else 0.0
