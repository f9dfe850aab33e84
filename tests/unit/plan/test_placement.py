"""Several memories: nothing is lost between them, and no card is given more than it holds."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.base.units import GIB, MIB
from runner.catalog import models_toml
from runner.engine.builder import recipe
from runner.engine.process.flags import FLAGS
from runner.machine.facts import Backend, Device, Machine, Platform, on_processor
from runner.plan.choose import GOOD_QUALITY, RAM_BYTES_PER_TOKEN, Plan, choose
from runner.plan.launch import EngineFiles, launch
from runner.plan.memory.compute_buffers import Costs
from runner.plan.memory.kv_cache import Config, kv_full_bytes, kv_mtp_bytes, kv_sliding_bytes
from runner.plan.memory.ledger import LedgerEntry
from runner.plan.model_spec import ModelSpec, from_model
from runner.plan.placement import Offload, Placement, PoolUse, place
from runner.plan.request import PlanRequest, Profile

_subject = from_model(models_toml.load_catalog().models[0])
assert _subject is not None
STEP: ModelSpec = _subject
CUDA = recipe.load_recipe(Backend.CUDA).run
VULKAN = recipe.load_recipe(Backend.VULKAN).run
MODEL = Path("model.gguf")
LLAMA_SERVER = frozenset(FLAGS) | {
    "--device",
    "--spec-draft-device",
    "--split-mode",
    "--tensor-split",
    "--n-cpu-moe",
    "--no-mmproj-offload",
}
IQ4_XS = next(v for v in STEP.variants if v.name == "IQ4_XS")


def pc(cards: list[float], ram_gib: float) -> Machine:
    """Return a computer with cards of so many GiB beside so much available main memory."""
    return Machine(
        platform=Platform.CUDA,
        name=" + ".join(map(str, cards)),
        os="linux",
        arch="x86_64",
        memory_bytes=int(ram_gib * GIB) + 4 * GIB,
        unified=False,
        backend=Backend.CUDA,
        limit_bytes=int(sum(cards) * GIB),
        limit_source="cards",
        reserve_bytes=len(cards) * GIB // 2,
        reserve_why="the driver",
        cores=16,
        available_bytes=int(ram_gib * GIB),
        devices=tuple(
            Device(f"card of {gib}", Backend.CUDA, int(gib * GIB), uuid=f"GPU-{number}")
            for number, gib in enumerate(cards)
        ),
    )


def planned(cards: list[float], ram_gib: float, **request: object) -> Plan:
    return choose(pc(cards, ram_gib), STEP, PlanRequest(**request), CUDA)  # type: ignore[arg-type]


def held(placement: Placement, entry: LedgerEntry) -> int:
    return sum(i.bytes for part in placement.held for i in part.items if i.item is entry)


def named(
    machine: Machine, engine_name: str = "", *, uuid: str = "", index: int | None = None
) -> Machine:
    """Return the machine with only this knowledge of its cards; `{}` is a card's number."""
    devices = (
        replace(device, engine_name=engine_name.format(number), uuid=uuid, index=index)
        for number, device in enumerate(machine.devices)
    )
    return replace(machine, devices=tuple(devices))


def words(plan: Plan, files: EngineFiles, flags: frozenset[str] = LLAMA_SERVER) -> dict[str, str]:
    argv = launch(files, plan.settings, flags).argv
    return dict(pairwise(argv))


