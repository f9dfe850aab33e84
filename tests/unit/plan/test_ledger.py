"""The ledger: caches to the byte, and nothing forgotten."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base.units import MIB
from runner.catalog import models_toml
from runner.catalog.model import Layer
from runner.plan.memory.compute_buffers import (
    Costs,
    Vision,
    compute_bytes,
    compute_mtp_bytes,
    overhead_bytes,
    staging_bytes,
    vision_bytes,
)
from runner.plan.memory.kv_cache import (
    Config,
    checkpoint_bytes,
    full_cells,
    kv_full_bytes,
    kv_mtp_bytes,
    kv_sliding_bytes,
    sliding_cells,
)
from runner.plan.memory.ledger import LedgerEntry, ledger, total
from runner.plan.model_spec import from_model

STEP = models_toml.load_catalog().models[0]
SMOL = models_toml.load_catalog().demo
assert STEP.geometry is not None
assert SMOL.geometry is not None
G = STEP.geometry


# MiB as the engine's log prints them for the full-size model (model.md of the references; the
# f16 row was read again here from xllamacpp 11549 on the twin).
@pytest.mark.parametrize(
    ("config", "full", "sliding"),
    [
        (Config(262_144, "q8_0"), 6528.00, 70.125),
        (Config(131_072, "f16"), 6144.00, 132.00),
    ],
)
def test_caches_are_the_engines_own(config: Config, full: float, sliding: float) -> None:
    assert kv_full_bytes(G, config) / MIB == full
    assert kv_sliding_bytes(G, config) / MIB == sliding


def test_slots_that_share_a_cache_have_it_once() -> None:
    """The sliding layers keep each slot's window, and one micro-batch.

    Seen for tiny Step in q8_0, 4 slots and 8,192 tokens in all (llama-cpp-python 0.3.36's
    llama-server): 8,192 cells and 2,560 with --kv-unified, 4 x 2,048 and 4 x 1,024 without.
    """
    shared = Config(8192, "q8_0", ubatch=512, parallel=4, shared=True)
    apart = Config(2048, "q8_0", ubatch=512, parallel=4)
    assert (full_cells(shared), sliding_cells(G, shared)) == (8192, 2560)
    assert (full_cells(apart), sliding_cells(G, apart)) == (4 * 2048, 4 * 1024)


def test_the_draft_heads_cache_and_scratch() -> None:
    config = Config(131_072, "q8_0")
    assert kv_mtp_bytes(G, config) / MIB == 12.00
    assert f"{compute_mtp_bytes(G, config) / MIB:.2f}" == "83.01"


# Compute buffers as xllamacpp 11549 printed them.
@pytest.mark.parametrize(
    ("config", "seen"),
    [
        (Config(4096), "177.03"),
        (Config(131_072), "301.03"),
        (Config(131_072, parallel=4, mtp=True), "301.03"),
    ],
)
def test_scratch_memory_of_the_full_size_model(config: Config, seen: str) -> None:
    assert f"{compute_bytes(G, config) / MIB:.2f}" == seen


@pytest.mark.parametrize(
    ("ubatch", "context", "kv_type", "seen"),
    [
        (128, 2048, "f16", "4.16"),
        (128, 8192, "f16", "5.66"),
        (512, 2048, "f16", "16.64"),
        (512, 8192, "f16", "22.64"),
        (2048, 2048, "f16", "66.57"),
        (2048, 8192, "f16", "90.57"),
        (512, 4096, "q8_0", "18.67"),
        (2048, 8192, "q8_0", "90.60"),
    ],
)
def test_scratch_memory_of_a_dense_model(
    ubatch: int, context: int, kv_type: str, seen: str
) -> None:
    assert SMOL.geometry is not None
    told = compute_bytes(SMOL.geometry, Config(context, kv_type, ubatch)) / MIB
    assert f"{told:.2f}" == seen


# The same of tiny Step: only its first layer is a full one, and dense.
@pytest.mark.parametrize(
    ("config", "seen"),
    [
        (Config(4096), "11.53"),
        (Config(4096, ubatch=2048), "52.10"),
        (Config(32_768), "37.53"),
        (Config(32_768, "q8_0"), "37.68"),
        (Config(262_144, "q8_0", 2048), "1052.26"),
    ],
)
def test_scratch_memory_where_one_layer_needs_the_large_mask(config: Config, seen: str) -> None:
    layers = tuple(Layer(2, 128, 128, sliding=index > 0) for index in range(4))
    shape = replace(
        G,
        embedding_length=256,
        vocab_size=330,
        layers=layers,
        experts=16,
        feed_forward_length=512,
        expert_feed_forward_length=128,
    )
    assert f"{compute_bytes(shape, config) / MIB:.2f}" == seen


def test_scratch_memory_of_the_vision_tower() -> None:
    assert f"{vision_bytes() / MIB:.2f}" == "130.20"
    tiny = Vision(image=728, patch=14, width=64, feed_forward=128)
    assert f"{vision_bytes(tiny) / MIB:.2f}" == "9.12"


def test_an_accelerator_stages_its_inputs_and_copies_a_quantised_cache() -> None:
    config = Config(131_072, "q8_0")
    on_card = Costs(staging=True)
    stream = 4 * 512 * G.embedding_length
    masks = 2 * 512 * (131_072 + 1024)
    assert staging_bytes(G, config, Costs()) == 0
    assert 0 < staging_bytes(G, config, on_card) - masks - 3 * stream < MIB
    assert compute_bytes(G, config) - compute_bytes(G, config, on_card) == stream
    # One layer's keys and values: 8 heads of 128 each, f16, of every cell.
    copied = compute_bytes(G, config, Costs(staging=True, kv_copy="quantised"))
    layer = 2 * 8 * (128 + 128) * 131_072
    assert layer <= copied - masks < layer + 12 * stream
    f16 = Config(131_072, "f16")
    assert compute_bytes(G, f16, Costs(kv_copy="quantised")) == compute_bytes(G, f16)
    assert compute_bytes(G, f16, Costs(kv_copy="always")) > layer


def test_cards_that_take_turns_keep_their_inputs_four_times() -> None:
    config, costs = Config(131_072), Costs(staging=True)
    masks = 2 * 512 * (131_072 + 1024)
    more = compute_bytes(G, config, costs, 2) - compute_bytes(G, config, costs)
    assert 3 * masks < more < 3 * masks + 30 * MIB
    assert staging_bytes(G, config, costs, 2) == 4 * staging_bytes(G, config, costs)


def test_what_the_process_holds_grows_with_what_it_is_for() -> None:
    plain = overhead_bytes(G, Config(4096), Costs())
    assert overhead_bytes(G, Config(4096), Costs(overhead_mib=33)) == plain + MIB
    assert overhead_bytes(G, Config(4096), Costs(staging=True)) < plain
    for config in (
        Config(4096, parallel=2),
        Config(8192),
        Config(4096, mtp=True),
        Config(4096, projector=True),
    ):
        assert overhead_bytes(G, config, Costs()) > plain


def test_the_draft_heads_states_and_second_context_are_counted() -> None:
    """32 MiB of the trunk's last states for 2048 tokens, and 5 MiB for a context of their own."""
    tiny = replace(G, vocab_size=1, layers=G.layers[:1], mtp_layers=G.mtp_layers[:1], experts=0)
    card = Costs(staging=True)  # nothing is rounded on the processor
    trunk, heads = Config(256, ubatch=512), Config(256, ubatch=512, mtp=True)
    more = overhead_bytes(tiny, heads, card) - overhead_bytes(tiny, trunk, card)
    states = 4 * 4096 * 2048 + 5 * MIB
    handed_in = 3 * 4 * 4096 * 2048
    graph = 1024 * 3 * 417
    assert 0 < more - states - handed_in - graph < MIB / 2
    larger = overhead_bytes(tiny, replace(heads, ubatch=4096), card)
    assert larger - overhead_bytes(tiny, heads, card) == 2048 * 4096 * 4 * (1 + 3)


