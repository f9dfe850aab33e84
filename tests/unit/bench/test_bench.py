"""The benchmark: what is asked, what is read of the tool's table, what is said of it."""

import json
import os
import sys
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from runner.base.errors import SteprunError
from runner.bench import batched, grid, report, through_api
from runner.bench.grid import Grid, Measurement
from runner.cli.commands.bench import bench
from runner.cli.main import COMMANDS
from runner.engine.installed.describe import flags_of
from runner.engine.process import supervisor
from runner.plan.launch import LaunchSpec, Settings
from runner.plan.request import PlanRequest
from runner.run import prepare
from runner.run.request import ModelRequest
from runner.speed import tables
from runner.speed.estimate import PrefillTime, Speed
from runner.speed.measured import Run, runs

DATA = Path(__file__).parents[2] / "data" / "bench"
FAKE = Path(__file__).parents[2] / "fakes" / "bench_tool.py"
QUICK = grid.cut(65_536, grid.QUICK)
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def recorded(name: str) -> list[Measurement]:
    lines = (DATA / name).read_text("utf-8").splitlines()
    return [row for row in map(batched.parse_bench, lines) if row]


# --- the grid


def test_stepfuns_grid_gets_the_context_that_its_last_row_needs() -> None:
    """StepFun's own -c 32768 has no room for it: the tool passes over it without a word."""
    whole = grid.cut(262_144)
    assert whole == Grid((0, 2_048, 8_192, 16_384, 32_768), 32_896)
    assert not whole.missing
    assert [row.n_prompt for row in recorded("no-room.txt")] == [0, 2_048, 8_192]


@pytest.mark.parametrize(
    ("context", "last"), [(32_896, 32_768), (32_895, 16_384), (2_176, 2_048), (2_175, 0), (256, 0)]
)
def test_a_plan_without_room_cuts_the_grid_and_says_so(context: int, last: int) -> None:
    cut = grid.cut(context)
    assert cut.prompts[-1] == last
    assert cut.context <= context
    assert cut.prompts + cut.left_out == grid.PROMPTS
    if cut.left_out:
        assert "32,768" in cut.missing
        assert "--ctx 32896" in cut.missing


def test_the_line_is_the_plans_with_the_flags_that_the_tool_lists() -> None:
    settings = Settings(
        context=131_072,
        kv_type="q8_0",
        ubatch=1024,
        parallel=2,
        load_mode="dio",
        mtp_tokens=3,
        layers=(20, 25),
        sampling=(("temp", 1.0),),
        env=(("CUDA_VISIBLE_DEVICES", "1,0"),),
    )
    flags = flags_of(
        "-m,    --model FNAME\n-c,    --ctx-size N\n-ub,   --ubatch-size N\n"
        "-ctk,  --cache-type-k TYPE\n-ts,   --tensor-split N0,N1\n--direct-io\n--no-repack\n"
        "--spec-type TYPE\n--temp N\n"
    )
    spec = grid.launch_line(
        Path("m.gguf"),
        settings,
        grid.cut(131_072),
        flags=flags,
        safe_flags=("--no-repack", "--only-the-server-has-this"),
        total_bytes=7,
    )
    assert spec.argv == (
        *("--model", "m.gguf", "--ctx-size", "32896", "--ubatch-size", "1024"),
        *("--cache-type-k", "q8_0", "--tensor-split", "20,25", "--direct-io", "--no-repack"),
    )
    assert spec.env == settings.env
    assert spec.total_bytes == 7


# --- the tool's table


def test_a_recorded_table_is_read_with_its_nan() -> None:
    first, second, third = recorded("smollm2.txt")
    assert "-nan" in (DATA / "smollm2.txt").read_text("utf-8")
    assert first == Measurement(0, 128, 1, 128, 0.0, 0.0, 14.95, 8.56)
    assert second == Measurement(512, 128, 1, 640, 5.928, 86.37, 89.177, 1.44)
    assert third.n_kv == 2_176


def test_the_last_row_that_the_tool_loses_is_never_the_one_that_is_waited_for() -> None:
    """Recorded: asked for 0 and 2,048 it ended with status 0, and only the first row came."""
    assert [row.n_prompt for row in recorded("last-row-lost.txt")] == [0]
    assert batched.asked(QUICK) == ("-npp", "0,2048,0", "-ntg", "128", "-npl", "1")


@given(st.text() | st.lists(st.text("|0123456789.-naife ", max_size=9)).map("|".join))
def test_no_line_breaks_the_parser(line: str) -> None:
    row = batched.parse_bench(line)
    if row:
        json.dumps(report.to_json([row], None, finished=False), allow_nan=False)


