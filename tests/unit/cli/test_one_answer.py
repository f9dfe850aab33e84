"""`steprun chat -p` against the fake server: what is printed, what is saved, what is resumed."""

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from runner.base.errors import Exit, Refused, SteprunError, UsageError
from runner.chat import tool_rounds
from runner.chat.as_json import to_json
from runner.chat.conversation import Conversation
from runner.chat.host import ChatSetup
from runner.chat.sessions.entries import SessionEntry
from runner.chat.sessions.store import Session, list_sessions
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Message, Options
from runner.cli.main import steprun
from runner.cli.one_answer import ask_once
from runner.tui.settings import SettingsFile
from tests.fakes.sse_server import (
    Call,
    Die,
    End,
    FakeHosts,
    FakeServer,
    Gate,
    Read,
    Refuse,
    Say,
    Step,
    Think,
)


def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make stderr a terminal, as where a person types the command."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)


def setup(hosts: FakeHosts, **more) -> ChatSetup:
    given = {"options": Options(), **more}
    return ChatSetup("Fake 1B", hosts, words=("--demo",), **given)


async def ask(server: FakeServer, prompt: str, **more) -> int:
    hosts = FakeHosts(server.url)
    try:
        return await ask_once(setup(hosts, **more), prompt)
    finally:
        assert all(host.left for host in hosts.opened)


def said(session_id: str = "latest") -> list[tuple[str, str]]:
    entries = Session.load(session_id).entries
    return [(entry.message.role, entry.message.text) for entry in entries]


async def test_an_answer_is_data_and_a_session(capsys):
    with FakeServer([Read(1, 2), Think("hm"), Say("Fine."), End()]) as server:
        assert await ask(server, "How are you?") == Exit.DONE
    assert capsys.readouterr() == ("Fine.\n", "")
    [identity] = list_sessions()
    assert said(identity) == [("user", "How are you?"), ("assistant", "Fine.")]
    conversation = Conversation("Fake 1B", identity)  # as the terminal chat opens it
    [turn] = conversation.turns
    assert (turn.phase, turn.answer, turn.reasoning) == (TurnState.DONE, "Fine.", "hm")
    conversation.close()


async def test_a_person_reads_what_was_restored_and_what_that_saved(capsys, monkeypatch):
    at_a_terminal(monkeypatch)
    with FakeServer([Say("Fine."), End(prompt=6251, cached=6208)]) as server:
        server.headers = {"x-steprun-restored": "6200", "x-steprun-read-rate": "500"}
        await ask(server, "hi")
    err = capsys.readouterr().err
    assert "Read 43 of 6,251 tokens, 6,208 from the disk: 12 s saved." in err


async def test_a_person_reads_how_far_the_prompt_is_and_what_the_answer_took(capsys, monkeypatch):
    at_a_terminal(monkeypatch)
    with FakeServer([Read(0, 6208), Read(1024, 6208), Say("Fine."), End()]) as server:
        await ask(server, "hi")
    err = capsys.readouterr().err
    assert "prefill 1,024 of 6,208" in err
    assert "First token after" in err
    assert "wrote 5 tokens at 31.2 tokens/s." in err


async def test_a_person_reads_how_to_resume(capsys, monkeypatch):
    at_a_terminal(monkeypatch)
    with FakeServer() as server:
        await ask(server, "hi")
    out, err = capsys.readouterr()
    assert out == "Fine, thank you.\n"
    assert f"Resume with: steprun chat --demo --resume {next(list_sessions())}" in err


async def test_a_resumed_chat_carries_its_turns_and_grows(capsys):
    with FakeServer([Say("one"), End()], [Say("two"), End()]) as server:
        await ask(server, "a")
        [identity] = list_sessions()
        await ask(server, "b", resume=identity)
        contents = [message["content"] for message in server.requests[1]["messages"]]
    assert contents == ["a", "one", "b"]
    assert list(list_sessions()) == [identity]
    assert [text for _, text in said(identity)] == ["a", "one", "b", "two"]
    assert capsys.readouterr() == ("one\ntwo\n", "")


async def test_a_failure_keeps_what_arrived(capsys):
    with (
        FakeServer([Say("A part"), Die()]) as server,
        pytest.raises(SteprunError, match="broke") as caught,
    ):
        await ask(server, "hi")
    assert "kept" not in str(caught.value), "there is no key here to continue it with"
    assert capsys.readouterr().out == "A part\n"
    assert said() == [("user", "hi"), ("assistant", "A part")]
    assert "broke" in Session.load().entries[-1].failed


