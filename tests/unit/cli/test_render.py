"""What people read on a terminal: plans, speeds, downloads."""

import os
from dataclasses import replace
from pathlib import Path

import click
import pytest

from runner.catalog import models_toml
from runner.cli.render.download import offer_text
from runner.cli.render.machine import machine_text
from runner.cli.render.models import model_text
from runner.cli.render.plan import drafts_line, plan_text, speed_lines
from runner.cli.render.wrap import wrapped
from runner.plan.launch import LaunchSpec
from runner.plan.request import PlanRequest
from runner.run.download_missing import DownloadOffer
from runner.run.machine_view import probed
from runner.run.prepare import make_plan
from runner.run.request import ModelRequest
from runner.speed.estimate import PrefillTime, Speed
from runner.speed.span import Span

SPEED = Speed(23.9, 16.1, (PrefillTime(8_192, 13.0),), "a table")
MODEL = models_toml.load_catalog().models[0]


@pytest.mark.parametrize(
    ("speed", "line"),
    [
        (
            SPEED,
            "Decode: about 23.9 tokens/s (16.1 with a full context). Prefill: 8K tokens in 13 s.",
        ),
        (
            replace(SPEED, prefill=None, decode_full_less=True),
            "Decode: about 23.9 tokens/s (less than 16.1 with a full context). Prefill: unknown.",
        ),
        (
            replace(SPEED, prefill=(PrefillTime(65_536, 400.0, more=True),), decode_tps_fast=30.0),
            "Decode: about 23.9 to 30 tokens/s (16.1 with a full context). "
            "Prefill: 64K tokens in more than 7 min.",
        ),
    ],
)
def test_a_speed_is_told_in_tokens_per_second(speed: Speed, line: str) -> None:
    assert speed_lines(speed) == [line, "(a table)"]


def test_a_range_and_its_reasons_are_told() -> None:
    prefill = (PrefillTime(65_536, 1320, prefill_s_low=420),)
    speed = replace(SPEED, decode_tps_empty_high=27.2, prefill=prefill, notes=("Nobody did.",))
    assert speed_lines(speed) == [
        "Decode: about 23.9 to 27.2 tokens/s (16.1 with a full context). "
        "Prefill: 64K tokens in 7 to 22 min.",
        "(a table)",
        "Nobody did.",
    ]


def test_draft_heads_are_told_as_a_range_or_as_unknown() -> None:
    assert "unknown here" in drafts_line(SPEED)
    gain = replace(SPEED, decode_tps_drafts=Span(27.7, 36.3))
    assert "about 27.7 to 36.3 tokens/s at an empty context" in drafts_line(gain)


def test_a_plan_that_fits_shows_what_gives_way_and_its_launch_line() -> None:
    plan = make_plan(ModelRequest("", PlanRequest()), "m4-max-128").plan
    spec = LaunchSpec(("llama-server", "--model", "a b.gguf"), env=(("X", "1"),))
    text = click.unstyle(plan_text(plan, spec, SPEED))
    assert "step-3.7-flash IQ4_XS fits on Apple M4 Max" in text
    assert "When memory is tight, these are reduced first: prompt cache, checkpoints," in text
    assert "launch line: X=1 llama-server --model 'a b.gguf'" in text
    assert "Decode: about 23.9 tokens/s" in text


def test_a_refusal_shows_why_and_what_would_help_and_no_launch_line() -> None:
    plan = make_plan(ModelRequest("", PlanRequest()), "cpu-24").plan
    text = click.unstyle(plan_text(plan, LaunchSpec(())))
    assert "does not fit on" in text
    assert plan.reasons[0] in text
    assert all(fix.command in text for fix in plan.fixes)
    assert "launch line" not in text


def test_an_offer_shows_what_a_download_page_would() -> None:
    quant = MODEL.quant("IQ4_XS")
    total = quant.total_bytes
    offer = DownloadOffer(
        quant.files,
        total,
        total - (1 << 30),
        ("o/r",),
        "hub.example",
        Path("/cache"),
        1 << 40,
        10 << 20,
        unmounted=("/disk",),
        programs=("LM Studio",),
        installed_quants=("Q3_K_M",),
    )
    assert offer_text(offer).splitlines() == [
        "3 parts, 97.78 GiB (105 GB), 1.00 GiB already downloaded",
        "  from  o/r at hub.example",
        f"  to    {Path('/cache')} (1,024.00 GiB free)",
        "  takes about 165 min at 10 MiB/s",
        "  was linked from /disk, which is missing. Is that disk mounted?",
        "  perhaps already downloaded by LM Studio: steprun models adopt",
        "  already downloaded: Q3_K_M (steprun chat --quant Q3_K_M)",
    ]


def test_a_model_shows_each_quant_with_its_size_and_whether_it_fits() -> None:
    fits = [quant.name == "IQ4_XS" for quant in MODEL.quants]
    rows = click.unstyle(model_text(MODEL, fits)).splitlines()
    (row,) = (row for row in rows if row.startswith("  IQ4_XS"))
    assert row.split() == ["IQ4_XS", "97.78", "GiB", "(105", "GB)", "fits"]
    assert sum("too large" in row for row in rows) == len(MODEL.quants) - 1
    assert any(row.startswith("  + vision encoder (mmproj)") for row in rows)


def test_a_machine_shows_its_advice_with_the_way_back() -> None:
    machine = probed("m4-max-128")
    text = machine_text(machine)
    assert "128.00 GiB, shared with the GPU" in text
    (advice,) = machine.advice
    assert advice.command in text
    assert f"undo: {advice.undo}" in text


@pytest.mark.parametrize("width", [40, 80, 100])
def test_a_command_is_never_broken(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((width, 24)))
    command = "env -u HF_HUB_OFFLINE steprun models pull hf:OWNER/REPO/FILE-IQ4_XS.gguf --mtp"
    lines = wrapped(f"Later, when there is a network that can be used: {command}", 4).split("\n")
    assert lines[-1].strip() == command
    assert all(len(line) < width for line in lines[:-1])
    (once,) = (line for line in wrapped("steprun chat " * 9 + "ends.", 0).split("\n")[:1])
    assert len(once) < width  # a sentence is no command
