"""Captures that lie, by mistake or on purpose: from their bytes to a plan, or to a `BadFile`.

No crash, no hang, no figure without sense, and never a plan for more memory than the capture says
there is. STEPRUN_EXAMPLES=100000 tries as many.
"""

import copy
import json
import os
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.base.errors import BadFile, Exit
from runner.base.units import GIB, MIB
from runner.catalog import models_toml
from runner.engine.builder import recipe
from runner.machine.captures import presets
from runner.machine.captures.capture import MAX_CAPTURE_BYTES, Capture, Ran, Replay, parse_capture
from runner.machine.facts import Backend, Machine, on_processor, to_json
from runner.machine.probe import detect
from runner.plan.choose import choose
from runner.plan.model_spec import ModelSpec, from_model
from runner.plan.request import PlanRequest

EXAMPLES = int(os.environ.get("STEPRUN_EXAMPLES", "150"))
LONGEST_S = 3.0  # of this process's own time: others may use the computer too
_subject = from_model(models_toml.load_catalog().models[0])
assert _subject is not None
STEP: ModelSpec = _subject

# What tools print in place of a figure, what translated ones print, and what nobody prints.
NASTY = [
    "", "0", "-1", "1", str(2**31), str(2**32 - 1), str(2**60), str(2**63), str(2**64), "9" * 5000,
    "73728,00", "1.234.567,8", "1e400", "NaN", "[N/A]", "Not Supported", "Nicht verfügbar",
    "不支持", "٣٢", "\x1b[31m32607\x1b[0m", "\x1b]0;owned\x07", "\0", "\ud800", "\u202e", "\r\n",
    "[" * 3000, "{}", "null", '{"a":' * 400, "GB10", "NVIDIA Thor", "GB300", "1002:1586", "110501",
    "10de:2e12", "5 lightyears", ", " * 40, "| 0 a b | : |", " : ",
]  # fmt: skip
TEXT = st.sampled_from(NASTY) | st.text(max_size=60)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
ONE_OF_EACH = [
    "m4-max-128",
    "dgx-spark",
    "strix-halo-linux",
    "strix-halo-windows",
    "n1x",
    "5090-128",
]
KNOWN = {name: presets.load_preset(name).to_json() for name in presets.names()}


def spoil(draw: st.DrawFn, text: str) -> str:
    """Return a text with one of its figures or lines changed, or another text."""
    offload = draw(st.sampled_from(["figure", "figure", "figure", "line", "twice", "all"]))
    places = list(re.finditer(r"[0-9]+" if offload == "figure" else r"[^\n]+", text))
    if offload == "all" or not places:
        return draw(TEXT)
    if offload == "twice":
        return text + text
    place = draw(st.sampled_from(places))
    return text[: place.start()] + draw(TEXT) + text[place.end() :]


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """Return a known machine's document with some things about it changed."""
    document = copy.deepcopy(KNOWN[draw(st.sampled_from(sorted(KNOWN)))])
    files, commands = document["files"], document["commands"]
    for _ in range(draw(st.integers(1, 5))):
        held = draw(st.sampled_from([part for part in (files, commands) if part] or [files]))
        key = draw(st.sampled_from(sorted(held)) if held else TEXT)
        match held.pop(key, None):
            case str(text):
                held[key] = spoil(draw, text)
            case {"stdout": str(text)} if draw(st.integers(0, 5)):
                held[key] = {"exit": 0, "stdout": spoil(draw, text)}
            case _:
                held[draw(st.just(key) | TEXT)] = draw(VALUE)
    if draw(st.integers(0, 9)) == 0:
        document[draw(st.sampled_from([*document, "about"]))] = draw(VALUE)
    if draw(st.integers(0, 9)) == 0:
        document.pop(draw(st.sampled_from(sorted(document))))
    return json.dumps(document).encode()


