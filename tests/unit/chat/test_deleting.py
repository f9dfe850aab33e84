"""A saved chat is deleted with what belongs to it, and with nothing else."""

import pytest

from runner.base.errors import Refused
from runner.chat.sessions.deleting import delete_chat
from runner.chat.sessions.entries import SessionEntry
from runner.chat.sessions.store import InUse, Session, sessions_dir
from runner.chat.wire import Message, Picture


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))


def image(color):
    return Picture("cat.png", "image/png", b"PNG" + color, 1, 1, 1)


def saved(*images):
    session = Session.create("Fake")
    session.add(SessionEntry(Message("user", "hi", images)))
    return session


def stored():
    return {path.name for path in sessions_dir().rglob("*") if path.is_file()}


def test_a_chat_goes_with_its_draft_and_its_images():
    kept = saved(image(b"shared"))
    before = stored()
    gone = saved(image(b"shared"), image(b"own"))
    gone.save_draft("typed", (image(b"draft"),))
    assert len(stored()) == len(before) + 4
    delete_chat(gone.id)
    assert stored() == before
    assert Session.load(kept.id).entries or Session.load(kept.id).warnings


def test_an_image_that_only_a_draft_has_stays():
    other = Session.create("Fake")
    other.save_draft("typed", (image(b"shared"),))
    before = stored()
    delete_chat(saved(image(b"shared")).id)
    assert stored() == before


def test_a_chat_that_is_open_stays():
    session = saved()
    session.claim()
    with pytest.raises(InUse):
        delete_chat(session.id)
    session.release()
    assert session.path.exists()


@pytest.mark.parametrize("name", ["", "../x", "20260101-000000-abcd"])
def test_what_is_not_a_saved_chat_is_refused(name):
    with pytest.raises(Refused):
        delete_chat(name)
