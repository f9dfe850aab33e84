"""Hostile pictures for the chat: a few of those that `scripts/attack_pictures` gives it."""

import pytest

pytest.importorskip("pillow_heif")

from chat_attacks import hostile_pictures, picture_cli
from chat_attacks.hostile_pictures import KINDS, SUFFIXES, PictureCase, make
from tests.unit.tui.test_app import chat, user_home  # noqa: F401 - a fixture

ROUND = len(SUFFIXES) * len(KINDS)


def test_cases_are_the_same_each_time_and_of_every_kind():
    kinds = {make(0, number).kind for number in range(0, ROUND, len(SUFFIXES))}
    assert kinds >= {"good", "cut", "spoiled", "huge", "bomb", "polyglot", "thin", "empty"}
    assert make(0, 5) == make(0, 5) != make(1, 5)


def test_hostile_pictures_are_taken_or_refused(tmp_path):
    # One of each kind, each in another format. The bombs take seconds.
    numbers = [at * len(SUFFIXES) + at % len(SUFFIXES) for at in range(len(KINDS) - 1)]
    for number in numbers:
        outcome = picture_cli.attack(tmp_path, 0, 1, number)
        assert not outcome.faults
        assert outcome.crashes == 0


def test_a_fault_is_seen(tmp_path, monkeypatch):
    spoiled = PictureCase("good", "a.png", b"no picture", fine=True)
    monkeypatch.setattr(picture_cli, "make", lambda *_: spoiled)
    (fault,) = picture_cli.attack(tmp_path, 0, 1).faults
    assert "it was refused" in fault


async def test_the_chat_survives_them(tmp_path):
    paths = []
    for number in range(8, 8 + 16):
        case = hostile_pictures.make(0, number)
        paths.append(tmp_path / f"{number}-{case.name}")
        paths[-1].write_bytes(case.data)
    async with chat() as c:
        await c.paste("\n".join(map(str, paths)))
        await c.sees("cannot be used as an image")
        await c.until(lambda: not c.app.loading_pictures)
        await c.type("/help")
        await c.sees("send; while an answer runs")
