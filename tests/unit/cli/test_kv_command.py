"""`steprun kv`: saved prompts, listed and deleted."""

import json
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from runner.base.errors import Refused, UsageError
from runner.base.units import GIB
from runner.chat.sessions.entries import SessionEntry
from runner.chat.sessions.store import Session
from runner.chat.wire import Message
from runner.cli.main import steprun
from runner.cli.render.saved_prompts import saved_text
from runner.kv.policy import Bounds
from runner.kv.prompt import Prompt
from runner.kv.saved import Saved, Totals
from runner.kv.shelf import shelf_dir
from runner.kv.store import Store
from tests.unit.docs.test_reference import DOCUMENTS, paths_of
from tests.unit.kv.stores import DEPENDS, FILE, WIDE, conversation, save


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    return Store(shelf_dir(), DEPENDS, WIDE)


def run(*words: str) -> Result:
    result = CliRunner().invoke(steprun, ["kv", *words])
    if isinstance(result.exception, Exception):
        raise result.exception
    return result


def test_nothing_is_saved_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    assert run().stdout == "No prompts are saved.\n"
    document = json.loads(run("--json").stdout)
    assert (document["files"], document["budget_bytes"], document["saved"]) == (0, None, [])


def test_a_list_says_what_and_how_much(store: Store) -> None:
    saved = save(store, conversation("Hello"))
    store.used(saved, 10, 90.0)
    shown = run("list").stdout
    assert shown == run().stdout
    assert saved.id in shown
    assert "system prompt, 1 message" in shown
    assert "Prefill saved so far: 90 s." in shown


def test_the_list_is_aligned_and_within_a_terminal() -> None:
    saved = Saved("0" * 16, 262_144, 1, 7 * GIB, 0, 10.0, 1, 12, 4000.0, "12 messages")
    totals = Totals(1, 7 * GIB, 4000.0, GIB, Bounds(20 * GIB, 0, 0))
    title, row, _, last = saved_text([saved], totals, 100.0).splitlines()
    assert row == ("0000000000000000  262,144   7.00 GiB    90 s ago     12   67 min  12 messages")
    assert "USED  TIMES    SAVED  WHAT" in title
    assert "7.00 GiB of 20.00 GiB" in last


def test_the_document(store: Store) -> None:
    saved = save(store, conversation("Hello"), owner="20260101-120000-00000000")
    Session("20260101-120000-00000000").add(SessionEntry(Message("user", "Hello")))
    document = json.loads(run("list", "--json").stdout)
    assert document["schema"] == "steprun.kv/1"
    assert document["total_bytes"] == document["written_today_bytes"] == FILE
    assert document["budget_bytes"] == WIDE.budget_bytes
    assert {path.replace("[]", "") for path in paths_of(document)} == {
        "schema",
        *(name.replace("[]", "") for name in DOCUMENTS["steprun.kv/1"]),
    }
    (only,) = document["saved"]
    assert (only["id"], only["chat"]) == (saved.id, "20260101-120000-00000000")


def test_what_is_deleted_has_to_be_named(store: Store) -> None:
    save(store, conversation("Hello"))
    for words in ((), ("--all", "--older", "1d"), ("--older", "1 fortnight"), ("nobody",)):
        with pytest.raises(UsageError):
            run("clear", *words, "--yes")
    assert len(store.listed()) == 1


def test_nothing_is_deleted_without_consent(store: Store) -> None:
    save(store, conversation("Hello"))
    with pytest.raises(Refused) as refused:
        run("clear", "--all")
    assert refused.value.next == "steprun kv clear --all --yes"
    assert len(store.listed()) == 1


def test_clear_deletes_what_was_named(store: Store) -> None:
    one, two = save(store, conversation("one")), save(store, conversation("two"))
    assert "Nothing to delete" in run("clear", "--older", "1d", "--yes").stderr
    assert run("clear", one.id, "--yes").stdout == "1 KiB freed.\n"
    assert store.listed() == (two,)
    run("clear", "--all", "--yes")
    assert store.listed() == ()
    assert store.open(two) is None


def test_a_chat_that_is_deleted_takes_its_saved_prompts_along(store: Store) -> None:
    session = Session.create()
    session.add(SessionEntry(Message("user", "Hello")))
    save(store, conversation("Hello"), owner=session.id)
    other = save(store, conversation("of a program"), owner="my agent")
    assert "2 prompts" in run().stdout
    session.path.unlink()
    assert "1 prompt is" in run().stdout
    assert store.listed() == (other,)


def test_a_store_that_is_off_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    shelf_dir().parent.mkdir(parents=True)
    shelf_dir().write_text("not a folder")
    for words in ((), ("clear", "--all", "--yes")):
        with pytest.raises(Refused, match="cannot be listed"):
            run(*words)


def test_a_saved_prompt_without_a_conversation_is_listed(store: Store) -> None:
    save(store, Prompt(conversation().parts))
    assert "system prompt" in run().stdout


def test_ids_are_completed(store: Store) -> None:
    saved = save(store, conversation("Hello"))
    complete = ShellComplete(steprun, {}, "steprun", "_STEPRUN_COMPLETE")
    (item,) = complete.get_completions(["kv", "clear"], saved.id[:3])
    assert item.value == saved.id