# As xllamacpp 11549 printed them for tiny Step.
@pytest.mark.parametrize(
    ("config", "seen"),
    [
        (Config(16_384), "1.506"),
        (Config(16_384, "q8_0", 2048), "0.803"),
        (Config(16_384, parallel=2, mtp=True), "3.012"),
    ],
)
def test_a_checkpoint_holds_the_window(config: Config, seen: str) -> None:
    layer = Layer(2, 128, 128, sliding=True)
    shape = replace(G, layers=(layer,) * 3, mtp_layers=(layer,) * 3)
    assert f"{checkpoint_bytes(shape, config) / MIB:.3f}" == seen


def test_slots_multiply_the_caches() -> None:
    one, four = Config(32_768), Config(32_768, parallel=4)
    assert kv_full_bytes(G, four) == 4 * kv_full_bytes(G, one)
    assert kv_sliding_bytes(G, four) == 4 * kv_sliding_bytes(G, one)


def test_a_short_context_bounds_the_sliding_cache() -> None:
    assert kv_sliding_bytes(G, Config(256)) == 33 * 256 * 4096


def test_every_item_has_a_reason_and_the_sum_is_the_sum() -> None:
    model_spec = from_model(STEP)
    assert model_spec is not None
    config = Config(65_536, projector=True, mtp=True, cache_ram_mib=2048)
    items = ledger(model_spec, model_spec.variants[0], config, Costs())
    assert {item.item for item in items} == set(LedgerEntry) - {
        LedgerEntry.RESERVE,
        LedgerEntry.KV_STATE,  # Step has none
        LedgerEntry.LESSON,  # nothing was learnt
    }
    assert all(item.why and item.bytes > 0 for item in items)
    assert total(items) == sum(item.bytes for item in items)


def test_a_model_without_sliding_layers_has_no_such_lines() -> None:
    model_spec = from_model(SMOL)
    assert model_spec is not None
    items = {
        i.item: i.bytes for i in ledger(model_spec, model_spec.variants[0], Config(4096), Costs())
    }
    assert items[LedgerEntry.KV_FULL] == 90 * MIB  # the engine's log: 90.00 MiB
    assert not {
        LedgerEntry.KV_SLIDING,
        LedgerEntry.CHECKPOINTS,
        LedgerEntry.PROJECTOR,
        LedgerEntry.MTP,
    } & set(items)


configs = st.builds(
    Config,
    context=st.integers(256, 262_144),
    kv_type=st.sampled_from(["f16", "q8_0"]),
    ubatch=st.sampled_from([32, 512, 2048]),
    parallel=st.integers(1, 8),
    projector=st.booleans(),
    mtp=st.booleans(),
)


@given(configs)
def test_more_context_never_takes_less(config: Config) -> None:
    model_spec = from_model(STEP)
    assert model_spec is not None
    variant = model_spec.variants[0]
    longer = replace(config, context=config.context + 256)
    assert total(ledger(model_spec, variant, longer, Costs())) > total(
        ledger(model_spec, variant, config, Costs())
    )
