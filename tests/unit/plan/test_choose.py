"""The choice: what each machine gets, in which order things give way, how it refuses."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.base.errors import BadFile, UsageError
from runner.base.units import GIB, size
from runner.catalog import models_toml
from runner.engine.builder import recipe
from runner.engine.process.flags import FLAGS
from runner.machine.captures import capture, presets
from runner.machine.facts import (
    Advice,
    Backend,
    Device,
    Machine,
    Platform,
    as_it_is_now,
    on_processor,
)
from runner.machine.probe import detect
from runner.plan.candidates import F16_SPARE_BYTES, GOOD_UBATCH
from runner.plan.candidates import STEP as TOKENS
from runner.plan.choose import Plan, choose
from runner.plan.launch import EngineFiles, LaunchSpec, RunDefaults, Settings, launch
from runner.plan.memory.kv_cache import CHECKPOINTS, LEAST_CHECKPOINTS
from runner.plan.memory.ledger import LedgerEntry
from runner.plan.model_spec import ModelSpec, from_model
from runner.plan.placement import place
from runner.plan.request import PlanRequest, Profile
from runner.run.document import to_json

_subject = from_model(models_toml.load_catalog().models[0])
assert _subject is not None
STEP: ModelSpec = _subject
DEFAULTS = RunDefaults()


def machine(limit_gib: float, backend: Backend = Backend.CUDA) -> Machine:
    limit = int(limit_gib * GIB)
    return Machine(
        platform=Platform.CUDA,
        name="test machine",
        os="linux",
        arch="x86_64",
        memory_bytes=limit,
        unified=True,
        backend=backend,
        limit_bytes=limit,
        limit_source="a test",
        reserve_bytes=2 * GIB,
        reserve_why="a test",
    )


def plan(limit_gib: float, **request: object) -> Plan:
    return choose(machine(limit_gib), STEP, PlanRequest(**request), DEFAULTS)  # type: ignore[arg-type]


# More machines are in test_machines_table.
@pytest.mark.parametrize(
    ("name", "fits", "quant", "context", "kv_type"),
    [
        ("cpu-24", False, "IQ3_XXS", 32_768, "q8_0"),
        ("dgx-spark", True, "IQ4_XS", 98_304, "q8_0"),
        ("dgx-spark-desktop", True, "UD-IQ4_XS", 172_032, "q8_0"),
        ("m4-max-128", True, "IQ4_XS", 73_728, "q8_0"),
        ("m2-ultra-192", True, "UD-Q5_K_M", 262_144, "q8_0"),
        ("m3-ultra-512", True, "Q8_0", 262_144, "f16"),
        ("4x5090", True, "Q4_K_S", 163_840, "q8_0"),
        ("4x48", True, "UD-Q6_K", 262_144, "q8_0"),
        ("strix-halo-linux", True, "Q4_K_S", 212_992, "q8_0"),
        ("strix-halo-linux-112", True, "Q4_K_S", 65_536, "q8_0"),
        ("strix-halo-windows", True, "IQ4_XS", 196_608, "q8_0"),
    ],
)
def test_what_each_machine_gets(
    name: str, fits: bool, quant: str, context: int, kv_type: str
) -> None:
    found = detect(capture.Replay(presets.load_preset(name)))
    chosen = choose(found, STEP, PlanRequest(), recipe.load_recipe(found.backend).run)
    got = (chosen.fits, chosen.variant.name, chosen.config.context, chosen.config.kv_type)
    assert got == (fits, quant, context, kv_type)
    assert chosen.config.projector
    if fits:
        assert chosen.total_bytes <= found.limit_bytes


def test_more_memory_never_gives_less() -> None:
    before = (-1.0, -1)
    for gib in range(76, 260, 2):
        chosen = plan(gib)
        if chosen.fits:
            now = (chosen.variant.quality, chosen.config.context)
            assert now >= before, f"at {gib} GiB"
            before = now
    assert before[1] == 262_144


def test_a_refusal_says_how_much_is_missing_and_what_would_help() -> None:
    refused = plan(24)
    assert not refused.fits
    assert "too little" in refused.reasons[0]
    assert all(fix.what and fix.command for fix in refused.fixes)


def commands(chosen: Plan) -> list[str]:
    return [fix.command for fix in chosen.fixes]


ELSEWHERE = [
    "steprun chat --demo",
    "steprun chat --url http://HOST:PORT",
    "steprun machine --known",
]


def test_fixes_are_listed_by_what_they_cost() -> None:
    """Options of steprun, then settings of the host, a smaller model, a server, a new machine."""
    cpu = replace(machine(24), platform=Platform.CPU, backend=Backend.CPU)
    assert commands(choose(cpu, STEP, PlanRequest(), DEFAULTS)) == [
        "steprun chat --model step-3.7-flash --allow-paging",
        *ELSEWHERE,
    ]
    advised = replace(
        machine(80, Backend.CPU),
        platform=Platform.CPU,
        advice=(
            Advice("Set it, and restart", "restart", "back", 120 * GIB, restart=True),
            Advice("Join a group, then log in again", "log in", "out", restart=True),
            Advice("Set it", "set", "unset", 110 * GIB),
            Advice("Drop the page cache", "drop"),
            Advice("Set it lower", "too little", "back", 81 * GIB),
        ),
    )
    small = replace(STEP, projector_bytes=2 * GIB)
    refused = choose(advised, small, PlanRequest(quant="IQ4_XS"), DEFAULTS)
    assert commands(refused) == [
        "steprun chat --model step-3.7-flash --quant IQ3_XXS --ctx 147456",
        "steprun chat --model step-3.7-flash --quant IQ4_XS --allow-paging",
        "set",
        "drop",
        "restart",
        "log in",
        *ELSEWHERE[:-1],  # this machine gives as much after a change
    ]
    assert [fix.cost for fix in refused.fixes] == sorted(fix.cost for fix in refused.fixes)


def test_what_would_gain_more_is_listed_by_cost_too() -> None:
    advice = (Advice("Restart", "restart", restart=True), Advice("Set it", "set"))
    roomy = choose(replace(machine(110), advice=advice), STEP, PlanRequest(), DEFAULTS)
    assert roomy.fits
    assert commands(roomy) == ["set", "restart"]


@pytest.mark.parametrize(
    ("name", "advised"),
    [
        ("m4-max-128", []),
        ("strix-halo-linux-stock", ["gttsize", "pages_limit"]),
        ("m4-max-64", []),
    ],
)
def test_a_change_that_needs_a_restart_says_so(name: str, advised: list[str]) -> None:
    found = detect(capture.Replay(presets.load_preset(name)))
    waiting = [each.command for each in found.advice if each.restart]
    assert len(waiting) == bool(advised)
    assert all(any(word in command for word in advised) for command in waiting)


def test_the_least_memory_is_what_the_smallest_configuration_takes() -> None:
    """In bytes, shown in GiB: a machine of exactly that much fits, of a little less does not."""
    (fix,) = [fix for fix in plan(24).fixes if fix.command == "steprun machine --known"]
    match = re.search(r"([0-9]+\.[0-9]{2}) GiB or more", fix.what)
    assert match is not None
    least = float(match[1])
    assert 70 < least < 80
    assert plan(least + 0.01).fits
    assert not plan(least - 0.01).fits


def test_what_was_asked_for_is_kept_or_refused_never_changed() -> None:
    assert plan(120, quant="iq4_xs").variant.name == "IQ4_XS"
    assert plan(120, context=8192).config.context == 8192
    asked = plan(106, quant="Q4_K_S")
    assert not asked.fits
    assert asked.variant.name == "Q4_K_S"
    assert any("--quant" in fix.command for fix in asked.fixes)


def test_without_pictures_is_offered_where_it_would_be_enough() -> None:
    small = replace(STEP, projector_bytes=8 << 30)
    asked = choose(machine(80), small, PlanRequest(), DEFAULTS)
    assert not asked.fits
    assert any("--profile fast" in fix.command for fix in asked.fixes)


@pytest.mark.parametrize("gib", [24, 75, 76, 78, 82, 90, 106])
@pytest.mark.parametrize(
    "wanted",
    [
        PlanRequest(),
        PlanRequest(quant="Q4_K_S"),
        PlanRequest(context=262_144, kv_type="f16"),
        PlanRequest(parallel=8),
    ],
    ids=str,
)
def test_every_fix_that_is_a_plan_works(gib: int, wanted: PlanRequest) -> None:
    """What a refusal tells the user to type must not be refused in turn."""
    for fix in choose(machine(gib), STEP, wanted, DEFAULTS).fixes:
        if fix.request is not None:
            assert choose(machine(gib), STEP, fix.request, DEFAULTS).fits, fix.command


def test_a_fix_names_the_model_that_was_asked_for() -> None:
    own = replace(STEP, words=("--model", "my model.gguf"))
    refused = choose(machine(106), own, PlanRequest(quant="Q4_K_S", parallel=2), DEFAULTS)
    assert "--model 'my model.gguf'" in refused.fixes[0].command


def test_profiles() -> None:
    see, fast, text = (plan(130, profile=profile) for profile in Profile)
    assert (text.config.projector, text.config.mtp) == (False, False)
    assert text.config.context >= max(see.config.context, fast.config.context)
    assert any("--profile text" in choice.why for choice in text.choices)
    assert PlanRequest(profile=Profile.TEXT).words() == ("--profile", "text")
    own = choose(machine(130), STEP, PlanRequest(profile=Profile.TEXT, with_mtp=True), DEFAULTS)
    assert own.config.mtp, "draft heads that the user named are used"
    assert (see.config.projector, see.config.mtp) == (True, False)
    assert (fast.config.projector, fast.config.mtp) == (False, True)
    assert fast.settings.mtp_tokens == 2
    assert see.settings.mtp_tokens == 0


def test_paging_counts_what_cannot_be_paged() -> None:
    paged = plan(24, allow_paging=True)
    assert paged.fits
    assert paged.paged
    assert any("Nothing fits" in reason for reason in paged.reasons)
    assert paged.variant == min(
        (v for v in STEP.variants if v.auto), key=lambda v: v.weights_bytes
    ), "the less there is to read again and again, the better"
    assert plan(130, allow_paging=True) == plan(130), "nothing changes where all fits"
    assert not plan(5, allow_paging=True).fits
    # Nothing but a mapping read by the processor can page, whatever the backend's recipe says.
    for backend in Backend:
        settings = choose(
            machine(24, backend),
            STEP,
            PlanRequest(allow_paging=True),
            recipe.load_recipe(backend).run,
        ).settings
        assert (settings.load_mode, settings.gpu_layers, settings.repack) == ("mmap", 0, False)


def test_a_context_beyond_the_models_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="262,144"):
        plan(130, context=1 << 20)


def test_an_unknown_quant_is_named_the_same_way_by_every_command() -> None:
    with pytest.raises(UsageError) as planned:
        plan(130, quant="IQ4_XSS")
    with pytest.raises(UsageError) as pulled:
        models_toml.load_catalog().models[0].quant("IQ4_XSS")
    assert str(planned.value) == str(pulled.value)
    assert "no quant 'IQ4_XSS'" in planned.value.what
    assert "IQ4_XS" in planned.value.next


def test_the_document_is_the_contracts() -> None:
    document = to_json(plan(110), LaunchSpec(("llama-server",)))
    assert document["schema"] == "steprun.plan/1"
    assert document["verdict"] == "fits"
    assert document["total_bytes"] == sum(row["bytes"] for row in document["ledger"])
    assert {row["item"] for row in document["ledger"]} <= {str(entry) for entry in LedgerEntry}
    assert {"limit_bytes", "limit_source", "argv", "reasons", "fixes", "kv_type"} <= set(document)


def test_no_flag_is_passed_that_the_engine_does_not_list() -> None:
    files = EngineFiles(Path("a.gguf"), Path("p.gguf"), Path("m.gguf"))
    settings = Settings(4096, mtp_tokens=3, threads=2, load_mode="dio", repack=False)
    everything = launch(files, settings, frozenset(FLAGS)).argv
    flags = [word for word in everything if word.startswith("--")]
    assert set(flags) <= set(FLAGS)
    assert len(flags) == len(set(flags))
    fewer = frozenset(FLAGS) - {"--cors-origins", "--load-mode"}
    argv = launch(files, settings, fewer).argv
    assert "--cors-origins" not in argv
    assert "localhost" not in argv
    assert "--direct-io" not in argv, "not listed either"
    older = launch(files, settings, fewer | {"--direct-io"}).argv
    assert "--direct-io" in older


def test_slots_share_one_context_where_the_engine_can() -> None:
    """Elsewhere each has a cache of its own, and the launch line asks for all of them together."""
    shared = plan(130, parallel=4)
    apart = choose(
        machine(130), STEP, PlanRequest(parallel=4), replace(DEFAULTS, shared_slots=False)
    )
    for chosen in (shared, apart):
        argv = launch(EngineFiles(Path("a")), chosen.settings, frozenset(FLAGS)).argv
        document = to_json(chosen, LaunchSpec(argv))
        assert argv[argv.index("--ctx-size") + 1] == str(document["context_total"])
        assert ("--kv-unified" in argv) is document["context_shared"]
        assert document["context_total"] == document["context"] * (1 if chosen is shared else 4)
    assert shared.config.shared
    assert not apart.config.shared
    assert shared.config.context > apart.config.context
    lost = launch(EngineFiles(Path("a")), shared.settings, frozenset(FLAGS) - {"--kv-unified"}).lost
    assert lost == ("--kv-unified",)


@pytest.mark.parametrize("backend", list(Backend))
def test_every_backend_has_a_recipe(backend: Backend) -> None:
    assert recipe.load_recipe(backend).backend is backend


def test_advice_comes_before_buying() -> None:
    found = detect(capture.Replay(presets.load_preset("m4-max-128")))
    asked = choose(found, STEP, PlanRequest(quant="Q4_K_S"), DEFAULTS)
    commands = [fix.command for fix in asked.fixes]
    assert any("iogpu.wired_limit_mb" in command for command in commands)


@pytest.mark.parametrize(
    "name", ["strix-halo-windows", "strix-halo-linux-112", "dgx-spark-desktop", "4x5090"]
)
def test_an_engine_without_the_accelerator_is_planned_in_main_memory(name: str) -> None:
    """A carve-out or a card's memory must not be counted where the processor computes."""
    found = detect(capture.Replay(presets.load_preset(name)))
    plain = on_processor(found)
    assert plain.backend is Backend.CPU
    assert plain.limit_bytes <= (found.available_bytes or 0)
    chosen = choose(plain, STEP, PlanRequest(), recipe.load_recipe(plain.backend).run)
    assert chosen.total_bytes <= (found.available_bytes or 0) or not chosen.fits
    assert chosen.settings.load_mode == "mmap"
    assert chosen.settings.gpu_layers == 0


