"""A fix promises what the changed machine is planned for, and a start agrees with a plan."""

import re
from dataclasses import replace

import pytest

from runner.base.units import GIB, KIB, MIB
from runner.machine.captures.capture import Capture, Ran, Replay
from runner.machine.facts import Backend, Machine, after, as_it_is_now
from runner.machine.probe import detect
from runner.plan.choose import Plan
from runner.plan.request import PlanRequest, Profile
from runner.plan.weigh import weigh
from runner.run.prepare import choose_plan
from tests.unit.machine.machine_captures import (
    DRIVER,
    HOST_128,
    RADEON,
    STRIX_ID,
    linux,
    mac,
    meminfo,
    smi,
    strix,
    windows,
)
from tests.unit.machine.test_ways import STEP, group, plan, with_files

CARD = "NVIDIA GeForce RTX 4090, GPU-{0}-1111-1111-1111-111111111111, 24564, {1}, 8.9, 580.1"
LXC = {"/run/systemd/container": "lxc"}
PROMISE = re.compile(r"- (\S+) at ([0-9,]+) tokens would fit then$")


def kib(gib: float) -> int:
    return int(gib * GIB) // KIB


def halo(ram_gib: float, carve_out_gib: float, gtt_gib: float, **files: str) -> Capture:
    """Build a Strix Halo under Linux, of which 4 GiB of RAM are in use."""
    memory = {"/proc/meminfo": meminfo(kib(ram_gib), kib(ram_gib - 4))}
    base = strix(kib(ram_gib), int(carve_out_gib * GIB), int(gtt_gib * GIB))
    return with_files(base, **memory, **files)


def card_in_docker(limit_gib: int) -> Capture:
    return with_files(linux(HOST_128, CARD.format("1" * 8, 24100)), **group(limit_gib * GIB))


