"""`steprun chat` with --mcp or --plain: what is refused before anything is started."""

import pytest

from runner.base import paths
from runner.base.errors import BadFile, UsageError
from runner.cli.commands.chat import _servers


@pytest.fixture(autouse=True)
def user_home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))


def configure(text):
    path = paths.config_dir() / "mcp.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def asked(*words, prompt=None, plain=False):
    return _servers(words, prompt, plain=plain)


def test_one_answer_runs_no_tools_of_servers():
    with pytest.raises(UsageError, match="nobody to give it") as raised:
        asked("files", prompt="hi")
    assert raised.value.next == "steprun chat --mcp files"
    assert asked(prompt="hi") == ()


def test_a_chat_in_plain_lines_asks_for_no_permission_and_says_so():
    with pytest.raises(UsageError, match="for the chat in the window"):
        asked("files", plain=True)
    assert asked(plain=True) == ()


def test_a_server_that_is_not_configured_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="no MCP server 'files'"):
        asked("files")
    configure('[server.files]\ncommand = "npx"\n')
    assert asked("files") == ("files",)
    with pytest.raises(UsageError, match="Did you mean files"):
        asked("filez")


def test_a_wrong_file_is_refused_at_once():
    configure("[server.files]\n")
    with pytest.raises(BadFile, match=r"Line 1, server\.files: a server has either"):
        asked("files")