@pytest.mark.parametrize("figure", ["inf", "nan", "-nan", "1e400", "-1.0", "", "0x1", "1.0.0"])
@pytest.mark.parametrize("place", range(4, 8))
def test_a_row_with_a_figure_that_is_none_is_no_row(place: int, figure: str) -> None:
    cells = ["2048", "128", "1", "2176", "1.0", "1.0", "1.0", "1.0", "2.0", "1.0"]
    assert batched.parse_bench("|" + "|".join(cells) + "|")
    cells[place] = figure
    assert batched.parse_bench("|" + "|".join(cells) + "|") is None


# --- the fake tool


def fake(mode: str, asked: Grid = QUICK) -> batched.BatchedBench:
    argv = batched.asked(asked)
    return batched.BatchedBench([sys.executable, str(FAKE), mode], LaunchSpec(argv))


async def measured(mode: str, rows: list[Measurement]) -> None:
    async with fake(mode) as tool, aclosing(tool.rows(QUICK, lambda _: None)) as coming:
        async for row in coming:
            rows.append(row)  # noqa: PERF401 - what came before an error counts


@pytest.mark.parametrize("mode", ["good", "garbage", "flood"])
async def test_only_what_was_asked_for_counts(mode: str, home: Path) -> None:
    rows: list[Measurement] = []
    await measured(mode, rows)
    assert [(row.n_prompt, row.decode_s) for row in rows] == [(0, 2.0), (2_048, 2.0)]
    assert {path.name for path in (home / "state" / "engines").iterdir()} <= {"start.lock"}


@posix
async def test_a_tool_that_crashes_leaves_its_rows_and_a_reason() -> None:
    rows: list[Measurement] = []
    with pytest.raises(SteprunError, match="SIGSEGV") as caught:
        await measured("crash", rows)
    assert len(rows) == 1
    assert "out of luck" in caught.value.why


async def test_a_tool_that_ends_early_is_no_success() -> None:
    rows: list[Measurement] = []
    with pytest.raises(SteprunError, match="before it had measured everything"):
        await measured("short", rows)
    assert len(rows) == 1


async def test_a_tool_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STALL_S", 0.5)
    with pytest.raises(SteprunError, match="hangs"):
        await measured("hang", [])


async def test_leaving_in_the_middle_ends_the_tool() -> None:
    async with fake("hang") as tool:
        async with aclosing(tool.rows(QUICK, lambda _: None)) as coming:
            assert (await anext(coming)).n_prompt == 0
        pid = tool.pid
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


# --- through the API


def timings(**changed: object) -> dict[str, object]:
    whole = {"prompt_n": 2_048, "prompt_ms": 1000, "predicted_n": 129, "predicted_ms": 2000}
    return {"timings": {**whole, **changed}}


def test_the_servers_clock_covers_one_token_less_than_it_counts() -> None:
    assert through_api._request([1])["n_predict"] == 129
    row = through_api._row(2_048, timings())
    assert row == Measurement(2_048, 128, 1, 2_176, 1.0, 2048.0, 2.0, 64.0)
    empty = through_api._row(0, timings(prompt_n=1))
    assert (empty.prefill_s, empty.prefill_tps, empty.decode_tps) == (0.0, 0.0, 64.0)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        {},
        {"timings": []},
        {"error": {"code": 400, "message": "no"}},
        timings(prompt_n=2_047),
        timings(predicted_n=3),
        timings(predicted_ms=0),
        timings(predicted_ms="soon"),
        timings(prompt_ms=float("nan")),
        timings(prompt_ms=float("inf")),
        timings(prompt_ms=-1),
    ],
)
def test_an_answer_without_the_figures_is_an_error(reply: object) -> None:
    with pytest.raises(SteprunError, match="lacks the expected figures"):
        through_api._row(2_048, reply)


@pytest.mark.parametrize("count", [None, "many", 0, -1, True, 1 << 40, 1.5])
def test_a_vocabulary_that_is_none_is_an_error(count: object) -> None:
    with pytest.raises(SteprunError, match="lacks the expected figures"):
        through_api._vocabulary({"data": [{"meta": {"n_vocab": count}}]})


# --- beside what was published

MAC = "m4-max-128"


def plan_of(machine: str, model: str = "", **asked: object) -> prepare.Prepared:
    return prepare.make_plan(ModelRequest(model, PlanRequest(**asked)), machine)  # type: ignore[arg-type]


def of(run: Run, share: float = 1.0) -> list[Measurement]:
    """Return a measurement that is `share` as fast as a published one."""
    return [
        Measurement(
            row.n_prompt,
            row.n_gen,
            1,
            row.n_kv,
            row.prefill_s / share,
            (row.prefill_tps or 0) * share,
            row.decode_s / share,
            (row.decode_tps or 0) * share,
        )
        for row in run.rows
        if row.n_prompt in grid.PROMPTS
    ]