def test_a_machine_that_is_full_just_now_is_told_so() -> None:
    """The plan is for an idle machine; what other programs hold now is said, not hidden."""
    busy = replace(machine(120), available_bytes=20 * GIB)
    found = choose(busy, STEP, PlanRequest(), DEFAULTS)
    assert found.fits
    assert any("Not enough is free at this moment" in warning for warning in found.warnings)
    assert not choose(machine(120), STEP, PlanRequest(), DEFAULTS).warnings
    assert not choose(as_it_is_now(busy), STEP, PlanRequest(), DEFAULTS).fits, (
        "but it is not started"
    )


def test_paging_is_the_processors_work() -> None:
    """Only main memory counts then: a carve-out is out of the processor's reach."""
    carved = replace(machine(112), available_bytes=24 * GIB)
    paged = choose(carved, STEP, PlanRequest(quant="Q8_0", allow_paging=True), DEFAULTS)
    document = to_json(paged, LaunchSpec(()))
    assert document["paged"]
    assert document["backend"] == "cpu"
    assert paged.limit_bytes <= 24 * GIB
    assert "You requested Q8_0" in paged.reasons[0]


def test_a_change_to_the_host_that_would_not_be_enough_is_no_fix() -> None:
    found = detect(capture.Replay(presets.load_preset("m4-max-128")))
    refused = choose(found, STEP, PlanRequest(quant="Q8_0"), DEFAULTS)
    assert not any("iogpu" in fix.command for fix in refused.fixes)
    enough = choose(found, STEP, PlanRequest(quant="Q4_K_S", context=32_768), DEFAULTS)
    (fix,) = [fix for fix in enough.fixes if "iogpu" in fix.command]
    assert "Q4_K_S at 32,768 tokens would fit then" in fix.what
    assert fix.undo


