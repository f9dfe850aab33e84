"""What speed to expect: exact where it was measured, bounded beyond, unknown where unknown."""

import re
from dataclasses import replace
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
from runner.speed import estimate as speed
from runner.speed import tables as published
from runner.speed.chips import Chip, slowest
from runner.speed.estimate import NOWHERE_ELSE, Elsewhere, Speed
from runner.speed.measured import PublishedRow, Run, nearest, runs

TABLES = published.tables()
RUNS = runs(TABLES.rows)
STEPFUN = [row for row in TABLES.rows if row.source == "StepFun"]


def _subject(model: Model) -> ModelSpec:
    made = from_model(model)
    assert made is not None
    return made


STEP = _subject(models_toml.load_catalog().models[0])
DEMO = _subject(models_toml.load_catalog().demo)


def machine(name: str, cores: int | None = None, backend: Backend = Backend.METAL) -> Machine:
    return Machine(
        platform=Platform.CPU,
        name="test machine",
        os="linux",
        arch="arm64",
        memory_bytes=128 * GIB,
        unified=backend is not Backend.CUDA,
        backend=backend,
        limit_bytes=120 * GIB,
        limit_source="a test",
        reserve_bytes=0,
        reserve_why="a test",
        cores=16,
        devices=(Device(name, backend, cores=cores),) if name else (),
    )


MAC = machine("Apple M4 Max", 40)
SPARK = machine("NVIDIA GB10")
STRIX = machine("Radeon 8060S", 40, Backend.VULKAN)
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
    assert len(TABLES.rows) == 75
    for row in TABLES.rows:
        assert row.decode_s * row.decode_tps == pytest.approx(row.n_gen, rel=2e-3)
        assert row.prefill_s * row.prefill_tps == pytest.approx(row.n_prompt, rel=2e-3)
        assert row.n_kv == row.n_prompt + row.n_gen


def test_the_published_quants_are_the_catalog_s() -> None:
    for row in TABLES.rows:
        assert row.weights_bytes == variant(row.quant).weights_bytes, row.quant


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
    [("M4 Max\tQ4_K_S", "published.tsv"), ("\t273\t", "chips.tsv"), (r"\bGB10\b", "chips.tsv")],
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
    assert f"StepFun's table for {row.machine}, {row.quant}" == found.source


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
    times = [run.prefill_s(tokens) for tokens in range(0, 300_000, 997)]
    assert times == sorted(times)
    last = run.rows[-1].n_prompt
    for at, (_, more) in zip(range(0, 300_000, 997), times, strict=True):
        assert more == (at > last)


