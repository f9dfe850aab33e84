"""The attacks on saved prompts, each once; `scripts/attack_kv` has hundreds of them."""

import random
from pathlib import Path

import pytest

from kv_attacks import hostile, kills
from kv_attacks.contents import ENGINES, Wrong, check_given, content
from kv_attacks.hostile import ATTACKS
from runner.kv import files
from runner.kv.saved import Pending, Saved
from runner.kv.store import Store
from tests.unit.kv.stores import WIDE, conversation


@pytest.mark.slow
def test_each_hostile_file_once(tmp_path: Path) -> None:
    done = hostile.attack(tmp_path / "kv", len(ATTACKS), random.Random(1))
    assert done.total() == len(ATTACKS)


@pytest.mark.slow
def test_two_kills(tmp_path: Path) -> None:
    killed, steps = kills.attack(tmp_path / "kv", 2, random.Random(1))
    assert (killed.total(), steps > 0) == (4, True)


def test_a_store_that_gives_back_what_is_damaged_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "kv", ENGINES[0], WIDE)
    pending = store.begin(conversation("Hello"), 100)
    assert isinstance(pending, Pending)
    (store.slot_folder / pending.name).write_bytes(content(ENGINES[1], 1, 100))
    saved = store.finish(pending, 1, 1.0)
    assert isinstance(saved, Saved)
    with pytest.raises(Wrong, match="another engine"):
        check_given(store, ENGINES[0], saved)
    monkeypatch.setattr(files, "digest", lambda _: store._index.one(saved.id)[1])  # type: ignore[index]
    data = bytearray(content(ENGINES[0], 1, 100))
    data[50] ^= 1
    (store.slot_folder / f"{saved.id}.kv").write_bytes(data)
    with pytest.raises(Wrong, match="damaged"):
        check_given(store, ENGINES[0], saved)