def test_the_next_rung_misses_by_what_it_says() -> None:
    """`asked / planned / why` is checked by asking for what it says would not fit."""
    found = detect(capture.Replay(presets.load_preset("m4-max-128")))
    defaults = recipe.load_recipe(found.backend).run
    why = {c.what: c.why for c in choose(found, STEP, PlanRequest(), defaults).choices}
    given = "a micro-batch of 512, 4 checkpoints"
    assert f"(--ctx 90112 fits with {given}:" in why["context"]
    longer = choose(found, STEP, PlanRequest(quant="IQ4_XS", context=90_112), defaults).config
    assert (longer.ubatch, longer.checkpoints, longer.spare) == (512, 4, 1)
    wanted = PlanRequest(quant="IQ4_XS", ubatch=1024)
    why = {c.what: c.why for c in choose(found, STEP, wanted, defaults).choices}
    assert "(--ctx 81920 fits with 4 checkpoints:" in why["context"]
    tight = plan(106, quant="IQ4_XS")
    least = replace(tight.config, context=73_728, ubatch=1024, spare=1, checkpoints=CHECKPOINTS)
    more = place(machine(106), STEP, tight.variant, least, DEFAULTS)
    why = {c.what: c.why for c in tight.choices}
    assert why["context"] == f"73,728 would need {size(-more.spare_bytes)} more"