async def test_a_refused_question_is_left_out_of_the_next():
    with FakeServer([Refuse(500, "out of luck")], [Say("Better."), End()]) as server:
        with pytest.raises(SteprunError, match="status 500"):
            await ask(server, "poison")
        await ask(server, "hi", resume=next(list_sessions()))
        assert server.requests[1]["messages"] == [{"role": "user", "content": "hi"}]


async def test_an_interrupted_answer_is_kept_as_far_as_it_came(capsys):
    gate = Gate()
    with FakeServer([Say("A part"), gate]) as server:
        asking = asyncio.create_task(ask(server, "hi"))
        out = ""
        while "A part" not in out:
            await asyncio.sleep(0.01)
            out += capsys.readouterr().out
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert server.hung_up.wait(20), "the server stops generating"
        gate.open()
    entry = Session.load().entries[-1]
    assert (entry.message.text, entry.stopped) == ("A part", True)


async def test_a_reader_that_has_gone_stops_the_answer(monkeypatch):
    def gone(_):
        raise BrokenPipeError

    monkeypatch.setattr(sys.stdout, "write", gone)
    script: list[Step] = [Say("A part"), Say(" of it"), End()]
    with FakeServer(script) as server, pytest.raises(BrokenPipeError):
        await ask(server, "hi")
    entry = Session.load().entries[-1]
    assert (entry.message.text, entry.stopped, entry.failed) == ("A part", True, "")


async def test_reasoning_without_an_answer_fails_and_is_kept():
    script: list[Step] = [Think("on and on"), End("length")]
    with FakeServer(script) as server, pytest.raises(SteprunError, match="still thinking"):
        await ask(server, "hi")
    assert Session.load().entries[-1].message.reasoning == "on and on"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([Say("A par"), End("length")], "at the token limit. For a longer one: --max-tokens N"),
        ([Say("A par"), End("SAFETY")], "content filter cut"),
    ],
)
async def test_an_odd_end_is_named_on_stderr(capsys, script, words):
    with FakeServer(script) as server:
        assert await ask(server, "hi") == Exit.DONE
    assert words in capsys.readouterr().err


THOUGHT: list[Step] = [Say("So 4.\n</th"), Say("ink>\n\n"), Say("4"), End()]


def foreign(monkeypatch: pytest.MonkeyPatch, server: FakeServer, *arguments: str) -> None:
    monkeypatch.setattr("sys.stdin", None)
    argv = ["chat", "--url", f"{server.url}/v1/", "-p", "2+2?", *arguments]
    assert steprun.main(argv, standalone_mode=False) == Exit.DONE


def test_thinking_without_its_first_tag_is_not_part_of_the_data(monkeypatch, capsys):
    with FakeServer(THOUGHT, THOUGHT) as server:
        foreign(monkeypatch, server)
        assert capsys.readouterr().out == "4\n"
        foreign(monkeypatch, server, "--show-thinking")
    out, err = capsys.readouterr()
    assert (out, "So 4." in err) == ("4\n", True)
    entry = Session.load().entries[-1]
    assert (entry.message.text, entry.message.reasoning) == ("4", "So 4.")


def test_a_key_of_the_environment_reaches_a_server_on_this_machine(monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with FakeServer() as server:
        foreign(monkeypatch, server)
        assert server.authorised == ["Bearer sk-test"]
        assert "return_progress" not in server.requests[0], "that is for llama-server only"
    assert "sk-test" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([End("stop", tokens=0)], "may be longer than the server's context"),
        ([Think("hm"), End()], "all of them reasoning"),
        ([Say(" \n"), End(tokens=1)], 'ended it with "stop"'),
        ([End("SAFETY")], "content filter"),
        ([End("tool_use")], "called a tool"),
    ],
)
async def test_an_empty_answer_fails_and_says_why(script, words):
    with FakeServer(script) as server, pytest.raises(SteprunError, match="no answer") as raised:
        await ask(server, "hi")
    assert words in raised.value.why
    assert raised.value.exit_code == Exit.FAILED
    assert raised.value.next