@pytest.mark.parametrize("run", RUNS, ids=lambda r: f"{r.machine}-{r.quant}-{r.source}")
def test_decoding_stays_between_its_points_and_slows(run: Run) -> None:
    for below, above in zip(run.rows, run.rows[1:], strict=False):
        low, high = sorted((below.decode_tps, above.decode_tps))
        assert low < run.decode_tps((below.n_prompt + above.n_prompt) // 2)[0] < high
    # From 8K on; before that the Spark's own figures rise, as its first run is a cold one.
    rates = [run.decode_tps(depth)[0] for depth in range(8192, 300_000, 997)]
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


def test_a_relative_is_scaled_and_says_how() -> None:
    whole, part = estimate(MAC, "IQ4_XS", 65_536), machine("Apple M3 Max", 30)
    found = estimate(part, "IQ4_XS", 65_536)
    assert found.decode_tps_empty == pytest.approx(whole.decode_tps_empty * 300 / 546)
    assert found.decode_tps_full == pytest.approx(whole.decode_tps_full * 300 / 546)
    assert seconds(found, 65_536) == pytest.approx(seconds(whole, 65_536) * 40 / 30)
    assert "memory bandwidth 300/546 and GPU cores 30/40" in found.source
    thor = estimate(machine("NVIDIA Thor"), "IQ4_XS", 32_768)
    spark = estimate(SPARK, "IQ4_XS", 32_768)
    assert thor.decode_tps_empty == pytest.approx(spark.decode_tps_empty * 0.7)
    assert seconds(thor, 8192) == pytest.approx(seconds(spark, 8192) / 0.45)


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


def test_another_quant_or_cache_takes_the_nearest_and_says_so() -> None:
    found = estimate(SPARK, "Q3_K_M", 32_768, "q8_0")
    assert found.decode_tps_empty == 21.52
    assert found.source.endswith("Q3_K_L (the nearest to Q3_K_M) with a cache in f16")
    assert "cache" not in estimate(STRIX, "Q3_K_L", 32_768, "q8_0").source


def test_the_makers_table_goes_before_an_independent_one() -> None:
    spark = [run for run in RUNS if run.machine == "DGX Spark"]
    found = nearest(spark, "IQ4_XS", variant("IQ4_XS").weights_bytes, "q4_0")
    assert found is not None
    assert found.source == "StepFun"
    assert any(run.source == "gitcommit90" for run in spark)


def test_of_one_quant_the_same_cache_goes_first() -> None:
    f16 = next(run for run in RUNS if (run.machine, run.quant) == ("Strix Halo", "Q4_K_S"))
    q8_0 = Run(tuple(replace(row, kv_type="q8_0") for row in f16.rows))
    size = variant("Q4_K_S").weights_bytes
    assert nearest([f16, q8_0], "Q4_K_S", size, "q8_0") is q8_0
    assert nearest([f16, q8_0], "Q4_K_S", size, "f16") is f16


# --- slow


def test_a_slow_plan_says_how_slow_and_what_is_faster() -> None:
    warning = estimate(STRIX, "Q4_K_S", 65_536, "q8_0").warning
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
    assert "q8_0 takes about 9 min" in (estimate(part, "Q4_K_S", 65_536).warning or "")


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
    reads = speed.bytes_per_token(STEP.geometry, variant("Q4_K_S"))
    assert reads is not None
    expected = 1792e9 * 0.4 / (reads.resident + reads.experts)
    assert found.decode_tps_empty == pytest.approx(expected)
    assert found.decode_tps_full < found.decode_tps_empty
    assert found.prefill is None
    assert "1792 GB/s of RTX 5090" in found.source
    assert "40%" in found.source


def test_active_weights_are_what_stepfun_says() -> None:
    # 11e9 of 197e9; the layout counts more bits for what is always used.
    plain = replace(variant("IQ4_XS"), layout=None)
    reads = speed.bytes_per_token(STEP.geometry, plain)
    assert reads is not None
    assert reads.resident + reads.experts == pytest.approx(11e9 * 4.26 / 8, rel=0.01)
    exact = speed.bytes_per_token(STEP.geometry, variant("IQ4_XS"))
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
    assert "60 GB/s of main memory, assumed: dual-channel DDR5" in found.source
    assert found.prefill is None
    two = estimate(replace(PROCESSOR, cores=2), "IQ4_XS", 8192)
    assert two.decode_tps_empty == pytest.approx(found.decode_tps_empty / 3)
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


# --- experts elsewhere


def test_paging_is_a_range_between_two_disks_below_the_processor() -> None:
    away = Elsewhere(on_disk=0.75)
    found = estimate(PROCESSOR, "IQ3_XXS", 8192, away=away)
    reads = speed.bytes_per_token(STEP.geometry, variant("IQ3_XXS"))
    assert reads is not None
    assert found.decode_tps_fast is not None
    held = (reads.resident + reads.experts / 4) / 60e9
    assert found.decode_tps_empty == pytest.approx(1 / (held + reads.experts * 0.75 / 3e9))
    assert found.decode_tps_fast == pytest.approx(1 / (held + reads.experts * 0.75 / 7e9))
    assert found.decode_tps_fast < estimate(PROCESSOR, "IQ3_XXS", 8192).decode_tps_empty
    assert "About 1.8 to 3.7 tok/s" in (found.warning or "")
    # Mapped weights are worked from by the processor, whatever graphics a shared memory has.
    assert estimate(MAC, "IQ3_XXS", 8192, away=away).source == found.source


def test_the_share_that_stays_on_the_disk() -> None:
    quant = variant("IQ3_XXS")
    assert quant.layout is not None
    experts = sum(quant.layout.experts)
    assert speed.share_on_disk(STEP.geometry, quant, quant.weights_bytes) == 0
    half = speed.share_on_disk(STEP.geometry, quant, quant.weights_bytes - experts // 2)
    assert half == pytest.approx(0.5)
    assert speed.share_on_disk(STEP.geometry, quant, 0) == 1


# --- the document, and everything at once


def test_the_document() -> None:
    found = speed.to_json(estimate(MAC, "IQ4_XS", 8192))
    assert found["prefill"] == [{"tokens": 8192, "prefill_s": 20.0, "more": False}]
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
    times = [r.prefill_s for r in found.prefill or ()]
    assert times == sorted(times)
    assert speed.to_json(found)["source"]