def test_the_measured_machine_itself_is_as_fast_as_it_should_be() -> None:
    plan = plan_of(MAC, quant="IQ4_XS", kv_type="f16").plan
    run, speed = prepare.published_run(plan), prepare.expected_speed(plan)
    assert run is not None
    assert (run.machine, run.quant, run.source) == ("M4 Max", "IQ4_XS", "StepFun")
    rows = of(run)
    assert report.verdict(rows, speed, run).startswith("As fast as expected (StepFun's table")
    last = report.bench_line(rows[-1], run)
    assert last.split() == ["32,768", "350.50", "350.50", "1.00", "38.93", "38.93", "1.00"]
    assert len(last) == len(report.head(run))
    slow = report.verdict(of(run, 0.5), speed, run)
    assert slow.startswith("Slow: decode runs at 24.8 tokens/s, and 49.6 tokens/s were expected; ")
    assert "prefill of 32,768 tokens takes 187 s, and 93 s were expected" in slow


def test_one_slow_figure_is_enough_and_runs_differ() -> None:
    plan = plan_of(MAC, quant="IQ4_XS", kv_type="f16").plan
    run, speed = prepare.published_run(plan), prepare.expected_speed(plan)
    assert run is not None
    rows = of(run)
    rows[2] = replace(rows[2], prefill_s=rows[2].prefill_s * 2)
    assert report.verdict(rows, speed, run).startswith("Slow: prefill of 8,192 tokens takes 40 s")
    # Two published runs of one quant on one kind of machine must both pass beside each other.
    first, second = (
        r for r in runs(tables.rows()) if (r.machine, r.quant) == ("DGX Spark", "IQ4_XS")
    )
    on_spark = plan_of("dgx-spark").plan
    expected = prepare.expected_speed(on_spark)
    assert expected is not None
    by_other = replace(
        expected,
        decode_tps_empty=(second.decode_tps(0) or (0,))[0],
        prefill=tuple(PrefillTime(n, (second.prefill_s(n) or (0,))[0]) for n in (8_192, 32_768)),
    )
    assert report.verdict(of(first), by_other, first).startswith("As fast")


def test_a_related_machine_is_measured_against_scaled_figures() -> None:
    plan = plan_of("m3-ultra-256", quant="IQ4_XS", kv_type="f16").plan
    run, speed = prepare.published_run(plan), prepare.expected_speed(plan)
    assert run is not None
    assert run.machine == "M4 Max"
    said = report.verdict(of(run, 0.75), speed, run)
    assert said.startswith("Slow: decode runs at 37.2 tokens/s, and 50.1 to 74.4 tokens/s were")
    assert "prefill of 8,192 tokens takes 27 s, and 10 to 20 s were expected" in said
    # Within the range, nothing is slow.
    assert report.verdict(of(run, 1.05), speed, run).startswith("As fast as expected")


def test_nothing_is_said_where_nothing_was_published() -> None:
    for machine in ("m4-max-128", "dgx-spark"):
        plan = plan_of(machine, "demo").plan
        run = prepare.published_run(plan)
        rows = recorded("smollm2.txt")
        assert run is None
        assert not report.verdict(rows, prepare.expected_speed(plan), run)
        assert "published" not in report.head(run)
        assert "published_decode_tps" not in report.to_json(rows, run, finished=True)["rows"][0]
    some = Speed(10, 5, None, "from bandwidth")
    assert not report.verdict(rows, some, None)


def test_a_published_zero_is_no_figure_and_other_lengths_are_not_compared() -> None:
    plan = plan_of(MAC, quant="IQ4_XS", kv_type="f16").plan
    run = prepare.published_run(plan)
    assert run is not None
    zero, odd = of(run)[0], Measurement(512, 128, 1, 640, 1, 512, 1, 128)
    short, many = replace(zero, n_gen=64), replace(zero, parallel=2)
    document = report.to_json([zero, odd, short, many], run, finished=True)
    assert document["rows"][0]["published_decode_tps"] == 49.58
    assert "published_prefill_tps" not in document["rows"][0]
    assert all("published_decode_tps" not in row for row in document["rows"][1:])
    assert report.bench_line(odd, run).split() == ["512", "512.00", "-", "-", "128.00", "-", "-"]
    assert report.verdict([odd], prepare.expected_speed(plan), run) == ""


# --- the command


def test_several_conversations_are_wrong_usage() -> None:
    found = CliRunner().invoke(bench, ["--demo", "--parallel", "2"])
    assert "one conversation at a time" in str(found.exception)


def test_it_is_in_the_table_of_commands() -> None:
    assert COMMANDS["bench"][0] == "bench:bench"
