"""The ledger: caches to the byte, and nothing forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import catalog
from runner.plan.cache import MIB, Config, kv_full_bytes, kv_mtp_bytes, kv_sliding_bytes
from runner.plan.ledger import Entry, ledger, total
from runner.plan.scratch import Costs, compute_bytes, compute_mtp_bytes
from runner.plan.subject import from_model

STEP = catalog.load().models[0]
SMOL = catalog.load().demo
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


def test_the_draft_heads_cache_and_scratch() -> None:
    config = Config(131_072, "q8_0")
    assert kv_mtp_bytes(G, config) / MIB == 12.00
    logits = 4 * G.vocab_size
    assert round((compute_mtp_bytes(G, config) - logits) / MIB, 2) == pytest.approx(83.01, abs=0.02)


def test_scratch_memory_of_the_full_size_model() -> None:
    seen = 301.03  # MiB, xllamacpp 11549, 131,072 tokens, 512 at a time
    logits = 4 * G.vocab_size
    assert (compute_bytes(G, Config(131_072)) - logits) / MIB == pytest.approx(seen, abs=0.05)


# Compute buffers in MiB that xllamacpp 11549 printed for SmolLM2: (micro-batch, context, slots).
@pytest.mark.parametrize(
    ("ubatch", "context", "seen"),
    [
        (128, 2048, 4.16),
        (128, 8192, 5.66),
        (512, 2048, 16.64),
        (512, 8192, 22.64),
        (2048, 2048, 66.57),
        (2048, 8192, 90.57),
    ],
)
def test_scratch_memory_of_a_dense_model(ubatch: int, context: int, seen: float) -> None:
    assert SMOL.geometry is not None
    told = compute_bytes(SMOL.geometry, Config(context, ubatch=ubatch)) / MIB
    assert seen < told < seen * 1.06 + 0.3


def test_slots_multiply_the_caches() -> None:
    one, four = Config(32_768), Config(32_768, parallel=4)
    assert kv_full_bytes(G, four) == 4 * kv_full_bytes(G, one)
    assert kv_sliding_bytes(G, four) == 4 * kv_sliding_bytes(G, one)


def test_a_short_context_bounds_the_sliding_cache() -> None:
    assert kv_sliding_bytes(G, Config(256)) == 33 * 256 * 4096


def test_every_item_has_a_reason_and_the_sum_is_the_sum() -> None:
    subject = from_model(STEP)
    assert subject is not None
    config = Config(65_536, projector=True, mtp=True, cache_ram_mib=2048)
    items = ledger(subject, subject.variants[0], config, Costs())
    assert {item.item for item in items} == set(Entry) - {Entry.RESERVE}
    assert all(item.why and item.bytes > 0 for item in items)
    assert total(items) == sum(item.bytes for item in items)


def test_a_model_without_sliding_layers_has_no_such_lines() -> None:
    subject = from_model(SMOL)
    assert subject is not None
    items = {i.item: i.bytes for i in ledger(subject, subject.variants[0], Config(4096), Costs())}
    assert items[Entry.KV_FULL] == 90 * MIB  # the engine's log: 90.00 MiB
    assert not {Entry.KV_SLIDING, Entry.CHECKPOINTS, Entry.PROJECTOR, Entry.MTP} & set(items)


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
    from dataclasses import replace

    subject = from_model(STEP)
    assert subject is not None
    variant = subject.variants[0]
    longer = replace(config, context=config.context + 256)
    assert total(ledger(subject, variant, longer, Costs())) > total(
        ledger(subject, variant, config, Costs())
    )