@settings(max_examples=60)
@given(
    cards=st.lists(st.floats(2, 200), min_size=1, max_size=9),
    ram=st.floats(1, 300),
    config=st.builds(
        Config,
        context=st.sampled_from([4096, 65_536, 262_144]),
        kv_type=st.sampled_from(["f16", "q8_0"]),
        projector=st.booleans(),
        mtp=st.booleans(),
    ),
    offload=st.builds(Offload, experts_on_cpu=st.booleans(), mmproj_on_cpu=st.booleans()),
)
def test_nothing_is_lost_between_the_memories(
    cards: list[float], ram: float, config: Config, offload: Offload
) -> None:
    found = place(pc(cards, ram), STEP, IQ4_XS, config, CUDA, offload=offload)
    layout, geometry = IQ4_XS.layout, STEP.geometry
    assert layout is not None
    assert held(found, LedgerEntry.WEIGHTS) == layout.total
    assert held(found, LedgerEntry.KV_FULL) == kv_full_bytes(geometry, config)
    assert held(found, LedgerEntry.KV_SLIDING) == kv_sliding_bytes(geometry, config)
    assert held(found, LedgerEntry.PROJECTOR) == STEP.projector_bytes * config.projector
    assert sum(found.layers) == len(geometry.layers) + 1
    assert len(found.layers) == len(found.cards) == len(found.held) - 1
    assert held(found, LedgerEntry.MTP) == config.mtp * (
        STEP.mtp_bytes + kv_mtp_bytes(geometry, config)
    )
    if all(found.layers):
        seen = [i for i in found.held[0].items if i.item is LedgerEntry.PROJECTOR]
        assert bool(seen) == (config.projector and not offload.mmproj_on_cpu), (
            "on the engine's first"
        )
        heads = [i for i in found.held[-2].items if i.item is LedgerEntry.MTP]
        assert bool(heads) == config.mtp, "on the card of the last layer"
    assert sum(i.bytes for i in found.items) == sum(
        i.bytes for part in found.counted for i in part.items
    )
    assert set(found.counted) <= set(found.held)
    if found.fits:
        for part in found.held:
            assert sum(i.bytes for i in part.items) <= part.pool.limit_bytes


@pytest.mark.parametrize("gib", [16, 24, 31.8, 48, 80])
def test_no_more_experts_leave_the_card_than_must(gib: float) -> None:
    offload, config = Offload(experts_on_cpu=True), Config(32_768, projector=True)
    machine = pc([gib], 200)
    found = place(machine, STEP, IQ4_XS, config, CUDA, offload=offload)
    assert found.fits
    assert found.n_cpu_moe
    # With one layer's experts more on the card it would be too full.
    card, layout = found.held[0], IQ4_XS.layout
    assert layout is not None
    assert card.spare_bytes < layout.experts[found.n_cpu_moe - 1]


def test_a_good_quant_whole_on_the_cards_comes_before_a_better_one_in_parts() -> None:
    four = planned([31.84] * 4, 250)
    assert four.variant.name == "Q4_K_S"
    assert four.placement.n_cpu_moe == 0
    assert four.variant.quality >= GOOD_QUALITY


def test_one_card_beside_128_gb_is_a_128_gb_machine() -> None:
    plan = planned([31.84], 122)
    assert plan.fits
    assert plan.variant.name == "Q4_K_S"
    assert plan.config.context == 262_144
    layout = plan.variant.layout
    assert layout is not None
    read = sum(layout.experts[: plan.placement.n_cpu_moe]) * 8 // 288
    assert 0 < read <= RAM_BYTES_PER_TOKEN


def test_a_small_card_still_helps() -> None:
    plan = planned([8], 122)
    assert plan.fits
    assert plan.placement.mmproj_on_cpu
    assert plan.config.projector
    argv = launch(EngineFiles(MODEL, MODEL), plan.settings, LLAMA_SERVER).argv
    assert "--no-mmproj-offload" in argv


def test_without_room_anywhere_it_is_refused_with_what_is_missing_where() -> None:
    plan = planned([24], 30)
    assert not plan.fits
    assert "main memory" in plan.reasons[0]
    assert plan.total_bytes > plan.limit_bytes


def test_paging_beside_a_card_leaves_the_experts_on_the_disk() -> None:
    plan = planned([24], 30, allow_paging=True)
    assert plan.fits
    assert plan.paged
    assert plan.settings.gpu_layers >= 46
    assert plan.settings.load_mode == "mmap"