def test_what_is_left_over_is_spent_on_conversations() -> None:
    """Beside the disk on checkpoints; where nothing is kept there, on the engine's own cache."""

    def without(gib: float, **request: object) -> Plan:
        asked = PlanRequest(**request)  # type: ignore[arg-type]
        return choose(machine(gib), STEP, asked, replace(DEFAULTS, keeps_prompts=False))

    kept = plan(200, quant="Q4_K_S").config
    assert (kept.checkpoints, kept.spare, kept.cache_ram_mib) == (2 * CHECKPOINTS, 1, 0)
    roomy = without(200, quant="Q4_K_S")
    assert roomy.config.cache_ram_mib > 0
    assert roomy.config.spare == 0, "the engine would empty it with every request"
    assert roomy.placement.spare_bytes > 0
    between = without(114, quant="IQ4_XS", context=32_768)
    assert between.config.cache_ram_mib == 2048
    assert between.placement.spare_bytes > 2 * GIB, "more would fit, but half of the room stays"
    tight = without(106, quant="IQ4_XS", context=32_768).config
    assert (tight.spare, tight.cache_ram_mib) == (1, 0), "no room: it is the longest way in memory"


def test_what_conversations_go_back_to_is_a_right() -> None:
    """Beyond 64K the context gives way to it; below, it to the context, and that is said."""
    for gib in range(100, 125):
        config = plan(gib, quant="IQ4_XS").config
        if config.context > 65_536:
            assert (config.spare, config.checkpoints >= CHECKPOINTS) == (1, True), gib
    before = None
    for mib in range(105 * 1024, 110 * 1024, 32):
        found = plan(mib / 1024, quant="IQ4_XS", context=65_536, kv_type="q8_0", ubatch=512)
        if not found.fits:
            continue
        now = (found.config.spare, found.config.checkpoints)
        assert before is None or now >= before
        before = before or now
        short = any(f"{found.config.checkpoints} checkpoints" in why for why in found.reasons)
        assert short is (found.config.checkpoints < CHECKPOINTS)
    assert before == (0, LEAST_CHECKPOINTS)
    assert now == (1, 2 * CHECKPOINTS)