def assert_sane(machine: Machine) -> None:
    assert 0 <= machine.limit_bytes <= 1 << 60
    assert 0 <= machine.reserve_bytes <= max(machine.limit_bytes, 1 << 32)
    assert 0 <= machine.memory_bytes <= 1 << 61
    assert 0 <= (machine.available_bytes or 0) <= 1 << 60
    assert 1 <= machine.cores <= 4096
    if machine.memory_bytes and (machine.unified or machine.backend is Backend.CPU):
        assert machine.limit_bytes <= machine.memory_bytes
        assert (machine.available_bytes or 0) <= machine.memory_bytes
    for device in machine.devices:
        assert 0 <= (device.memory_bytes or 0) <= 1 << 60
    printed = json.dumps(to_json(machine), ensure_ascii=False).encode()  # no lone surrogates
    assert b"\x1b" not in printed


def assert_plans(machine: Machine) -> None:
    """Assert that what is planned is no more than what there is."""
    assert_sane(machine)
    plan = choose(machine, STEP, PlanRequest(), recipe.load_recipe(machine.backend).run)
    own = 0 if machine.unified else sum(device.memory_bytes or 0 for device in machine.devices)
    if plan.fits and machine.memory_bytes:
        assert 0 < plan.held_bytes <= machine.memory_bytes + own
    assert plan.reasons


def take(raw: bytes) -> None:
    """Follow a capture from its bytes to its plans, or to a `BadFile` that names the field."""
    start = time.process_time()
    refused = None
    try:
        machine = detect(Replay(parse_capture(raw)))
    except BadFile as error:
        refused = error
    else:
        assert_plans(machine)
        assert_plans(on_processor(machine))
    assert time.process_time() - start < LONGEST_S
    if refused:
        assert refused.exit_code is Exit.BAD_FILE
        assert re.match("This is not a machine capture: [a-z]+", refused.what)


@given(spoiled())
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_spoiled_capture_gives_a_sane_plan_or_a_bad_file(raw: bytes) -> None:
    take(raw)