CHANGES = {
    "lxc that may map all": (
        halo(64, 0.5, 124, **group(64 * GIB), **LXC),
        halo(122, 0.5, 124, **group(122 * GIB), **LXC),
    ),
    "lxc that may map less": (
        halo(48, 0.5, 112, **group(48 * GIB), **LXC),
        halo(118, 0.5, 112, **group(118 * GIB), **LXC),
    ),
    "carve-out": (halo(29.5, 96, 14.7), halo(125, 0.5, 116)),
    "carve-out of 8": (halo(117.5, 8, 58.7), halo(125, 0.5, 116)),
    "96 GB": (halo(93.6, 0.5, 80), halo(93.6, 0.5, 87)),
    "192 GB": (halo(187, 0.5, 93.5), halo(187, 0.5, 177)),
    "wired limit": (
        mac(128, "Apple M1 Ultra", macos="15.6"),
        mac(128, "Apple M1 Ultra", macos="15.6", wired="114688"),
    ),
    "graphics memory": (
        windows(127.1, (RADEON, STRIX_ID, GIB // 2, DRIVER)),
        windows(63.6, (RADEON, STRIX_ID, 64 * GIB, DRIVER)),
    ),
    "a card in a container": (card_in_docker(24), card_in_docker(125)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_promise_is_what_the_changed_machine_gets(name: str) -> None:
    before, changed = CHANGES[name]
    promised = next(m for fix in plan(before).fixes if (m := PROMISE.search(fix.what)))
    then = plan(changed)
    assert (promised[1], promised[2]) == (then.variant.name, f"{then.config.context:,}")
    assert then.fits


def test_a_change_of_unknown_effect_promises_nothing() -> None:
    machine = detect(Replay(halo(125, 0.5, 62)))
    assert after(machine, replace(machine.advice[0], limit_after=None)) is None


def test_a_container_does_not_limit_what_graphics_map() -> None:
    """GTT is not charged to control groups (ROCm 6370): only the engine's own process is."""
    found = plan(halo(125, 0.5, 116, **group(40 * GIB, "/user.slice/llm.slice")))
    assert found.fits
    assert found.machine.group_bytes == 40 * GIB
    assert not any("systemctl" in fix.command for fix in found.fixes)
    assert any("is not counted there" in text for text in found.machine.warnings)
    assert choose_plan(as_it_is_now(found.machine), STEP, PlanRequest()).fits


def test_the_least_graphics_memory_under_windows_is_named_as_its_tool_does() -> None:
    advice = detect(Replay(windows(127.1, (RADEON, STRIX_ID, GIB // 2, DRIVER)))).advice[0]
    assert "(0.5 now)" in advice.what
    assert "0.5 GB, then restart" in advice.undo


def test_an_option_set_in_a_file_is_changed_there() -> None:
    file = {"/etc/modprobe.d/gpu.conf": "options ttm pages_limit=25165824\n"}
    advice = detect(Replay(halo(125, 0.5, 96, **file))).advice[0]
    assert "; ttm.pages_limit is set in /etc/modprobe.d/gpu.conf: change it there, " in advice.what
    assert advice.command.endswith("/etc/modprobe.d/gpu.conf")


def test_a_gtt_that_is_to_be_raised_is_not_to_be_removed() -> None:
    pages = {"/sys/module/ttm/parameters/pages_limit": str(120 * 262144)}
    held_down = detect(Replay(halo(125, 0.5, 62, **pages)))
    assert "amdgpu" in held_down.advice[0].command
    assert not any("deprecated" in text for text in held_down.warnings)
    pages = {"/sys/module/ttm/parameters/pages_limit": str(60 * 262144)}
    assert any(
        "deprecated" in text for text in detect(Replay(halo(125, 0.5, 100, **pages))).warnings
    )


@pytest.mark.parametrize("exit_code", [0, 15])
def test_a_card_that_fell_off_the_bus_is_named_and_the_other_one_used(exit_code: int) -> None:
    lost = "Unable to determine the device handle for GPU0000:02:00.0: GPU is lost.  Reboot.\n"
    rows = CARD.format("1" * 8, 24100) + "\n" + lost
    base = linux(HOST_128, pci="10DE:2684")
    machine = detect(Replay(replace(base, commands={smi(): Ran(exit_code, rows)})))
    assert [card.memory_bytes for card in machine.devices] == [24564 * MIB]
    assert any("has lost a card" in text for text in machine.warnings)


# --- a plan and a start agree


def key(found: Plan) -> tuple[object, ...]:
    return found.variant.name, found.config, found.placement.n_cpu_moe, found.placement.layers


def cards(*free: int) -> Machine:
    rows = [CARD.format(str(number) * 8, mib) for number, mib in enumerate(free)]
    return detect(Replay(linux(meminfo(196_000_000, 190_000_000), *rows)))


@pytest.mark.parametrize("number", [1, 2, 4, 8])
def test_idle_cards_start_what_was_planned(number: int) -> None:
    """What an idle card has free is already without its driver's own use."""
    machine = cards(*([24000] * number))
    idle = choose_plan(machine, STEP, PlanRequest())
    assert not any("Not enough is free" in text for text in idle.warnings)
    assert key(choose_plan(as_it_is_now(machine), STEP, PlanRequest())) == key(idle)


def test_a_busy_card_starts_less_and_says_so() -> None:
    machine = cards(24000, 9000)
    now = as_it_is_now(machine)
    assert now.reserve_bytes == 0
    assert sum(card.memory_bytes or 0 for card in now.devices) == now.limit_bytes
    assert "idle" not in now.limit_source
    assert "free now" in now.limit_source
    idle = choose_plan(machine, STEP, PlanRequest())
    assert any("Not enough is free" in text for text in idle.warnings)
    assert key(choose_plan(now, STEP, PlanRequest())) != key(idle)


@pytest.mark.parametrize("available_gib", [60.0, 116.5, 115.7, 110.0])
def test_a_start_with_less_than_planned_is_told_before(available_gib: float) -> None:
    memory = {"/proc/meminfo": meminfo(kib(125), kib(available_gib))}
    machine = detect(Replay(with_files(halo(125, 0.5, 116), **memory)))
    idle = choose_plan(machine, STEP, PlanRequest())
    now = choose_plan(as_it_is_now(machine), STEP, PlanRequest())
    told = any("Not enough is free" in text for text in idle.warnings)
    assert told is (not now.fits or key(now) != key(idle))


def test_memory_that_a_group_has_used_counts_as_a_start_counts_it() -> None:
    path = "/user.slice/run-1.scope"
    files = {
        **group(60 * GIB, path, "memory.high"),
        f"/sys/fs/cgroup{path}/memory.current": str(2 * GIB),
    }
    base = linux(meminfo(kib(125), kib(118)), CARD.format("1" * 8, 24100), files=files)
    machine = detect(Replay(base))
    idle = choose_plan(machine, STEP, PlanRequest())
    assert key(choose_plan(as_it_is_now(machine), STEP, PlanRequest())) != key(idle)
    assert any("main memory has 58.00 GiB free" in text for text in idle.warnings)


def test_main_memory_beside_cards_is_called_what_was_counted() -> None:
    machine = cards(24000)
    assert choose_plan(machine, STEP, PlanRequest()).limit_source.endswith("plus main memory")
    now = choose_plan(as_it_is_now(machine), STEP, PlanRequest())
    assert now.limit_source.endswith("plus main memory that is available now")


# --- the best way


def test_beyond_a_long_context_the_faster_way_is_taken() -> None:
    """An APU with all of the model is faster than a card with most experts in main memory."""
    both = halo(125, 0.5, 116)
    both = replace(both, commands={smi(): Ran(0, CARD.format("1" * 8, 24100) + "\n")})
    found = plan(both)
    assert found.machine.backend is Backend.VULKAN
    assert found.config.context > 131_072
    assert any("RTX 4090 is not used" in text for text in found.warnings)
    small = halo(125, 0.5, 110)
    assert plan(replace(small, commands=both.commands)).machine.backend is Backend.CUDA


# --- reasons


def test_each_better_quant_is_refused_for_its_own_reason() -> None:
    reason = plan(halo(125, 0.5, 96)).reasons[0]
    long, short, best = reason.split("; ")
    assert long.endswith("UD-Q4_K_M would not fit with 131,072 tokens or more")
    assert short == "Q4_K_S, IQ4_XS, Q3_K_L would not fit"
    assert best == "UD-IQ4_XS is the best that fits."


def test_a_quant_that_would_be_slow_is_not_said_to_be_too_large() -> None:
    machine = detect(Replay(linux(meminfo(264_000_000, 250_000_000), CARD.format("1" * 8, 24100))))
    reason = choose_plan(machine, STEP, PlanRequest()).reasons[0]
    assert "UD-Q5_K_S, UD-Q4_K_M would be slow" in reason
    assert reason.endswith("is the best that fits and is fast enough.")


def test_a_longer_context_with_the_same_micro_batch_is_not_called_slower() -> None:
    machine = detect(Replay(linux(meminfo(kib(62.7), kib(58)), CARD.format("1" * 8, 24100))))
    found = choose_plan(machine, STEP, PlanRequest())
    why = next(choice.why for choice in found.choices if choice.what == "context")
    assert (found.config.context, found.config.ubatch) == (65_536, 512)
    longer = re.search(r"--ctx ([0-9]+) fits with no spare slot:", why)
    assert longer
    ask = PlanRequest(context=int(longer[1]))
    assert choose_plan(machine, STEP, ask).config.ubatch == 512


# --- fixes


def test_text_alone_is_offered_where_it_fits() -> None:
    """The draft heads are nearly as large as the vision encoder: without both there is room."""
    machine = detect(Replay(linux(meminfo(kib(62.7), kib(58)), CARD.format("1" * 8, 24100))))
    found = choose_plan(machine, STEP, PlanRequest(context=131_072))
    assert not found.fits
    text = [fix for fix in found.fixes if "--profile text" in fix.command]
    assert [fix.what for fix in text] == ["Without image input it fits."]
    assert text[0].request
    assert choose_plan(machine, STEP, text[0].request).fits
    assert not any("--profile fast" in fix.command for fix in found.fixes)


def test_draft_heads_may_be_given_up_too() -> None:
    spark = linux(
        meminfo(127_600_524, 118_566_368, 118_000_000),
        "NVIDIA GB10, [N/A], [N/A], [N/A], 12.1, 580.95",
    )
    found = plan(spark, quant="Q4_K_S", profile=Profile.FAST)
    assert not found.fits
    assert any(fix.what == "Without draft heads it fits." for fix in found.fixes)


def test_an_option_that_drops_parallel_requests_says_so() -> None:
    machine = detect(Replay(linux(meminfo(kib(62.7), kib(58)), CARD.format("1" * 8, 24100))))
    found = choose_plan(machine, STEP, PlanRequest(context=65_536, parallel=4))
    assert not found.fits
    assert "for one request at a time" in found.fixes[0].what


def test_a_change_that_gives_less_than_requested_says_what_it_gives() -> None:
    small = mac(96, "Apple M3 Max")
    found = plan(small, context=131_072)
    assert not found.fits
    wired = next(fix for fix in found.fixes if "wired_limit_mb" in fix.command)
    promised = PROMISE.search(wired.what)
    assert promised
    assert not wired.enough
    then = plan(mac(96, "Apple M3 Max", wired="81920"))
    assert (promised[1], promised[2]) == (then.variant.name, f"{then.config.context:,}")
    # Where something fits already, it is no help.
    fits = plan(halo(125, 0.5, 100), quant="Q8_0")
    assert not any("pages_limit" in fix.command for fix in fits.fixes)


def test_a_card_that_leaves_the_work_to_the_cpu_is_not_said_to_need_a_smaller_quant() -> None:
    """The CPU's own memory may hold a larger quant than graphics may map."""
    graphics = plan(halo(187, 0.5, 93.5))
    processor = plan(linux(meminfo(264_000_000, 250_000_000)))
    assert processor.variant.quality > graphics.variant.quality
    number, found = weigh([processor, graphics])
    assert number == 1
    assert found.warnings[-1].endswith("beside it the CPU would do all the work.")
