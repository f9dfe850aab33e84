"""What a saved KV cache depends on."""

from dataclasses import fields, replace

from runner.kv.depends import Depends

SAME = Depends("embedded 1", "weights", "projector", "heads", "q8_0", "template")


def test_each_thing_that_differs_makes_another_key() -> None:
    keys = {SAME.key()} | {
        replace(SAME, **{field.name: "other"}).key() for field in fields(Depends)
    }
    assert len(keys) == 1 + len(fields(Depends))


def test_nothing_can_move_from_one_thing_to_the_next() -> None:
    assert replace(SAME, weights="a", projector="bc").key() != (
        replace(SAME, weights="ab", projector="c").key()
    )


def test_a_key_can_be_the_name_of_a_folder() -> None:
    assert SAME.key().isalnum()