async def test_a_chat_that_cannot_be_saved_answers_all_the_same(home, capsys):
    home.mkdir()
    (home / "data").write_text("a file in the way")
    with FakeServer() as server:
        assert await ask(server, "hi") == Exit.DONE
    assert capsys.readouterr() == ("Fine, thank you.\n", ""), "a script need not care"


async def test_a_person_reads_that_a_chat_cannot_be_saved(home, capsys, monkeypatch):
    at_a_terminal(monkeypatch)
    home.mkdir()
    (home / "data").write_text("a file in the way")
    with FakeServer() as server:
        await ask(server, "hi")
    err = capsys.readouterr().err
    assert err.count("This chat is not being saved.") == 1
    assert "Resume with" not in err


async def test_a_chat_that_is_open_elsewhere_is_refused_before_the_engine_starts():
    session = Session.create("Fake 1B")
    session.add(SessionEntry(Message("user", "hi")))
    session.claim()
    hosts = FakeHosts("http://127.0.0.1:9")
    with pytest.raises(Refused, match="open in another window"):
        await ask_once(setup(hosts, resume=session.id), "and?")
    assert not hosts.opened
    session.release()


def test_the_last_chat_is_resumed_by_the_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", None)
    with FakeServer([Say("one"), End()], [Say("two"), End()]) as server:
        for arguments in (("-p", "a"), ("--resume", "-p", "b"), ("-p", "c", "--resume")):
            argv = ["chat", "--url", server.url, *arguments]
            assert steprun.main(argv, standalone_mode=False) == Exit.DONE
        sent = [[m["content"] for m in request["messages"]] for request in server.requests]
    assert sent == [["a"], ["a", "one", "b"], ["a", "one", "b", "two", "c"]]
    assert capsys.readouterr().out == "one\ntwo\nFine, thank you.\n"
    assert len(list(list_sessions())) == 1


