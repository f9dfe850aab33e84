"""Files in a message with a real engine: counted as they cost, read once, also when resumed."""

from pathlib import Path

import pytest

from runner.chat.answering import answer
from runner.chat.conversation import Conversation
from runner.chat.dialect import LLAMA_SERVER
from runner.chat.files.attaching import attach
from runner.chat.files.pricing import count_tokens, estimate
from runner.chat.host import ChatHost
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Options
from tests.engine.test_chat_read_once import own_host
from tests.fakes.pdf_files import pdf

pytestmark = pytest.mark.engine

NOTES = "\n".join(f"fact {number}: it is {number * 37 % 1000}." for number in range(100))


async def ask(conversation: Conversation, host: ChatHost, turn: Turn) -> int:
    """Return how many tokens of the prompt were read for the answer."""
    await answer(conversation, turn, host, Options(max_tokens=3, extra={"ignore_eos": True}))
    assert turn.phase is TurnState.DONE, turn.error
    assert turn.usage is not None
    return turn.usage.prompt_tokens - turn.usage.cached_tokens


async def test_files_are_counted_exactly_and_read_once(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    path = tmp_path / "notes.txt"
    path.write_text(NOTES)
    (tmp_path / "r.pdf").write_bytes(pdf("Revenue grew.", "Costs fell."))
    async with own_host(tiny) as host:
        await host.wait_ready(lambda _: None)
        notes = (await attach("notes.txt", path, sees=False, pictures=0)).file
        report = (await attach("r.pdf", tmp_path / "r.pdf", sees=False, pictures=0)).file
        counted = await count_tokens(host.endpoint, LLAMA_SERVER, notes.text)
        assert counted is not None
        assert counted / 4 < estimate(notes.text) < counted * 4

        plain = Conversation("Tiny", "")
        without = plain.append("What is fact 7?", ())
        await ask(plain, host, without)
        plain.close()
        chat = Conversation("Tiny", "")
        asked = chat.append("What is fact 7?", (), (notes,))
        assert await ask(chat, host, asked) > counted / 2
        assert asked.usage is not None
        assert without.usage is not None
        more = asked.usage.prompt_tokens - without.usage.prompt_tokens
        assert abs(more - counted) <= 2  # the blank line, and what joins with it
        chat.close()

        path.write_text("changed")
        again = Conversation("Tiny", chat.session.id)
        following = again.append("And fact 8?", (), (report,))
        read = await ask(again, host, following)
        assert following.usage is not None
        assert read < following.usage.prompt_tokens - counted  # the notes were not read again
        again.close()