@given(st.binary(max_size=300) | VALUE.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_bytes_give_a_plan_or_a_bad_file(raw: bytes) -> None:
    take(raw)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_without_any_one_of_its_answers_a_machine_is_still_planned_for(name: str) -> None:
    for part in ("files", "commands"):
        for key in KNOWN[name][part]:
            document = copy.deepcopy(KNOWN[name])
            document[part][key] = None
            take(json.dumps(document).encode())
            del document[part][key]
            take(json.dumps(document).encode())


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("unit", ["a", " ", "\n", "[", "\x1b", "1 : 2\n", "0, b\n"])
def test_a_text_of_four_mib_takes_no_long_time(name: str, unit: str) -> None:
    for part in ("files", "commands"):
        for key in [*KNOWN[name][part]][:2]:
            document = copy.deepcopy(KNOWN[name])
            text = unit * ((MAX_CAPTURE_BYTES - 50_000) // len(json.dumps(unit)[1:-1]))
            document[part][key] = text if part == "files" else {"exit": 0, "stdout": text}
            raw = json.dumps(document).encode()
            assert 3 << 20 < len(raw) <= MAX_CAPTURE_BYTES
            take(raw)


def test_a_hundred_thousand_entries_take_no_long_time() -> None:
    document: dict[str, Any] = copy.deepcopy(KNOWN["strix-halo-linux"])
    for number in range(40_000):
        document["files"][f"/sys/class/drm/card{number}/device/vendor"] = "0x1002"
        document["commands"][f"sysctl -n a{number}"] = None
    take(json.dumps(document).encode())


def edited(name: str, old: str, new: str) -> Capture:
    """Return a preset with one figure of one text changed, or with another answer to a command."""
    base = presets.load_preset(name)
    files = {path: text and text.replace(old, new) for path, text in base.files.items()}
    commands = {
        argv: ran and Ran(ran.exit, new if argv == old else ran.stdout.replace(old, new))
        for argv, ran in base.commands.items()
    }
    made = replace(base, files=files, commands=commands)
    assert made != base
    return made


@pytest.mark.parametrize(
    ("name", "old", "new", "most_gib"),
    [
        # more available than there is
        ("dgx-spark", "118566368", "987654321", 121.69),
        ("cpu-128", "128500000", "987654321", 125.7),
        ("thor", "112303104", "987654321", 122.81),
        ("strix-halo-windows", "60000000", "987654321", 112),
        # graphics may map more than there is: amdgpu.gttsize alone, or a typing error
        ("strix-halo-linux", str(116 * GIB), str(200 * GIB), 125.02),
        ("strix-halo-linux", str(116 * GIB), str(1 << 59), 125.02),
        ("strix-halo-linux", "30408704", "9999999999", 116),
        ("strix-halo-linux", "MemTotal:          131092971", "MemTotal: 99999999", 95.4),
        # a carve-out that no board has
        ("strix-halo-linux-carve-out", str(96 * GIB), str(1 << 63), 31),
        ("strix-halo-linux-carve-out", str(96 * GIB), str(1 << 59), 31),
        ("strix-halo-linux-carve-out", str(96 * GIB), str(200 * GIB), 31),
        ("strix-halo-windows", str(64 * GIB), str(1 << 63), 112),
        ("strix-halo-windows", str(64 * GIB), str(1 << 59), 112),
        ("strix-halo-windows", str(64 * GIB), str(200 * GIB), 112),
        # heaps that the chip cannot have
        ("strix-halo-windows", str(int(74.43 * GIB)), str(1 << 59), 128),
        ("strix-halo-windows", str(int(74.43 * GIB)), str(200 * GIB), 128),
        # cards that nobody makes
        ("5090-128", "32607", str(1 << 43), 126),
        ("r9700-4x", str(31309824 << 10), str(1 << 63), 126),
        ("r9700-4x", str(31309824 << 10), str(1 << 59), 126),
        # a wired limit beyond the memory, and one that is none
        ("m4-max-128", "sysctl -n iogpu.wired_limit_mb", "99999999", 128),
        ("m4-max-128", "sysctl -n iogpu.wired_limit_mb", str(1 << 63), 107.6),
        ("m4-max-128", "sysctl -n iogpu.wired_limit_mb", "-5", 107.6),
    ],
)
def test_a_contradiction_promises_no_more_than_there_is(
    name: str, old: str, new: str, most_gib: float
) -> None:
    machine = detect(Replay(edited(name, old, new)))
    assert_plans(machine)
    assert machine.limit_bytes <= most_gib * GIB


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("dgx-spark", "MemTotal"),
        ("strix-halo-linux", "MemTotal"),
        ("cpu-128", "MemTotal"),
        ("m4-max-128-wired", "hw.memsize"),
    ],
)
def test_a_machine_of_unknown_size_promises_nothing_absurd(name: str, line: str) -> None:
    base = presets.load_preset(name)
    gone = re.compile(rf"^{re.escape(line)}:.*\n", re.MULTILINE)
    files = {path: text and gone.sub("", text) for path, text in base.files.items()}
    commands = {a: ran for a, ran in base.commands.items() if not a.endswith(line)}
    machine = detect(Replay(replace(base, files=files, commands=commands)))
    assert machine.memory_bytes == 0
    assert machine.limit_bytes <= 128 * GIB
    assert any("could not be read" in warning for warning in machine.warnings)
    assert_sane(machine)


def test_a_container_may_have_less_than_its_host_and_never_more() -> None:
    base = presets.load_preset("cpu-128")
    for limit, most in ((str(32 * GIB), 32), (str(900 * GIB), 123), ("max", 123), ("-1", 123)):
        files = {**base.files, "/sys/fs/cgroup/memory.max": limit}
        machine = detect(Replay(replace(base, files=files)))
        assert machine.limit_bytes <= most * GIB
        assert_plans(machine)


def test_free_memory_of_a_card_is_no_more_than_it_has() -> None:
    smi = "nvidia-smi --query-gpu=name,memory.total,memory.free --format=csv,noheader,nounits"
    for free in (1 << 43, 99999):
        seen = replace(
            presets.load_preset("5090-128"),
            commands={smi: Ran(0, f"NVIDIA GeForce RTX 5090, 32607, {free}\n")},
        )
        (device,) = detect(Replay(seen)).devices
        assert (device.free_bytes or 0) <= 32607 * MIB
