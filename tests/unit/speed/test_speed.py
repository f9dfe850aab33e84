"""What speed to expect: exact where it was measured, bounded beyond, unknown where unknown."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base.errors import BadFile
from runner.base.units import GIB
from runner.catalog import models_toml
from runner.catalog.model import Model
from runner.machine.captures import capture, presets
from runner.machine.facts import Backend, Device, Machine, Platform, on_processor
from runner.machine.probe import detect
from runner.plan.memory.kv_cache import Config
from runner.plan.model_spec import ModelSpec, Variant, from_model
from runner.speed import bandwidth
from runner.speed import estimate as speed
from runner.speed import tables as published
from runner.speed.bandwidth import NOWHERE_ELSE, Elsewhere
from runner.speed.chips import Chip, slowest
from runner.speed.comparable import DECODE_SPREAD, PREFILL_SPREAD
from runner.speed.estimate import Speed
from runner.speed.measured import PublishedRow, Run, nearest, runs
from runner.speed.span import Span, between

TABLES = published.tables()
RUNS = runs(TABLES.rows)
STEPFUN = [row for row in TABLES.rows if row.source == "StepFun"]


def _subject(model: Model) -> ModelSpec:
    made = from_model(model)
    assert made is not None
    return made


STEP = _subject(models_toml.load_catalog().models[0])
DEMO = _subject(models_toml.load_catalog().demo)


SYSTEMS = {Backend.METAL: "macos", Backend.VULKAN: "windows"}


def machine(
    name: str, cores: int | None = None, backend: Backend = Backend.METAL, system: str = ""
) -> Machine:
    return Machine(
        platform=Platform.CPU,
        name="test machine",
        os=system or SYSTEMS.get(backend, "linux"),
        arch="arm64",
        memory_bytes=128 * GIB,
        unified="RTX" not in name,
        backend=backend,
        limit_bytes=120 * GIB,
        limit_source="a test",
        reserve_bytes=0,
        reserve_why="a test",
        cores=16,
        devices=(Device(name, backend, cores=cores),) if name else (),
    )


MAC = machine("Apple M4 Max", 40)
SPARK = machine("NVIDIA GB10", backend=Backend.CUDA)
STRIX = machine("Radeon 8060S", 40, Backend.VULKAN)  # under Windows, as StepFun's probably was
CARD = machine("NVIDIA GeForce RTX 5090", backend=Backend.CUDA)
PROCESSOR = machine("", backend=Backend.CPU)
MACHINES = {"M4 Max": MAC, "DGX Spark": SPARK, "Strix Halo": STRIX}


def variant(name: str) -> Variant:
    return next(v for v in STEP.variants if v.name == name)


def maybe(
    on: Machine, quant: str, context: int, kv_type: str = "f16", away: Elsewhere = NOWHERE_ELSE
) -> Speed | None:
    config = Config(context, kv_type)
    return speed.estimate(on, STEP.geometry, variant(quant), config, TABLES, elsewhere=away)


def estimate(
    on: Machine, quant: str, context: int, kv_type: str = "f16", away: Elsewhere = NOWHERE_ELSE
) -> Speed:
    found = maybe(on, quant, context, kv_type, away)
    assert found is not None
    return found


def seconds(found: Speed, tokens: int) -> float:
    assert found.prefill is not None
    return next(r.prefill_s for r in found.prefill if r.tokens == tokens)


# --- the data


def test_the_published_tables_agree_with_themselves() -> None:
    # Rate and time are published apart: a figure that was typed wrong breaks their product.
    assert len(TABLES.rows) == 75 + 39 + 4
    for row in TABLES.rows:
        if row.decode_tps:
            assert row.decode_s * row.decode_tps == pytest.approx(row.n_gen, rel=2e-3)
        if row.prefill_tps:
            assert row.prefill_s * row.prefill_tps == pytest.approx(row.n_prompt, rel=2e-3)
        assert row.n_kv == row.n_prompt + row.n_gen
        assert row.measured


def test_rows_of_other_engines_are_kept_and_no_estimate_rests_on_them() -> None:
    others = [row for row in TABLES.rows if not row.engine.startswith("llama.cpp")]
    assert len(others) == 28
    assert all(row.left_out for row in others)
    assert all(run.first.engine.startswith("llama.cpp") for run in RUNS)


def test_the_published_quants_are_the_catalog_s() -> None:
    for run in RUNS:
        assert run.weights_bytes == variant(run.quant).weights_bytes, run.quant


def test_every_chip_has_a_bandwidth_and_a_reference_that_is_there() -> None:
    machines = {row.machine for row in TABLES.rows}
    for chip in TABLES.chips:
        assert chip.gbps > 0
        assert 0 < chip.efficiency < 1
        if chip.like:
            assert chip.like in machines
            assert any(c.measured and c.like == chip.like for c in TABLES.chips)
        else:
            assert (chip.decode, chip.prefill) == (None, None)


@pytest.mark.parametrize(
    ("damage", "name"),
    [("\tQ4_K_S\t111", "published.tsv"), ("\t273\t", "chips.tsv"), (r"\bGB10\b", "chips.tsv")],
)
def test_a_damaged_table_is_refused(
    damage: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(published.__file__).parent / name).read_text("utf-8")
    assert damage in text
    (tmp_path / name).write_text(text.replace(damage, "(", 1), "utf-8")
    monkeypatch.setattr(published, "_HERE", tmp_path)
    read = published.rows if name == "published.tsv" else published.chips
    with pytest.raises(BadFile, match=name):
        read.__wrapped__()


# --- from a table


@pytest.mark.parametrize("row", STEPFUN, ids=lambda r: f"{r.machine}-{r.quant}-{r.n_prompt}")
def test_exact_where_it_was_measured(row: PublishedRow) -> None:
    found = estimate(MACHINES[row.machine], row.quant, row.n_prompt, row.kv_type)
    assert found.decode_tps_full == pytest.approx(row.decode_tps)
    assert seconds(found, row.n_prompt) == pytest.approx(row.prefill_s)
    assert not found.decode_full_less
    assert found.empty.factor == found.full.factor == 1
    assert found.source.startswith(f"StepFun's table for {row.machine}, {row.quant}")
    assert ("probably Vulkan under Windows" in found.source) == (row.machine == "Strix Halo")


def test_a_whole_estimate() -> None:
    found = estimate(MAC, "IQ4_XS", 65_536)
    assert found.decode_tps_empty == 49.58
    assert found.decode_tps_full == 32.44
    assert found.prefill is not None
    assert [(r.tokens, r.prefill_s, r.more) for r in found.prefill] == [
        (8192, 19.954, False),
        (32768, 93.489, False),
        (65536, 227.088, False),
    ]
    assert found.warning is None


@pytest.mark.parametrize("run", RUNS, ids=lambda r: f"{r.machine}-{r.quant}-{r.source}")
def test_longer_prompts_take_longer(run: Run) -> None:
    times = [at for tokens in range(0, 300_000, 997) if (at := run.prefill_s(tokens))]
    if not any(row.prefill_tps for row in run.rows):
        assert not times
        return
    assert times == sorted(times)
    last = max(row.n_prompt for row in run.rows if row.prefill_tps)
    for tokens, (_, more) in zip(range(0, 300_000, 997), times, strict=True):
        assert more == (tokens > last)


@pytest.mark.parametrize("run", RUNS, ids=lambda r: f"{r.machine}-{r.quant}-{r.source}")
def test_decoding_stays_between_its_points_and_slows(run: Run) -> None:
    rows = [row for row in run.rows if row.decode_tps]
    for below, above in pairwise(rows):
        low, high = sorted((below.decode_tps or 0, above.decode_tps or 0))
        found = run.decode_tps((below.n_prompt + above.n_prompt) // 2)
        assert found is not None
        assert low < found[0] < high
    # From 8K on; before that the Spark's own figures rise, as its first run is a cold one.
    rates = [at[0] for depth in range(8192, 300_000, 997) if (at := run.decode_tps(depth))]
    assert rates == sorted(rates, reverse=True)


def test_beyond_the_table_only_a_bound_is_given() -> None:
    found = estimate(STRIX, "Q4_K_S", 131_072)
    assert found.prefill is not None
    assert [r.more for r in found.prefill] == [False, False, False, True]
    assert found.prefill[-1].prefill_s >= found.prefill[-2].prefill_s
    assert found.decode_full_less
    assert found.decode_tps_full == 15.07


def test_no_prompt_is_longer_than_the_context() -> None:
    found = estimate(MAC, "IQ4_XS", 16_384)
    assert found.prefill is not None
    assert [r.tokens for r in found.prefill] == [8192, 16_384]


def test_another_count_of_cores_is_a_range_between_cores_and_bandwidth() -> None:
    whole, part = estimate(MAC, "IQ4_XS", 65_536), machine("Apple M3 Max", 30)
    found = estimate(part, "IQ4_XS", 65_536)
    # Decoding cannot pass the bandwidth; a run alone is widened by what such runs differ.
    assert found.empty.high == pytest.approx(whole.decode_tps_empty * 300 / 546 * 1.17)
    assert found.empty.low == pytest.approx(whole.decode_tps_empty * 300 / 546 / 1.17)
    assert seconds(found, 65_536) == pytest.approx(seconds(whole, 65_536) * 546 / 300)
    assert found.prefill is not None
    assert found.prefill[-1].prefill_s_low == pytest.approx(seconds(whole, 65_536) * 40 / 30)
    assert "memory bandwidth 300/546 GB/s, GPU cores 30/40" in " ".join(found.notes)
    thor = estimate(machine("NVIDIA Thor", backend=Backend.CUDA), "Q4_K_S", 32_768)
    spark = estimate(SPARK, "Q4_K_S", 32_768)
    assert thor.empty.low < spark.decode_tps_empty * 0.7 < thor.empty.high
    assert seconds(thor, 8192) == pytest.approx(seconds(spark, 8192) / 0.45)
    assert thor.prefill is not None
    assert thor.prefill[0].prefill_s_low == pytest.approx(seconds(spark, 8192) / 0.5)


def test_cores_that_are_not_known_span_all_chips_of_the_name() -> None:
    unknown = estimate(machine("Apple M3 Ultra"), "IQ4_XS", 16_384)
    least, most = (estimate(machine("Apple M3 Ultra", n), "IQ4_XS", 16_384) for n in (60, 80))
    assert unknown.prefill is not None
    assert most.prefill is not None
    assert unknown.prefill[0].prefill_s_low == most.prefill[0].prefill_s_low
    assert seconds(unknown, 8192) == seconds(least, 8192)
    assert least.empty.factor > 1.4  # others measured two thirds of what the bandwidth says


def test_tensor_units_widen_prefill_and_not_decode() -> None:
    found = estimate(machine("Apple M5 Max", 40), "Q4_K_S", 32_768)
    assert found.prefill is not None
    last = found.prefill[-1]
    assert last.prefill_s == pytest.approx(95.168)  # none of them used: as an M4 Max
    assert last.prefill_s_low == pytest.approx(95.168 / 4 * 546 / 614)
    assert found.empty.high == pytest.approx(51.20 * 614 / 546)
    assert "tensor units" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("name", "cores", "gbps"),
    [
        ("Apple M4 Max", 32, 410),
        ("Apple M4 Max", None, 410),  # unknown cores: the lesser of the two
        ("Apple M3 Max", 40, 400),
        ("Apple M3 Max", 39, 300),  # not listed: the lesser, too
        ("Apple M4", 10, 120),
        ("NVIDIA GeForce RTX 5090", None, 1792),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", None, 896),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", None, 1597),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", None, 1792),
        ("AMD [1002:7551]", None, 640),
        ("AMD Radeon(TM) 8060S Graphics", None, 256),
        ("Strix Halo", None, 256),
        ("Some GPU", None, None),
    ],
)
def test_the_chip_of_a_device(name: str, cores: int | None, gbps: float | None) -> None:
    found = slowest(machine(name, cores), TABLES.chips)
    assert (found and found.gbps) == gbps


def test_of_several_cards_the_slowest_sets_the_pace_and_one_unknown_ends_it() -> None:
    new, old = Device("NVIDIA GeForce RTX 5090", Backend.CUDA), Device("RTX 3090", Backend.CUDA)
    found = slowest(replace(CARD, devices=(new, old)), TABLES.chips)
    assert found is not None
    assert found.gbps == 936
    assert maybe(replace(CARD, devices=(new, Device("?", Backend.CUDA))), "IQ4_XS", 8192) is None


def test_another_cache_type_is_a_range_between_the_runs_of_the_quant() -> None:
    found = estimate(SPARK, "IQ4_XS", 65_536, "q8_0")
    assert (found.empty.low, found.empty.high) == (23.85, 27.24)  # f16, and q4_0
    assert found.prefill is not None
    assert found.prefill[-1].prefill_s == 116.305
    assert found.prefill[-1].prefill_s_low == pytest.approx(65_536 / 653.2)
    assert "Nobody has published a run of IQ4_XS with a q8_0 cache here." in found.notes
    assert "f16 cache" in found.source
    assert "gitcommit90" in found.source


def test_one_run_with_another_cache_is_widened_by_what_such_runs_differ() -> None:
    found = estimate(MAC, "IQ4_XS", 8192, "q8_0")
    assert found.empty.low == pytest.approx(49.58 / 1.17)
    assert found.empty.high == pytest.approx(49.58 * 1.17)
    assert seconds(found, 8192) == pytest.approx(19.954 * 1.26)
    assert any("up to 17% apart in decode and 26% in prefill" in note for note in found.notes)


def test_the_spread_is_that_of_the_published_pair() -> None:
    first, second = (r for r in RUNS if (r.machine, r.quant) == ("DGX Spark", "IQ4_XS"))
    depths = (8192, 16_384, 32_768, 65_536, 131_072)
    decode, prefill = [], []
    for depth in depths:
        slow, fast = first.decode_tps(depth), second.decode_tps(depth)
        long, short = first.prefill_s(depth), second.prefill_s(depth)
        assert slow
        assert fast
        assert long
        assert short
        decode.append(fast[0] / slow[0])
        prefill.append(long[0] / short[0])
    assert max(decode) == pytest.approx(DECODE_SPREAD, abs=0.006)
    assert max(prefill) == pytest.approx(PREFILL_SPREAD, abs=0.006)


def test_another_quant_takes_the_runs_with_its_cache() -> None:
    found = estimate(STRIX, "IQ4_XS", 65_536, "q8_0")
    assert found.prefill is not None
    last = found.prefill[-1]
    assert (last.prefill_s_low, last.prefill_s) == (436.593, 1310.820)  # Q3_K_L's, and f16's
    assert any("3.0 times apart" in note for note in found.notes)


def test_another_system_spans_all_that_was_measured_and_names_each_backend() -> None:
    linux = machine("Radeon 8060S", 40, Backend.VULKAN, "linux")
    found = estimate(linux, "IQ4_XS", 32_768, "f16")
    assert "Nobody has published a run with Vulkan under Linux on this chip." in found.notes
    assert found.prefill is not None
    last = found.prefill[-1]
    assert last.prefill_s == 357.819  # StepFun's slowest, probably Windows
    assert last.prefill_s_low == pytest.approx(32_768 / 261)  # an independent run under Linux
    told = " ".join(found.notes)
    assert "ROCm under Linux, prefill 461 to 462 tokens/s at 4,096 tokens and 259 to 378" in told
    assert "probably Vulkan under Windows" in told
    assert "system and backend not stated, prefill 296 tokens/s at 8,192 tokens" in told
    assert "steprun engine build --backend rocm" in told
    # Another chip has one backend, of which nothing needs to be told.
    assert "Measured on" not in " ".join(estimate(MAC, "IQ4_XS", 32_768).notes)


def test_another_backend_rests_on_its_own_runs_alone() -> None:
    rocm = machine("Radeon 8060S", 40, Backend.ROCM, "linux")
    found = estimate(rocm, "IQ4_XS", 65_536, "f16")
    assert (found.empty.low, found.empty.high) == (19.10, 19.56)
    assert found.decode_full_less
    assert found.decode_tps_full == 12.69  # the deepest run, at 30,000 tokens
    assert found.prefill is not None
    short, _, long = found.prefill
    assert short.prefill_s == pytest.approx(8192 / 258.88)
    assert short.prefill_s_low == pytest.approx(8192 / 462.47)
    assert long.more  # no run with ROCm goes so far
    other = estimate(rocm, "Q4_K_S", 8192, "q8_0")  # one source of other conditions: widened
    assert other.empty.low == pytest.approx(19.10 / 1.17 * 104_993_562_624 / 111_499_087_872)
    assert "StepFun" not in found.source


def test_draft_heads_are_a_range_where_their_gain_was_measured() -> None:
    config = Config(32_768, mtp=True)
    found = speed.estimate(SPARK, STEP.geometry, variant("Q4_K_S"), config, TABLES)
    assert found is not None
    assert found.decode_tps_drafts == Span(24.82 * 1.16, 24.82 * 1.52)
    other = speed.estimate(MAC, STEP.geometry, variant("Q4_K_S"), config, TABLES)
    assert other is not None
    assert other.decode_tps_drafts is None


def test_beside_a_measurement_stands_the_run_of_the_same_setting() -> None:
    spark = [run for run in RUNS if run.machine == "DGX Spark"]
    size = variant("IQ4_XS").weights_bytes
    found = nearest(spark, "IQ4_XS", size, "q4_0", ("linux", "cuda"))
    assert found is not None
    assert found.source == "gitcommit90"
    strix = [run for run in RUNS if run.machine == "Strix Halo"]
    under_linux = nearest(strix, "Q4_K_S", size, "f16", ("linux", "rocm"))
    assert under_linux is not None
    assert under_linux.setting == ("linux", "rocm")


def test_of_one_quant_the_same_cache_goes_first() -> None:
    f16 = next(run for run in RUNS if (run.machine, run.quant) == ("Strix Halo", "Q4_K_S"))
    q8_0 = Run(tuple(replace(row, kv_type="q8_0") for row in f16.rows))
    size = variant("Q4_K_S").weights_bytes
    assert nearest([f16, q8_0], "Q4_K_S", size, "q8_0", f16.setting) is q8_0
    assert nearest([f16, q8_0], "Q4_K_S", size, "f16", f16.setting) is f16


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        ("7 min", "22 min", "7 to 22 min"),
        ("50 s", "4 min", "50 s to 4 min"),
        ("24.8", "24.8", "24.8"),
        ("2.5", "30", "2.5 to 30"),
    ],
)
def test_a_range_names_its_unit_once(low: str, high: str, text: str) -> None:
    assert between(low, high) == text


# --- slow


def test_a_slow_plan_says_how_slow_and_what_is_faster() -> None:
    warning = estimate(STRIX, "Q4_K_S", 65_536, "f16").warning
    assert warning is not None
    assert "64K tokens takes about 22 min" in warning
    assert "8K takes about 44 s" in warning
    assert "Q3_K_L with a cache in q8_0 takes about 7 min" in warning


def test_a_shorter_context_is_warned_of_only_as_far_as_it_goes() -> None:
    assert "32K tokens" in (estimate(STRIX, "Q4_K_S", 32_768).warning or "")
    assert estimate(STRIX, "Q4_K_S", 16_384).warning is None
    warning = estimate(STRIX, "Q3_K_L", 65_536, "q8_0").warning
    assert warning is not None
    assert "In StepFun's table" not in warning  # it is the fastest there is


def test_what_is_faster_is_scaled_too() -> None:
    part = machine("Radeon 8050S", 32, Backend.VULKAN)
    assert "q8_0 takes about 7 to 9 min" in (estimate(part, "Q4_K_S", 65_536).warning or "")


def test_a_run_that_ends_before_is_not_called_faster() -> None:
    short = tuple(r for r in STEPFUN if r.quant != "Q3_K_L" or r.n_prompt < 16_384)
    tables = replace(TABLES, rows=short)
    config = Config(65_536)
    found = speed.estimate(STRIX, STEP.geometry, variant("Q4_K_S"), config, tables)
    assert found is not None
    assert found.warning is not None
    assert "Q3_K_L" not in found.warning


@pytest.mark.parametrize("on", [MAC, SPARK], ids=["mac", "spark"])
def test_a_fast_machine_is_not_warned_of(on: Machine) -> None:
    assert estimate(on, "Q4_K_S", 65_536).warning is None


# --- from bandwidth


@pytest.mark.parametrize("name", ["M4 Max", "DGX Spark"])
def test_the_rule_of_bandwidth_comes_near_the_tables(name: str) -> None:
    measured = estimate(MACHINES[name], "IQ4_XS", 65_536)
    tables = replace(TABLES, rows=())
    ruled = speed.estimate(MACHINES[name], STEP.geometry, variant("IQ4_XS"), Config(65_536), tables)
    assert ruled is not None
    assert ruled.prefill is None
    assert "no measurement" in ruled.source
    assert ruled.decode_tps_empty == pytest.approx(measured.decode_tps_empty, rel=0.25)
    assert ruled.decode_tps_full == pytest.approx(measured.decode_tps_full, rel=0.35)


def test_a_card_decodes_from_its_bandwidth_and_reads_at_an_unknown_pace() -> None:
    found = estimate(CARD, "Q4_K_S", 32_768)
    reads = bandwidth.bytes_per_token(STEP.geometry, variant("Q4_K_S"))
    assert reads is not None
    expected = 1792e9 * 0.4 / (reads.resident + reads.experts)
    assert found.decode_tps_empty == pytest.approx(expected)
    assert found.empty.high == pytest.approx(expected * 0.59 / 0.4)
    assert found.decode_tps_full < found.decode_tps_empty
    assert found.prefill is None
    assert "1792 GB/s of RTX 5090" in found.source
    assert "about 40 to 59 %" in found.source


def test_active_weights_are_what_stepfun_says() -> None:
    # 11e9 of 197e9; the layout counts more bits for what is always used.
    plain = replace(variant("IQ4_XS"), layout=None)
    reads = bandwidth.bytes_per_token(STEP.geometry, plain)
    assert reads is not None
    assert reads.resident + reads.experts == pytest.approx(11e9 * 4.26 / 8, rel=0.01)
    exact = bandwidth.bytes_per_token(STEP.geometry, variant("IQ4_XS"))
    assert exact is not None
    assert reads.experts == pytest.approx(exact.experts, rel=0.02)


def test_the_cache_is_read_too_and_half_of_it_in_q8_0() -> None:
    def cache(kv_type: str) -> float:
        found = estimate(CARD, "IQ4_XS", 131_072, kv_type)
        return (1 / found.decode_tps_full - 1 / found.decode_tps_empty) * 1792e9 * 0.4

    assert cache("f16") == pytest.approx(131_072 * 49_152 + 512 * 33 * 4096)
    assert cache("q8_0") == pytest.approx(cache("f16") * 34 / 64)


def test_a_processor_is_assumed_to_have_two_channels() -> None:
    found = estimate(PROCESSOR, "IQ4_XS", 8192)
    assert "47 to 60 GB/s of main memory, assumed: dual-channel DDR5" in found.source
    assert found.prefill is None
    two = estimate(replace(PROCESSOR, cores=2), "IQ4_XS", 8192)
    assert two.empty.high == pytest.approx(found.empty.high / 3)
    # The same computer with an engine that cannot use its GPU: the table is of no use.
    assert estimate(on_processor(MAC), "IQ4_XS", 8192).source == found.source


def test_what_is_not_known_gets_no_estimate() -> None:
    assert maybe(machine("Some GPU", backend=Backend.VULKAN), "IQ4_XS", 8192) is None
    small = DEMO.variants[0]  # fixed costs decide, not bandwidth
    assert speed.estimate(MAC, DEMO.geometry, small, Config(4096), TABLES) is None
    other = replace(STEP.geometry, arch="other")  # experts of unknown size
    plain = replace(variant("IQ4_XS"), layout=None)
    assert speed.estimate(CARD, other, plain, Config(4096), TABLES) is None


def test_another_model_never_gets_step_s_table() -> None:
    dense = replace(STEP.geometry, arch="llama", experts=0, experts_used=0)
    found = speed.estimate(MAC, dense, Variant("Q4_K_S", 40 * 10**9), Config(4096), TABLES)
    assert found is not None
    assert found.prefill is None
    assert found.decode_tps_empty == pytest.approx(546 * 0.53 / 40)
    assert found.empty.high == pytest.approx(546 * 0.59 / 40)
    assert found.notes == ()


# --- experts elsewhere


def test_paging_is_a_range_between_two_disks_below_the_processor() -> None:
    away = Elsewhere(on_disk=0.75)
    found = estimate(PROCESSOR, "IQ3_XXS", 8192, away=away)
    reads = bandwidth.bytes_per_token(STEP.geometry, variant("IQ3_XXS"))
    assert reads is not None
    assert found.decode_tps_fast is not None
    held, paged = reads.resident + reads.experts / 4, reads.experts * 0.75
    assert found.decode_tps_empty == pytest.approx(1 / (held / 47e9 + paged / 3e9))
    assert found.decode_tps_fast == pytest.approx(1 / (held / 60e9 + paged / 7e9))
    assert found.decode_tps_fast < estimate(PROCESSOR, "IQ3_XXS", 8192).decode_tps_empty
    assert "About 1.7 to 3.7 tokens/s" in (found.warning or "")
    # Mapped weights are worked from by the processor, whatever graphics a shared memory has.
    assert estimate(MAC, "IQ3_XXS", 8192, away=away).source == found.source


@pytest.mark.parametrize(
    "row",
    [row for row in TABLES.rows if row.in_ram and row.decode_tps],
    ids=lambda row: f"{row.in_ram}-{row.engine}",
)
def test_experts_in_ram_beside_a_card_are_a_range_that_holds_what_was_measured(
    row: PublishedRow,
) -> None:
    # ik-llama-toolkit's RTX PRO 6000: UD-Q4_K_XL, the experts of some of 42 layers in RAM.
    card = machine("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", backend=Backend.CUDA)
    away = Elsewhere(in_ram=row.in_ram / 42)
    found = estimate(card, "Q4_K_S", 8192, "q8_0", away=away)
    lighter = variant("Q4_K_S").weights_bytes / row.weights_bytes
    assert found.full.low * lighter < (row.decode_tps or 0) < found.empty.high * lighter
    assert found.prefill is None
    assert "with llama.cpp (LM Studio runtime 2.26.0)" in found.notes[0]
    assert "prefill 635 tokens/s, decode 27 tokens/s at 7,021 tokens; not used" in found.notes[0]


def test_the_share_that_stays_on_the_disk() -> None:
    quant = variant("IQ3_XXS")
    assert quant.layout is not None
    experts = sum(quant.layout.experts)
    assert bandwidth.share_on_disk(STEP.geometry, quant, quant.weights_bytes) == 0
    half = bandwidth.share_on_disk(STEP.geometry, quant, quant.weights_bytes - experts // 2)
    assert half == pytest.approx(0.5)
    assert bandwidth.share_on_disk(STEP.geometry, quant, 0) == 1


# --- the document, and everything at once


def test_the_document() -> None:
    found = speed.to_json(estimate(MAC, "IQ4_XS", 8192))
    assert found["prefill"] == [
        {"tokens": 8192, "prefill_s": 20.0, "prefill_s_low": 20.0, "more": False}
    ]
    assert found["decode_tps_empty_high"] == found["decode_tps_empty"]
    assert found["decode_tps_drafts"] is None
    assert found["notes"] == []
    ultra = estimate(machine("Apple M3 Ultra", 60), "IQ4_XS", 8192)
    assert "with oMLX (MLX 4-bit, cache type not stated): prefill 430 tokens/s" in ultra.notes[-1]
    assert found["decode_tps_empty"] == 49.58
    assert found["decode_tps_fast"] is None
    assert speed.to_json(estimate(CARD, "IQ4_XS", 8192))["prefill"] is None


@pytest.mark.parametrize("name", presets.names())
def test_every_known_machine_gets_an_estimate(name: str) -> None:
    found = detect(capture.Replay(presets.load_preset(name)))
    assert estimate(found, "IQ4_XS", 65_536).decode_tps_empty > 0


@given(
    chip=st.sampled_from(TABLES.chips),
    cores=st.none() | st.integers(0, 100),
    backend=st.sampled_from(Backend),
    quant=st.sampled_from(STEP.variants),
    context=st.integers(0, 1_000_000),
    kv_type=st.sampled_from(["f16", "q8_0"]),
    away=st.builds(Elsewhere, st.sampled_from([0.0, 0.3, 0.5]), st.sampled_from([0.0, 0.2, 0.5])),
)
def test_any_plan_gets_a_sane_estimate(
    *,
    chip: Chip,
    cores: int | None,
    backend: Backend,
    quant: Variant,
    context: int,
    kv_type: str,
    away: Elsewhere,
) -> None:
    # A pattern as a name: plain enough, once its anchors and alternatives are taken away.
    name = re.sub(r"\\b|\$|\(.*?\)|\?|\.\*|\|.*", " ", chip.pattern).strip()
    config = Config(context, kv_type)
    found = speed.estimate(
        machine(name, cores, backend), STEP.geometry, quant, config, TABLES, elsewhere=away
    )
    if found is None:
        return
    assert found.decode_tps_full > 0
    assert found.decode_tps_empty < 500
    assert (found.decode_tps_fast is not None) == (away.on_disk > 0)
    assert found.empty.low <= found.empty.high
    assert found.full.low <= found.full.high
    assert all((r.prefill_s_low or 0) <= r.prefill_s for r in found.prefill or ())
    times = [r.prefill_s for r in found.prefill or ()]
    assert times == sorted(times)
    assert speed.to_json(found)["source"]


def test_the_rate_of_reading_a_short_prompt():
    times = (speed.PrefillTime(8192, 16.0), speed.PrefillTime(16_384, 64.0))
    assert speed.prefill_rate(Speed(20, 10, times, "a test")) == 512
    more = (replace(times[0], more=True), *times[1:])
    assert speed.prefill_rate(Speed(20, 10, more, "a test")) == 256
    assert speed.prefill_rate(Speed(20, 10, None, "a test")) == 0
    assert speed.prefill_rate(None) == 0
