"""Whether a server is the one that somebody asks for."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runner.engine.process.servers import Served
from runner.plan.request import PlanRequest, Profile
from runner.run.joining import why_not
from runner.run.request import ModelRequest

STEP = Served(
    source="step-3.7-flash",
    title="Step-3.7-Flash",
    quant="IQ4_XS",
    engine="embedded",
    context=65536,
    parallel=2,
    kv_type="q8_0",
    ubatch=2048,
    profile="see",
    sees=True,
)


def asked(model: str = "", engine: str = "", **ask: object) -> ModelRequest:
    return ModelRequest(model, replace(PlanRequest(), **ask), engine=engine)  # type: ignore[arg-type]


def why(request: ModelRequest, *, typed: bool = False, pictures: bool = False) -> str:
    return why_not(STEP, request, profile_typed=typed, pictures=pictures)


@pytest.mark.parametrize(
    "request_",
    [
        asked(),
        asked("STEP-3.7-flash"),
        asked(quant="iq4_xs"),
        asked(context=65536, parallel=2, kv_type="q8_0", ubatch=2048),
        asked(context=8192),
        asked(engine="embedded"),
        asked(profile=Profile.SEE),
    ],
)
def test_what_it_serves_is_joined(request_: ModelRequest) -> None:
    assert why(request_, typed=True, pictures=True) == ""


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asked("demo"), "it serves Step-3.7-Flash"),
        (asked("/models/step.gguf"), "it serves Step-3.7-Flash"),
        (asked(quant="Q3_K_L"), "it serves IQ4_XS"),
        (asked(context=65537), "its context is 65,536 tokens"),
        (asked(kv_type="f16"), "its KV cache is q8_0"),
        (asked(ubatch=512), "its --ubatch is 2048"),
        (asked(parallel=3), "its --parallel is 2"),
        (asked(engine="cuda-b11549"), "its engine is embedded"),
        (asked(profile=Profile.FAST), "its profile is see"),
    ],
)
def test_what_it_does_not_serve_is_said(request_: ModelRequest, words: str) -> None:
    assert why(request_, typed=True) == words


def test_a_profile_that_nobody_typed_is_taken_as_it_is() -> None:
    fast = replace_served(profile="fast", sees=False)
    assert why_not(fast, asked(), profile_typed=False, pictures=False) == ""
    assert why_not(fast, asked(), profile_typed=True, pictures=False) == "its profile is fast"
    found = why_not(fast, asked(), profile_typed=False, pictures=True)
    assert found == "it does not see images"


def test_a_file_is_the_same_however_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = replace_served(source=str(tmp_path / "m.gguf"))
    monkeypatch.chdir(tmp_path)
    assert why_not(served, asked("./m.gguf"), profile_typed=False, pictures=False) == ""
    with_mtp = ModelRequest("./m.gguf", PlanRequest(with_mtp=True), mtp="d.gguf")
    found = why_not(served, with_mtp, profile_typed=False, pictures=False)
    assert found == "it was started with another --projector or --mtp"
    both = replace_served(source=served.source, extras=(f"mtp={tmp_path / 'd.gguf'}",))
    assert why_not(both, with_mtp, profile_typed=False, pictures=False) == ""


def replace_served(**changes: object) -> Served:
    import msgspec

    return msgspec.structs.replace(STEP, **changes)


def test_a_server_can_say_that_it_starts_before_it_imports_what_makes_a_plan() -> None:
    """A chat that is begun at the same moment has imported all of it before it looks."""
    code = (
        "import sys, runner.run.joining as joining\n"
        "print(joining.asked_of, 'runner.run.prepare' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith(" False\n")