def test_the_launch_line_says_what_was_planned() -> None:
    plan = planned([31.84, 95.6], 60)
    argv = words(plan, EngineFiles(MODEL))
    assert argv["--tensor-split"] == ",".join(map(str, plan.placement.layers))
    assert argv["--split-mode"] == "layer"
    env = dict(launch(EngineFiles(MODEL), plan.settings, LLAMA_SERVER).env)
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-0", "the largest first"
    one = planned([31.84], 122)
    argv = words(one, EngineFiles(MODEL))
    assert argv["--n-cpu-moe"] == str(one.placement.n_cpu_moe)
    assert "--tensor-split" not in argv


def test_cards_without_names_of_their_own_are_told_by_their_slots() -> None:
    """CUDA would put the fastest first, and the layers on the wrong cards."""
    machine = pc([31.84] * 4, 100)
    devices = tuple(replace(d, uuid="", index=3 - n) for n, d in enumerate(machine.devices))
    plan = choose(replace(machine, devices=devices), STEP, PlanRequest(), CUDA)
    env = dict(launch(EngineFiles(MODEL), plan.settings, LLAMA_SERVER).env)
    assert env == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "3,2,1,0"}


def test_an_engine_that_named_its_cards_is_told_by_those_names() -> None:
    machine = named(pc([31.84, 95.6], 60), "Vulkan{}")
    for defaults in (CUDA, VULKAN):
        plan = choose(machine, STEP, PlanRequest(), defaults)
        assert words(plan, EngineFiles(MODEL))["--device"] == "Vulkan1,Vulkan0", "the largest first"
        assert not plan.settings.env


def test_a_variable_is_only_for_the_backend_that_reads_it() -> None:
    plan = choose(pc([31.84, 95.6], 60), STEP, PlanRequest(), VULKAN)
    assert plan.placement.cards == (0, 1), "as the engine counts them"
    assert not plan.settings.env
    assert not plan.settings.devices


def test_an_engine_on_the_processor_is_told_of_no_card() -> None:
    machine = on_processor(named(pc([31.84], 122), "CUDA{}"))
    assert not choose(
        machine, STEP, PlanRequest(), recipe.load_recipe(machine.backend).run
    ).settings.devices


def test_cards_that_cannot_be_told_apart_are_not_named() -> None:
    two = pc([31.84, 95.6], 60)
    for machine in (named(two, uuid="GPU-x"), named(two, index=0)):
        plan = choose(machine, STEP, PlanRequest(), CUDA)
        assert plan.placement.cards == (0, 1)
        assert not plan.settings.env


def test_draft_heads_of_their_own_are_kept_to_the_last_card() -> None:
    files, fast = EngineFiles(MODEL, mtp=MODEL), PlanRequest(profile=Profile.FAST)
    four = choose(pc([31.84] * 4, 100), STEP, fast, CUDA)
    assert words(four, files)["--spec-draft-device"] == "CUDA3", "as they are counted anew"
    two = choose(named(pc([31.84, 95.6], 60), "ROCm{}"), STEP, fast, CUDA)
    assert words(two, files)["--spec-draft-device"] == "ROCm0", "the smaller is the last"
    older = LLAMA_SERVER - {"--spec-draft-device"}
    assert "--spec-draft-device" not in words(four, files, older)
    assert "--spec-draft-device" not in words(four, EngineFiles(MODEL)), "inside the main file"
    one = choose(pc([31.84], 122), STEP, fast, CUDA)
    assert one.config.mtp
    assert "--spec-draft-device" not in words(one, files), "there is no other"


def test_layers_go_where_llama_cpp_would_put_them() -> None:
    """The engine divides running sums of --tensor-split, and looks up each layer among them."""
    import struct
    from bisect import bisect_right

    def single(value: float) -> float:  # the engine's arithmetic is in 32 bits
        return float(struct.unpack("f", struct.pack("f", value))[0])

    for cards in ([31.84] * 4, [24, 31.84, 48, 12, 31.84], [95.6, 31.84]):
        counts = planned(list(cards), 100, quant="IQ3_XXS").placement.layers
        whole = sum(counts)
        ends = [single(sum(counts[: n + 1]) / whole) for n in range(len(counts))]
        for card, count in enumerate(counts):
            first = sum(counts[:card])
            for layer in range(first, first + count):
                assert bisect_right(ends, single(layer / whole)) == card


