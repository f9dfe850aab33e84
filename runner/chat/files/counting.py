"""Whether files fit the context that are about to be sent, by the engine where it must count."""

from collections.abc import Callable, Sequence

from runner.base.errors import Refused
from runner.chat.dialect import Dialect
from runner.chat.files.attached import Attachment
from runner.chat.files.fitting import needs_count, too_long
from runner.chat.files.mentions import mention_of
from runner.net.endpoint import Endpoint


async def why_too_long(
    attached: Sequence[Attachment],
    free: int,
    endpoint: Endpoint | None,
    dialect: Dialect,
    *,
    prices: bool,
    typed: Callable[[str], str] = mention_of,
) -> Refused | None:
    """Return why files are not sent where `free` tokens of the context are left; None: they are.

    An estimate decides where it is certain, else the tokenizer of the server at `endpoint`, else
    nothing does: the server will. `typed`: how a part of a file is asked for.
    """
    counted = list(attached)
    if needs_count(attached, free, prices=prices):
        from runner.chat.files.pricing import count_tokens  # noqa: PLC0415 - brings httpx2

        if endpoint is None:
            return None
        for place, each in enumerate(attached):
            tokens = await count_tokens(endpoint, dialect, each.file.text)
            counted[place] = each if tokens is None else each.counted(tokens)
    return too_long(counted, max(0, free), prices=prices, typed=typed)