def test_an_unknown_chat_is_refused_before_anything_is_planned(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setattr("runner.cli.chat_here._local", None)  # planning would call it
    argv = ["chat", "--resume", "20260101-000000-0000", "-p", "hi"]
    with pytest.raises(Refused, match="No saved chat has the ID"):
        steprun.main(argv, standalone_mode=False)


def test_a_chat_of_a_file_is_opened_by_the_command(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.stdin", None)
    path = tmp_path / "chat.json"
    path.write_text(to_json([Turn("one", phase=TurnState.DONE, answer="1")], "Step"))
    with FakeServer([Say("two"), End()]) as server:
        argv = ["chat", "--url", server.url, "--open", str(path), "-p", "and?"]
        assert steprun.main(argv, standalone_mode=False) == Exit.DONE
        (body,) = server.requests
    assert [each["content"] for each in body["messages"]] == ["one", "1", "and?"]
    assert capsys.readouterr().out == "two\n"
    with pytest.raises(UsageError, match="name two chats"):
        steprun.main([*argv, "--resume"], standalone_mode=False)


@pytest.mark.parametrize("plain", [False, True])
def test_a_chat_of_a_file_is_not_kept_where_nothing_is_found(monkeypatch, tmp_path, plain):
    def no_plan(_):
        raise Refused("It does not fit.")

    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setattr("runner.cli.chat_here.find", no_plan)
    path = tmp_path / "chat.json"
    path.write_text(to_json([Turn("one", phase=TurnState.DONE, answer="1")], "Step"))
    with pytest.raises(Refused, match="It does not fit"):
        steprun.main(
            ["chat", "--open", str(path), *(["--plain"] if plain else ["-p", "and?"])],
            standalone_mode=False,
        )
    assert list(list_sessions()) == []


async def test_files_go_before_the_question(tmp_path, capsys):
    path = tmp_path / "notes.txt"
    path.write_text("one\ntwo\n")
    with FakeServer([Say("Two."), End()], [Say("Again."), End()]) as server:
        assert await ask(server, "How many? See @nothing", files=(path,)) == Exit.DONE
        sent = f"File: {path}\n```txt\none\ntwo\n```\n\nHow many? See @nothing"
        assert server.requests[0]["messages"] == [{"role": "user", "content": sent}]
        path.write_text("changed")
        await ask(server, "And now?", resume="latest")
    assert server.requests[1]["messages"][0]["content"] == sent
    assert said()[0] == ("user", "How many? See @nothing")
    with FakeServer() as server:
        with pytest.raises(SteprunError) as raised:
            await ask(server, "x", files=(tmp_path / "gone",))
        assert "no such file" in raised.value.why
        path.write_text("word " * 5000)
        with pytest.raises(Refused) as refused:
            await ask(server, "x", files=(path,), context=4096)
        assert refused.value.why == "It has 5,004 tokens, and the context has 4,096 free."
        path.write_text("a line of words\n" * 60_000)
        with pytest.raises(Refused) as refused:
            await ask(server, "x", files=(path,), context=4096)
        assert refused.value.why.startswith("It has about 288,0")
        assert refused.value.next == f"Take a part: --file '{path}#1-767'."
        path.write_bytes(b"\0")
        with pytest.raises(SteprunError) as raised:
            await ask(server, "x", files=(path,))
        assert raised.value.next == "Leave it out."
        assert not server.requests


async def test_files_alone_are_a_question_and_what_is_left_out_is_told(tmp_path, capsys):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.txt").write_text("one\n")
    (tmp_path / "work" / ".env").write_text("SECRET=1\n")
    (tmp_path / "work" / "key.pem").write_text("secret\n")
    with FakeServer([Say("Fine."), End()]) as server:
        await ask(server, "", files=(tmp_path / "work",))
        assert "secret\n" not in str(server.requests)
    told = " ".join(capsys.readouterr().err.split())  # the path has tokens, too
    assert re.search(r"1 file · ~\d\d tokens · left out: key.pem \(may hold secrets\)", told)
    assert said()[0] == ("user", f"@{tmp_path}/work")


# --- tools, and what is remembered: as in the window ---

LOOK: Step = Call("zoom", json.dumps({"image": 1, "x": 100, "y": 200, "w": 500, "h": 500}))


def drawn(tmp_path: Path, name: str = "cat.png") -> Path:
    path = tmp_path / name
    Image.new("RGB", (64, 48), "blue").save(path)
    return path


async def test_a_zoom_is_offered_with_a_picture_and_run_and_what_it_writes_is_one_answer(
    capsys, tmp_path, monkeypatch
):
    at_a_terminal(monkeypatch)
    scripts: tuple[list[Step], ...] = (
        [Say("Let me look."), LOOK, End("tool_calls")],
        [Say("A cat."), End()],
    )
    with FakeServer(*scripts) as server:
        await ask(server, "What is it?", pictures=(drawn(tmp_path),), sees=True)
        first, second = server.requests
    assert [tool["function"]["name"] for tool in first["tools"]] == ["zoom", "mark"]
    assert second["tools"] == first["tools"]
    assert second["messages"][-1]["role"] == "tool"
    out, err = capsys.readouterr()
    [identity] = list_sessions()
    conversation = Conversation("Fake 1B", identity)
    assert out == f"{conversation.turns[0].answer}\n" == "Let me look.\n\nA cat.\n"
    conversation.close()
    assert "→ zoom cat.png · 100,200 · 500x500" in err


async def test_a_question_without_a_picture_offers_no_tools_and_neither_where_they_are_off(
    tmp_path,
):
    with FakeServer() as server:
        await ask(server, "hi", sees=True)
        await ask(server, "hi", sees=True, pictures=(drawn(tmp_path),), picture_tools=False)
        remembered(tools="off")
        await ask(server, "hi", sees=True, pictures=(drawn(tmp_path),))
        assert ["tools" in request for request in server.requests] == [False] * 3


def remembered(**choices: str) -> None:
    settings = SettingsFile()
    settings.choose(**choices)
    settings.write()


async def test_what_the_window_remembers_of_the_thinking_counts_and_what_is_typed_counts_more():
    remembered(effort="low", max_thinking="100")
    with FakeServer() as server:
        await ask(server, "hi")
        await ask(server, "hi", options=Options(effort="high"))
        bodies = [json.dumps(request) for request in server.requests]
    assert '"low"' in bodies[0]
    assert '"high"' in bodies[1]
    assert '"low"' not in bodies[1]


async def test_calls_without_end_are_stopped_and_that_is_said(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tool_rounds, "ROUNDS", 1)
    again: list[Step] = [Say("Hm."), LOOK, End("tool_calls")]
    with FakeServer(again, again, again) as server:
        await ask(server, "What is it?", pictures=(drawn(tmp_path),), sees=True)
    assert "It called tools as often as one answer may." in capsys.readouterr().err