def test_the_spare_slot_is_the_engines_alone() -> None:
    one, three = plan(130), plan(130, parallel=3)
    for found, users in ((one, 1), (three, 3)):
        argv = launch(EngineFiles(Path("a")), found.settings, frozenset(FLAGS)).argv
        assert argv[argv.index("--parallel") + 1] == str(users + 1)
        assert "--kv-unified" in argv
        document = to_json(found, LaunchSpec(argv))
        assert (document["parallel"], document["spare_slots"]) == (users, 1)
        assert document["context_shared"] is (users > 1)
        assert argv[argv.index("--ctx-size") + 1] == str(document["context"])
        kept = {row["item"]: row["why"] for row in document["ledger"]}
        assert f"{users + 1} slots (1 spare)" in kept["kv_sliding"]
    cannot = (replace(DEFAULTS, shared_slots=False), replace(DEFAULTS, spare_slot=False))
    for defaults in cannot:
        assert choose(machine(130), STEP, PlanRequest(), defaults).config.spare == 0


def test_a_carve_out_is_free_though_the_system_does_not_count_it() -> None:
    for name in ("strix-halo-windows", "strix-halo-windows-96", "strix-halo-linux-carve-out"):
        found = detect(capture.Replay(presets.load_preset(name)))
        chosen = choose(found, STEP, PlanRequest(), recipe.load_recipe(found.backend).run)
        assert not any(
            "Not enough is free at this moment" in warning for warning in chosen.warnings
        ), name
        assert as_it_is_now(found).limit_bytes == found.limit_bytes