def test_main_memory_of_unknown_size_does_not_stop_what_lies_on_the_cards() -> None:
    machine = replace(pc([48] * 4, 100), available_bytes=None)
    assert choose(machine, STEP, PlanRequest(), CUDA).variant.name == "UD-Q6_K"
    one = replace(pc([24], 200), available_bytes=None)
    assert not choose(one, STEP, PlanRequest(), CUDA).fits, (
        "experts cannot go where nothing is known"
    )


def test_a_card_without_layers_holds_nothing_and_is_not_shown_to_the_engine() -> None:
    plan = planned([9.5, 32, 32], 110, quant="IQ3_XXS", context=32_768)
    assert plan.fits
    names = [part.pool.name for part in plan.placement.held[:-1]]
    used = [f"GPU-{card}" for card in plan.placement.cards]
    assert dict(launch(EngineFiles(MODEL), plan.settings, LLAMA_SERVER).env)[
        "CUDA_VISIBLE_DEVICES"
    ] == ",".join(used)
    assert len(used) == len(plan.settings.layers) == len(names)
    assert all(plan.settings.layers)


def test_a_card_of_unknown_size_does_not_refuse_for_the_others() -> None:
    machine = pc([32, 32], 122)
    sliced = replace(machine.devices[0], memory_bytes=None)
    found = choose(
        replace(machine, devices=(sliced, machine.devices[1])), STEP, PlanRequest(), CUDA
    )
    assert found.fits
    assert found.placement.cards == (1,)


def test_where_the_engine_cannot_be_told_it_gets_a_share_for_every_card() -> None:
    """Else it would give the counts to the wrong cards."""
    machine = pc([7, 96, 96], 122)
    devices = tuple(replace(d, uuid="", index=None) for d in machine.devices)
    plan = choose(replace(machine, devices=devices), STEP, PlanRequest(), CUDA)
    assert plan.fits
    assert len(plan.settings.layers) == 3
    assert not launch(EngineFiles(MODEL), plan.settings, LLAMA_SERVER).env


def test_the_order_in_which_cards_are_plugged_in_changes_nothing() -> None:
    one, other = planned([8, 16], 122), planned([16, 8], 122)
    assert one.config == other.config
    assert one.placement.layers == other.placement.layers


def test_heads_inside_the_main_file_are_layers_of_the_last_card() -> None:
    inside = replace(STEP, mtp_inside=True)
    plan = choose(pc([48] * 4, 100), inside, PlanRequest(), CUDA)
    assert sum(plan.settings.layers) == sum(plan.placement.layers) + 3


def test_an_embedding_that_is_also_the_output_is_there_twice() -> None:
    assert IQ4_XS.layout is not None
    tied = replace(IQ4_XS, layout=replace(IQ4_XS.layout, tied=True))
    config = Config(32_768)
    two = [place(pc([200], 100), STEP, v, config, CUDA) for v in (IQ4_XS, tied)]
    more = held(two[1], LedgerEntry.WEIGHTS) - held(two[0], LedgerEntry.WEIGHTS)
    assert more == IQ4_XS.layout.input


def test_a_quantised_cache_is_not_always_the_least() -> None:
    """It saves on a card's own layers, and costs each card a copy of a whole one."""
    machine = pc([11.235] * 12, 6)
    exact, rounded = (
        choose(machine, STEP, PlanRequest(quant="IQ4_XS", context=65_536, kv_type=kv_type), CUDA)
        for kv_type in ("f16", "q8_0")
    )
    assert exact.fits
    assert exact.placement.n_cpu_moe == 0
    assert not rounded.fits
    either = choose(machine, STEP, PlanRequest(quant="IQ4_XS", context=65_536), CUDA)
    assert either.config == exact.config


