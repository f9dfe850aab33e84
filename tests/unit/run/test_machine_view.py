"""The machine that a plan is made for: which steps change it, and in which order."""

from dataclasses import replace

import pytest

from runner.engine.installed import describe
from runner.machine.facts import Backend, Device, Machine
from runner.run import machine_view
from tests.unit.engine.test_store import made

GIB = 1 << 30
LISTING = "Available devices:\n  CUDA0: NVIDIA GeForce RTX 5090 (32607 MiB, 30000 MiB free)\n"


@pytest.fixture
def busy() -> Machine:
    """A machine with one card, on which other programs hold 20 of 32 GiB, and 60 of main memory."""
    found = machine_view.probed("4x5090")
    card = Device("NVIDIA GeForce RTX 5090", Backend.CUDA, 32 * GIB, 12 * GIB, "GPU-1")
    return replace(
        found,
        devices=(card,),
        limit_bytes=32 * GIB,
        memory_bytes=128 * GIB,
        available_bytes=68 * GIB,
    )


def test_a_plan_that_is_only_shown_is_for_the_idle_machine(busy: Machine) -> None:
    cuda = made("mine", Backend.CUDA)
    assert machine_view.for_engine(busy, None, to_start=False) == busy
    assert machine_view.for_engine(busy, cuda, to_start=False).limit_bytes == 32 * GIB


def test_a_start_has_what_is_free_now(busy: Machine) -> None:
    seen = machine_view.for_engine(busy, made("mine", Backend.CUDA), to_start=True)
    assert seen.limit_bytes == 12 * GIB
    assert seen.backend is Backend.CUDA


def test_the_engines_own_list_counts_before_what_is_free(
    busy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its free figure is the one that the limit is cut to."""
    monkeypatch.setattr(describe, "listing", lambda _: LISTING)
    engine = made("mine", Backend.CUDA, flags=frozenset({"--list-devices"}))
    seen = machine_view.for_engine(busy, engine, to_start=True)
    assert seen.devices[0].engine_name == "CUDA0"
    assert seen.limit_bytes == 30000 << 20


def test_an_engine_without_the_backend_has_main_memory_alone(busy: Machine) -> None:
    """Not what is free on the cards: the order of the last two steps."""
    seen = machine_view.for_engine(busy, made("mine", Backend.CPU), to_start=True)
    assert seen.backend is Backend.CPU
    assert seen.limit_bytes == 68 * GIB


def test_only_a_machine_with_cards_can_do_without_them(busy: Machine) -> None:
    plain = machine_view.without_cards(busy)
    assert plain is not None
    assert plain.backend is Backend.CPU
    assert machine_view.without_cards(plain) is None
    assert machine_view.without_cards(machine_view.probed("m4-max-128")) is None