def test_a_misspelt_recipe_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "builds" / "cuda.toml").read_text()
    (tmp_path / "cuda.toml").write_text(text.replace('"quantised"', '"quantized"'))
    monkeypatch.setattr(recipe, "shipped", lambda _: tmp_path)
    with pytest.raises(BadFile, match="kv_copy"):
        recipe.load_recipe(Backend.CUDA)


LIMITS = st.floats(min_value=78, max_value=300)
PROFILES = st.sampled_from(list(Profile))


@settings(max_examples=40, deadline=None)
@given(
    gib=LIMITS,
    profile=PROFILES,
    backend=st.sampled_from(list(Backend)),
    slots=st.sampled_from([1, 3]),
)
def test_no_longer_context_fits(gib: float, profile: Profile, backend: Backend, slots: int) -> None:
    """Of any step, with the same quant and choices; nor, up to 64K, with any other choices."""
    defaults = recipe.load_recipe(backend).run
    on, asked = machine(gib, backend), PlanRequest(profile=profile, parallel=slots)
    found = choose(on, STEP, asked, defaults)
    if not found.fits:
        return
    c = found.config
    name = found.variant.name
    for context in range(c.context + TOKENS, 262_144 + 1, TOKENS):
        if context <= 65_536:
            free = PlanRequest(quant=name, profile=profile, parallel=slots, context=context)
            assert not choose(on, STEP, free, defaults).fits
        elif c.ubatch >= min(GOOD_UBATCH, defaults.ubatch):
            longer = replace(c, context=context, spare=1, checkpoints=CHECKPOINTS)
            assert not place(on, STEP, found.variant, longer, defaults).fits