# The engine's own account (MiB, rounded down: model, context, compute; main memory last) of the
# full-size twin on four or two devices: llama-server of llama-cpp-python 0.3.36 with `--fit on`,
# and as many ggml-rpc-server processes for cards.
ACCOUNTS = [
    (
        [31.84] * 4,
        Config(131_072, "q8_0", 512, checkpoints=0),
        Offload(),
        (13, 11, 11, 11),
        [(23946, 1107, 704), (25965, 563, 736), (25948, 833, 736), (23997, 830, 736)],
        267,
    ),
    (
        [31.84] * 4,
        Config(32_768, "f16", 2048, checkpoints=0),
        Offload(),
        (13, 11, 11, 11),
        [(23946, 602, 1304), (25965, 346, 1432), (25948, 464, 1432), (23997, 454, 1432)],
        267,
    ),
    (
        [12, 12],
        Config(65_536, "q8_0", 1024, checkpoints=0),
        Offload(experts_on_cpu=True),
        (41, 5),
        [(7386, 1591, 411), (9850, 145, 414)],
        82_887,
    ),
    (
        [24],
        Config(65_536, "q8_0", 1024, checkpoints=0),
        Offload(experts_on_cpu=True),
        (46,),
        [(19_532, 1737, 414)],
        80_592,
    ),
]


@pytest.mark.parametrize("account", ACCOUNTS)
def test_each_device_holds_what_the_engine_says(
    account: tuple[list[float], Config, Offload, tuple[int, ...], list[tuple[int, int, int]], int],
) -> None:
    cards, config, offload, layers, told, in_ram = account
    machine = replace(pc(cards, 200), reserve_bytes=0)
    bare = replace(CUDA, costs=Costs(0, 0, staging=True))
    found = place(machine, STEP, IQ4_XS, config, bare, offload=offload)
    assert found.layers == layers

    def mib(part: PoolUse, *entries: LedgerEntry) -> float:
        return sum(i.bytes for i in part.items if i.item in entries) / MIB

    for part, (model, context, compute) in zip(found.held, told, strict=False):
        assert 0 <= mib(part, LedgerEntry.WEIGHTS) - model < 2
        assert 0 <= mib(part, LedgerEntry.KV_FULL, LedgerEntry.KV_SLIDING) - context < 2
        # An RPC device copies no experts to itself, as a real card would.
        assert mib(part, LedgerEntry.COMPUTE) >= compute
        assert offload.experts_on_cpu or mib(part, LedgerEntry.COMPUTE) - compute < 2
    assert 0 <= mib(found.held[-1], LedgerEntry.WEIGHTS) - in_ram < 2


@pytest.mark.parametrize(
    ("ubatch", "context", "scratch", "staged"), [(512, 12, 83, 17), (2048, 30, 338, 74)]
)
def test_draft_heads_lie_where_the_engine_says(
    ubatch: int, context: int, scratch: int, staged: int
) -> None:
    """Its account of the twin's, on the last of four: 2995 MiB, and 534 in main memory."""
    machine, offload = replace(pc([48] * 4, 200), reserve_bytes=0), Offload()
    bare = replace(CUDA, costs=Costs(0, 0, staging=True))
    without, found = (
        place(machine, STEP, IQ4_XS, Config(32_768, "f16", ubatch, mtp=mtp), bare, offload=offload)
        for mtp in (False, True)
    )

    def more(entry: LedgerEntry) -> list[float]:
        sums = [
            [sum(i.bytes for i in part.items if i.item is entry) / MIB for part in plan.held]
            for plan in (without, found)
        ]
        return [now - before for before, now in zip(*sums, strict=True)]

    # The real file's header and vocabulary take 5 MiB more.
    heads, computing = more(LedgerEntry.MTP), more(LedgerEntry.COMPUTE)
    assert heads[:3] == computing[:3] == [0, 0, 0]
    assert 0 <= heads[3] - 2995 - context < 7
    assert 0 <= heads[4] - 534 < 1
    assert 0 <= computing[3] - scratch < 1
    assert 0 <= computing[4] - staged < 1
