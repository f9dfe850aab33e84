"""The engines on this disk: stamps, places, which is in use, and which one a machine gets."""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base.errors import Refused, SteprunError, UsageError
from runner.catalog import models_toml
from runner.engine.installed import pick, stamp, store
from runner.engine.installed.stamp import FEATURES, Feature, Kind, Origin, Stamp
from runner.engine.installed.store import InstalledEngine
from runner.machine.captures import capture, presets
from runner.machine.facts import Backend, Machine
from runner.machine.probe import detect
from runner.plan.model_spec import from_model

PASSED = {name: Feature("pass", 0.5) for name in FEATURES}


def of(name: str, backend: Backend = Backend.CPU, **changes: object) -> Stamp:
    plain = Stamp(
        name=name,
        kind=Kind.SERVER,
        backend=backend,
        origin=Origin("folder", "/src", "b1", "0c1e570"),
        program=("bin/llama-server",),
        flags=frozenset({"--model", "--port"}),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def made(name: str, backend: Backend = Backend.CPU, **changes: object) -> InstalledEngine:
    place = store.new_folder()
    (place / "bin").mkdir()
    program = place / "bin" / "llama-server"
    program.write_text('#!/bin/sh\necho "--model FILE"\n')  # a fake: it only says what it is
    program.chmod(0o755)
    return store.add(place, of(name, backend, **changes))


def names() -> list[str]:
    return [engine.name for engine in store.engines()]


def machine(name: str) -> Machine:
    return detect(capture.Replay(presets.open_capture(name)))


# --- the stamp


def test_a_stamp_is_read_as_it_was_written() -> None:
    full = of(
        "cuda-x", Backend.CUDA, devices=("CUDA0: GB10",), cmake=("-DGGML_CUDA=ON",), made="now"
    ).with_results({"text": Feature("fail", 1.5, "SIGSEGV")}, ("--no-repack",))
    assert stamp.from_json(json.dumps(stamp.to_json(full))) == full


def test_a_stamp_may_name_a_folder_that_is_no_unicode() -> None:
    engine = made("odd", origin=Origin("folder", "/src/\udcff"))
    assert store.find_engine("odd").stamp == engine.stamp


def test_a_stamp_of_an_older_steprun_is_read() -> None:
    """As it was written before stamps were typed; what is unknown or missing does no harm."""
    text = (
        '{"schema": "steprun.stamp/1", "name": "x", "kind": "llama-server", "backend": "cpu",'
        ' "origin": {"source": "folder"}, "program": ["bin/llama-server"], "flags": ["--model"],'
        ' "features": {"text": {"result": "pass", "seconds_s": 2, "why": ""}}, "later": 1}'
    )
    found = stamp.from_json(text)
    assert (found.kind, found.can("text")) == (Kind.SERVER, True)
    assert found.flags == {"--model"}
    for damaged in (text.replace("stamp/1", "stamp/2"), text.replace('["bin/llama-server"]', "[]")):
        with pytest.raises(ValueError, match=r"not a steprun\.stamp/1"):
            stamp.from_json(damaged)


@given(st.text(max_size=60) | st.sampled_from(["{}", "[]", "null", "1", '{"schema":1}']))
def test_what_is_no_stamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each is refused in words of its own
        stamp.from_json(text)


@pytest.mark.parametrize("field", sorted(stamp.to_json(of("x"))))
@pytest.mark.parametrize("value", [None, 7, ["a", 1], {"a": 1}, "other"])
def test_a_damaged_field_is_refused_or_read(field: str, value: object) -> None:
    document = stamp.to_json(of("x")) | {field: value}
    try:
        found = stamp.from_json(json.dumps(document))
    except ValueError:
        return
    assert value == "other", f"{field} = {value!r} was taken for {found}"


def test_no_engine_has_passed_before_its_canary() -> None:
    assert not of("x").passed
    assert of("x").can("mtp_picture"), "nobody has looked yet"
    assert of("x").with_results(PASSED, ()).passed
    one = of("x").with_results({**PASSED, "mtp_picture": Feature("fail")}, ())
    assert (one.passed, one.broken) == (True, ("mtp_picture",))
    assert not of("x").with_results({**PASSED, "threads": Feature("fail")}, ()).passed


# --- the folder


def test_the_embedded_engine_is_always_there_and_first() -> None:
    made("a-first")
    assert names() == ["embedded", "a-first"]
    assert store.embedded().program[0] == sys.executable


def test_what_the_canary_found_of_another_wheel_is_forgotten() -> None:
    engine = store.embedded()
    store.update(engine, engine.stamp.with_results(PASSED, ()))
    assert store.embedded().stamp.tested
    old = replace(engine.stamp.origin, version="2025.1")
    store.write_stamp(engine.folder, replace(engine.stamp, origin=old).with_results(PASSED, ()))
    assert not store.embedded().stamp.tested


def test_nothing_half_made_is_listed() -> None:
    place = store.new_folder()
    (place / "bin").mkdir()
    store.write_stamp(place, of(place.name))
    assert names() == ["embedded"]
    whole = made("whole")
    (store.folder() / "no-stamp").mkdir()
    (store.folder() / "garbage").mkdir()
    (store.folder() / "garbage" / "stamp.json").write_text("{")
    assert names() == ["embedded", "whole"]
    (whole.folder / "bin" / "llama-server").unlink()
    assert names() == ["embedded"], "an engine without its program is none"


@pytest.mark.parametrize(("hours", "stays"), [(0.1, True), (23, True), (25, False)])
def test_what_is_half_made_may_be_somebodys_for_a_day(hours: float, stays: bool) -> None:
    old, new = store.new_folder(), store.new_folder()
    then = time.time() - hours * 3600
    os.utime(old, (then, then))
    made("x")
    assert (old.exists(), new.exists()) == (stays, True)


def test_a_stamp_of_another_name_is_not_believed() -> None:
    engine = made("one")
    engine.folder.rename(engine.folder.with_name("two"))
    assert names() == ["embedded"]


@pytest.mark.parametrize("name", ["../x", "embedded", "", ".hidden", "A B", "x" * 100])
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each is refused in words of its own
        store.add(store.new_folder(), of(name))


def test_an_engine_never_takes_the_place_of_another() -> None:
    made("x", devices=("old",))
    assert made("x", devices=("new",)).name == "x-2"
    assert made("x").name == "x-3"
    assert names() == ["embedded", "x", "x-2", "x-3"]
    assert store.find_engine("x").stamp.devices == ("old",)
    assert [p.name for p in store.work_dir().iterdir()] == []


def test_the_engine_before_is_one_word_away() -> None:
    for name in ("one", "two"):
        made(name)
        store.use(name)
    assert store.current() == store.Current("two", "one")
    store.use("two")
    assert store.current() == store.Current("two", "one"), "twice is once"
    store.use("one")
    assert store.current() == store.Current("one", "two")


def test_removing_the_current_one_goes_back() -> None:
    for name in ("one", "two"):
        made(name)
        store.use(name)
    assert store.remove(store.find_engine("two")) > 0
    assert (names(), store.current()) == (["embedded", "one"], store.Current("one", ""))
    with pytest.raises(UsageError, match="embedded"):
        store.remove(store.embedded())
    with pytest.raises(UsageError, match="no engine 'two'") as caught:
        store.find_engine("two")
    assert "embedded, one" in caught.value.why


def test_an_engine_that_went_away_meanwhile_is_not_made_up_again() -> None:
    engine = made("gone")
    store.remove(engine)
    with pytest.raises(SteprunError, match="no longer installed"):
        store.update(engine, engine.stamp.with_results(PASSED, ()))
    assert names() == ["embedded"]


def test_a_damaged_note_of_the_current_one_names_none() -> None:
    made("x")
    for text in ("", "[]", "{", '{"name": 3}', "null"):
        (store.folder() / "current.json").write_text(text)
        assert store.current().name in {"", "3"}
    assert pick.pick(store.engines(), store.current().name, machine("cpu-128")).name == "embedded"


# --- which one a machine gets


def proven(name: str, backend: Backend, **changes: object) -> InstalledEngine:
    fine = of(name, backend, **changes).with_results(PASSED, ())
    return InstalledEngine(fine, Path("/engines") / name)


def test_the_engine_that_suits_the_machine_is_taken() -> None:
    embedded = store.embedded()
    spark = machine("dgx-spark")
    cuda, vulkan, rocm = (proven(b.value, b) for b in (Backend.CUDA, Backend.VULKAN, Backend.ROCM))
    assert pick.pick([embedded, rocm, vulkan, cuda], "", spark) is cuda
    assert pick.pick([embedded, rocm, vulkan], "", spark) is vulkan
    assert pick.pick([embedded, rocm], "rocm", spark) is embedded, "ROCm drives no GB10"
    assert pick.pick([embedded], "cuda", spark) is embedded


def test_the_users_choice_stands_while_it_can_run() -> None:
    embedded, spark = store.embedded(), machine("dgx-spark")
    cuda, plain = proven("cuda", Backend.CUDA), proven("plain", Backend.CPU)
    assert pick.pick([embedded, cuda, plain], "plain", spark) is plain
    assert pick.pick([embedded, cuda, plain], "embedded", spark) is embedded
    failed = InstalledEngine(of("plain").with_results({"text": Feature("fail")}, ()), plain.folder)
    assert pick.pick([embedded, cuda, failed], "plain", spark) is cuda
    untested = InstalledEngine(of("plain"), plain.folder)
    assert pick.pick([embedded, untested], "plain", spark) is embedded


def test_llama_cpp_python_is_not_taken_before_llama_server() -> None:
    spark = machine("dgx-spark")
    python = proven("a-python", Backend.CUDA, kind=Kind.PYTHON)
    server = proven("b-server", Backend.CUDA)
    found = [store.embedded(), python, server]
    assert pick.pick(found, "", spark) is server
    assert pick.pick(found, "a-python", spark) is python


def test_an_engine_that_lists_no_device_is_not_taken() -> None:
    flags = frozenset({"--model", "--list-devices"})
    spark = machine("dgx-spark")
    for kind in (Kind.SERVER, Kind.PYTHON):
        blind = proven("blind", Backend.CUDA, flags=flags, kind=kind)
        assert blind.stamp.blind
        assert pick.pick([store.embedded(), blind], "blind", spark).name == "embedded"
    seeing = proven("seeing", Backend.CUDA, flags=flags, devices=("CUDA0: GB10",))
    assert pick.pick([store.embedded(), seeing], "", spark) is seeing
    assert not proven("cpu", Backend.CPU, flags=flags).stamp.blind


def test_a_machine_looks_as_its_engine_sees_it() -> None:
    spark = machine("dgx-spark")
    assert pick.seen_by(proven("c", Backend.CUDA), spark) is spark
    vulkan = pick.seen_by(proven("v", Backend.VULKAN), spark)
    assert vulkan.backend is Backend.VULKAN
    assert {device.backend for device in vulkan.devices} == {Backend.VULKAN}
    assert vulkan.limit_bytes == spark.limit_bytes
    assert pick.seen_by(proven("p", Backend.CPU), spark).backend is Backend.CPU


def test_one_line_says_which_engine_and_what_is_off() -> None:
    broken = of("x", Backend.CUDA).with_results({**PASSED, "mtp_picture": Feature("fail")}, ())
    said = pick.in_words(InstalledEngine(broken, Path("/x")))
    assert said == "Engine: x, cuda; fails at draft heads with pictures."
    assert "not tested yet" in pick.in_words(InstalledEngine(of("x"), Path("/x")))
    assert "The engine y is missing" in pick.in_words(store.embedded(), "y")


def test_what_fails_and_what_is_not_there_are_told_apart() -> None:
    assert pick.shortfalls(of("x").with_results(PASSED, ())) == ""
    off = {"slots": Feature("absent"), "mtp": Feature("fail"), "tools": Feature("fail")}
    found = of("x").with_results({**PASSED, **off}, ())
    assert pick.shortfalls(found) == "fails at tools, draft heads and lacks saved slots"
    assert pick.shortfalls(found, {"mtp", "tools"}) == "lacks saved slots"
    assert pick.shortfalls(found, off) == ""


def test_a_plan_warns_of_what_it_cannot_leave_out() -> None:
    step = from_model(models_toml.load_catalog().models[0])
    assert step
    off = {name: Feature("fail") for name in ("slots", "picture", "two_pictures", "mtp")}
    engine = InstalledEngine(of("x").with_results({**PASSED, **off}, ()), Path("/x"))
    said = "The engine x fails at two pictures in one question, saved slots."
    assert pick.fails_beyond(engine, step) == said
    without = replace(step, projector_bytes=0)
    assert pick.fails_beyond(engine, without) == "The engine x fails at saved slots."
    assert pick.fails_beyond(store.embedded(), step) == ""


def test_the_note_of_an_engine_that_cannot_be_renamed_is_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = made("busy")

    def busy(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(Refused, match="cannot be removed"):
        store.remove(engine)
