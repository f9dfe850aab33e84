"""`steprun chat` with --mcp: what is refused before anything is started, and what -p runs."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.base import paths
from runner.base.errors import BadFile, Exit, SteprunError, UsageError
from runner.chat.host import ChatSetup
from runner.chat.tools.mcp.permissions import Answer, Decision, Permissions
from runner.chat.wire import Options
from runner.cli.commands.chat import _servers
from runner.cli.one_answer import ask_once
from tests.fakes import bad_mcp_server
from tests.fakes.sse_server import Call, End, FakeHosts, FakeServer, Say, Step

GOOD = str(Path(bad_mcp_server.__file__).with_name("mcp_server.py"))
ADD: list[Step] = [Call("good__add", json.dumps({"a": 2, "b": 3})), End("tool_calls")]
FINE: list[Step] = [Say("Fine."), End()]


@pytest.fixture(autouse=True)
def user_home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))


def configure(text):
    path = paths.config_dir() / "mcp.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def table(name, *argv):
    args = ", ".join(f'"{each}"' for each in argv)
    return f'[server.{name}]\ncommand = "{sys.executable}"\nargs = [{args}]\n'


def test_a_server_that_is_not_configured_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"No MCP server is configured\.") as raised:
        _servers(("files",))
    assert "mcp.toml" in raised.value.why
    configure('[server.files]\ncommand = "npx"\n')
    assert _servers(("files",)) == ("files",)
    with pytest.raises(UsageError, match="Did you mean files"):
        _servers(("filez",))
    assert _servers(()) == ()


def test_a_wrong_file_is_refused_at_once():
    configure("[server.files]\n")
    with pytest.raises(BadFile, match=r"Line 1, server\.files: a server has either"):
        _servers(("files",))


# --- with -p, by a real server ---


async def ask(*scripts: list[Step], mcp: tuple[str, ...] = ("good",)) -> list[dict[str, Any]]:
    configure(table("good", GOOD) + table("bad", bad_mcp_server.__file__, "garbage"))
    with FakeServer(*scripts) as server:
        hosts = FakeHosts(server.url)
        try:
            assert await ask_once(ChatSetup("F", hosts, Options(), mcp=mcp), "hi") == Exit.DONE
        finally:
            assert all(host.left for host in hosts.opened)
        return list(server.requests)


def decide(answer: Answer, fingerprint: str) -> None:
    Permissions().decide(Decision("good", "add", answer, fingerprint))


async def fingerprint() -> str:
    from runner.chat.tools.mcp.config import read_servers
    from runner.chat.tools.mcp.switching import McpSwitches
    from runner.chat.tools.toolboxes import Toolboxes

    async def never(_: object) -> Answer:
        raise AssertionError("nothing is called")

    switches = McpSwitches(Toolboxes(), never, lambda: None)
    configure(table("good", GOOD))
    assert read_servers()
    await switches.switch("good")
    await switches.settled()
    assert switches.box is not None
    offers = switches.box.entries["good"].offers.tools
    await switches.close()
    return next(offer.fingerprint for offer in offers if offer.own_name == "add")


async def test_what_was_not_allowed_for_good_is_refused_to_the_model_and_that_is_printed(capsys):
    first, second = await ask(ADD, FINE)
    assert "good__add" in [tool["function"]["name"] for tool in first["tools"]]
    assert second["tools"] == first["tools"]
    assert "did not allow this call" in second["messages"][-1]["content"]
    out, err = capsys.readouterr()
    assert out == "Fine.\n"
    assert "good__add was not run." in err
    assert "steprun chat --mcp good" in err


async def test_what_was_allowed_for_good_is_run(capsys):
    decide(Answer.ALWAYS, await fingerprint())
    _, second = await ask(ADD, FINE)
    assert second["messages"][-1]["content"] == "5"
    assert capsys.readouterr() == ("Fine.\n", "")


async def test_what_has_changed_since_it_was_allowed_is_refused_and_so_is_what_never_may(capsys):
    decide(Answer.ALWAYS, "another")
    _, second = await ask(ADD, FINE)
    assert "did not allow this call" in second["messages"][-1]["content"]
    assert "describes itself otherwise" in capsys.readouterr().err
    decide(Answer.NEVER, "another")
    _, second = await ask(ADD, FINE)
    assert "never allows" in second["messages"][-1]["content"]


async def test_a_server_that_does_not_start_ends_it_before_anything_is_asked():
    with pytest.raises(SteprunError, match="The MCP server bad has ended") as raised:
        await ask(FINE, mcp=("good", "bad"))
    assert raised.value.next == "Correct that, or leave --mcp bad out."