@settings(max_examples=15, deadline=None)
@given(cards=st.integers(1, 4), each=st.floats(24, 96), ram=st.floats(16, 256))
def test_no_longer_context_fits_beside_cards(cards: int, each: float, ram: float) -> None:
    on = replace(
        machine(cards * each),
        unified=False,
        available_bytes=int(ram * GIB),
        devices=tuple(
            Device(f"card {n}", Backend.CUDA, int(each * GIB), uuid=f"GPU-{n}")
            for n in range(cards)
        ),
    )
    defaults = recipe.load_recipe(Backend.CUDA).run
    found = choose(on, STEP, PlanRequest(), defaults)
    c = found.config
    if found.fits and not found.placement.n_cpu_moe and c.ubatch >= GOOD_UBATCH:
        same = PlanRequest(quant=found.variant.name, kv_type=c.kv_type, ubatch=c.ubatch)
        for context in range(c.context + TOKENS, 262_144 + 1, TOKENS):
            longer = choose(on, STEP, replace(same, context=context), defaults)
            less = (longer.config.spare, longer.config.checkpoints) < (1, CHECKPOINTS)
            assert not longer.fits or longer.placement.n_cpu_moe or less, "not whole on the cards"


@settings(max_examples=30, deadline=None)
@given(gib=LIMITS, profile=PROFILES, context=st.sampled_from([8_192, 32_768, 131_072, 262_144]))
def test_no_better_quant_fits_the_same_request(gib: float, profile: Profile, context: int) -> None:
    asked = PlanRequest(profile=profile, context=context)
    found = choose(machine(gib), STEP, asked, DEFAULTS)
    better = [v for v in STEP.variants if v.auto and v.quality > found.variant.quality]
    for variant in better if found.fits else ():
        assert not choose(machine(gib), STEP, replace(asked, quant=variant.name), DEFAULTS).fits


def test_another_quant_for_a_longer_context_is_said() -> None:
    """With its size to download, and how far the usual one goes."""
    found = detect(capture.Replay(presets.load_preset("dgx-spark")))
    defaults = recipe.load_recipe(found.backend).run
    usual = choose(found, STEP, PlanRequest(), defaults)
    longer = choose(found, STEP, PlanRequest(context=131_072), defaults)
    assert (usual.variant.name, longer.variant.name) == ("IQ4_XS", "Q3_K_L")
    (said,) = [reason for reason in longer.reasons if "another quant" in reason]
    assert size(longer.variant.weights_bytes) in said
    assert f"IQ4_XS, the usual one, goes up to {usual.config.context:,}" in said
    same = choose(found, STEP, PlanRequest(context=65_536), defaults)
    assert not any("another quant" in reason for reason in same.reasons)


def test_a_better_quant_than_enough_is_not_worth_a_short_context() -> None:
    """Four cards of 32 GiB have room for UD-Q4_K_M at 32K; Q4_K_S has 160K there."""
    found = detect(capture.Replay(presets.load_preset("4x5090")))
    defaults = recipe.load_recipe(found.backend).run
    usual = choose(found, STEP, PlanRequest(), defaults)
    asked = choose(found, STEP, PlanRequest(quant="UD-Q4_K_M"), defaults)
    assert asked.fits
    assert asked.config.context < 131_072 < usual.config.context
    assert usual.variant.name == "Q4_K_S"
    assert "with 131,072 tokens or more" in usual.reasons[0]


def test_a_long_exact_cache_leaves_room_for_conversations() -> None:
    """f16 beyond 64K only with gigabytes to spare; below wherever it fits."""
    asked = PlanRequest(quant="IQ4_XS", context=262_144)
    types = [choose(machine(gib), STEP, asked, DEFAULTS) for gib in (115, 124, 130)]
    assert [chosen.config.kv_type for chosen in types] == ["q8_0", "q8_0", "f16"]
    exact = choose(machine(124), STEP, replace(asked, kv_type="f16"), DEFAULTS)
    assert exact.fits
    assert exact.placement.spare_bytes < F16_SPARE_BYTES
    assert plan(110, quant="IQ4_XS", context=32_768).config.kv_type == "f16"


def test_advice_names_the_command_that_was_typed() -> None:
    served = replace(STEP, verb="serve")
    refused = choose(machine(106), served, PlanRequest(quant="Q4_K_S"), DEFAULTS)
    assert commands(refused)[0].startswith("steprun serve ")
    assert "steprun serve --demo" in commands(refused)
    assert not [each for each in commands(refused) if "steprun chat" in each]
