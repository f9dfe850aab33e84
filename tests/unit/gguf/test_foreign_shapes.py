"""Shapes of other people's models: which layers have a cache, which a state, and what is unsure."""

from typing import Any

import pytest

from runner.base.errors import BadFile
from runner.catalog.model import Geometry
from runner.gguf import architectures, header
from runner.plan.memory.compute_buffers import Costs, compute_bytes, overhead_bytes
from runner.plan.memory.kv_cache import (
    Config,
    checkpoint_bytes,
    kv_full_bytes,
    kv_sliding_bytes,
    kv_state_bytes,
    layer_bytes,
)
from tests.unit.gguf.test_header import (
    BOOL,
    I32,
    STRING,
    U32,
    entry,
    gguf,
    keys,
    parse,
    shape_of,
    tensor,
)

MIB = 2**20
SSM: dict[str, Any] = {
    "ssm__conv_kernel": (U32, 4),
    "ssm__inner_size": (U32, 6144),
    "ssm__state_size": (U32, 128),
    "ssm__group_count": (U32, 16),
    "ssm__time_step_rank": (U32, 48),
}


def caches(shape: Geometry) -> str:
    """Return a letter for each layer: Full, sliding, recurrent, Both, or - for none."""
    kinds = []
    for layer in shape.layers:
        if layer.state_bytes:
            kinds.append("B" if layer.kv_heads else "r")
        else:
            kinds.append("s" if layer.sliding else "F" if layer.full else "-")
    return "".join(kinds)


def test_a_hybrid_by_interval():
    # Qwen3.6-27B: the engine's log says 16 layers, 16384 MiB at 262144, and 149.62 MiB of state.
    heads = {"attention__head_count": (U32, 24), "attention__head_count_kv": (U32, 4)}
    sizes = {"attention__key_length": (U32, 256), "attention__value_length": (U32, 256)}
    wide = {"embedding_length": (U32, 5120), "context_length": (U32, 262_144)}
    shape = shape_of("qwen35", block_count=(U32, 64), **heads, **sizes, **wide, **SSM)
    assert caches(shape) == "rrrF" * 16
    config = Config(262_144)
    assert kv_full_bytes(shape, config) == 16_384 * MIB
    assert round(kv_state_bytes(shape, config) / MIB, 2) == 149.62
    assert kv_state_bytes(shape, Config(4096, parallel=3)) == 3 * kv_state_bytes(shape, config)
    assert kv_state_bytes(shape, Config(4096, mtp=True)) == 3 * kv_state_bytes(shape, config)
    assert checkpoint_bytes(shape, config) == kv_state_bytes(shape, config)
    assert shape.unverified == ()
    other = shape_of("qwen3next", **SSM, full_attention_interval=(U32, 3))
    assert caches(other) == "rrFrrF"
    flags = shape_of("qwen35", **SSM, attention__recurrent_layers=(BOOL, [True, False] * 3))
    assert caches(flags) == "rFrFrF"


def test_hybrids_by_heads():
    some = (I32, [0, 0, 4, 0, 0, 4])
    jamba = shape_of("jamba", **SSM, attention__head_count_kv=some)
    assert caches(jamba) == caches(shape_of("granitehybrid", **SSM, attention__head_count_kv=some))
    assert caches(jamba) == "rrFrrF"
    ffn = (I32, [0, 99, 0, 99, 0, 0])
    nemotron = shape_of("nemotron_h", **SSM, attention__head_count_kv=some, feed_forward_length=ffn)
    assert caches(nemotron) == "r-F-rF"
    lfm2 = shape_of("lfm2", attention__head_count_kv=some, shortconv__l_cache=(U32, 3))
    assert caches(lfm2) == "rrFrrF"
    assert lfm2.layers[0].state_bytes == 4 * 576 * 2
    assert caches(shape_of("falcon-h1", **SSM)) == "BBBBBB"
    kimi = shape_of(
        "kimi-linear",
        attention__head_count_kv=some,
        kda__head_dim=(U32, 64),
        ssm__conv_kernel=(U32, 4),
        attention__key_length=(U32, 192),
        attention__value_length=(U32, 128),
        attention__key_length_mla=(U32, 96),
        attention__value_length_mla=(U32, 64),
    )
    assert caches(kimi) == "rrFrrF"
    assert kimi.layers[0].state_bytes == 4 * (3 * 3 * 9 * 64 + 64 * 64 * 9)
    assert kimi.layers[2].value_length == 0


def test_models_without_attention():
    mamba = shape_of("mamba", attention__head_count=(U32, 0), **SSM)
    assert caches(mamba) == "rrrrrr"
    rwkv = shape_of("rwkv7", attention__head_count=None, wkv__head_size=(U32, 64))
    assert rwkv.layers[0].state_bytes == 4 * (2 * 576 + 576 * 64)
    for shape in (mamba, rwkv):
        for kv_type in ("f16", "q8_0"):  # no layer has a head to divide by
            config = Config(8192, kv_type)
            assert kv_full_bytes(shape, config) == kv_sliding_bytes(shape, config) == 0
            assert compute_bytes(shape, config, Costs(kv_copy="always")) > 0
            assert overhead_bytes(shape, config, Costs()) > 0
    with pytest.raises(BadFile, match="recurrent state is missing"):
        shape_of("mamba", attention__head_count=(U32, 0))


def test_an_unknown_hybrid_takes_the_larger_reading():
    unknown = shape_of("newer", **SSM)
    assert caches(unknown) == "BBBBBB"
    assert unknown.unverified
    told = shape_of("newer", **SSM, full_attention_interval=(U32, 2))
    assert caches(told) == "rFrFrF"
    assert "not been verified" in told.unverified[0]


LATENT: dict[str, Any] = {
    "attention__head_count_kv": (U32, 1),
    "attention__key_length": (U32, 576),
    "attention__value_length": (U32, 512),
    "attention__kv_lora_rank": (U32, 512),
}
MLA: dict[str, Any] = {
    "attention__key_length_mla": (U32, 192),
    "attention__value_length_mla": (U32, 128),
}


def test_latent_attention_keeps_keys_only():
    new = shape_of("deepseek2", **LATENT, **MLA)
    assert {layer_bytes(layer, "f16") for layer in new.layers} == {2 * 576}
    assert new.unverified == ()
    old = shape_of("deepseek2", **LATENT)  # a file from before: keys and values in full
    assert {layer_bytes(layer, "f16") for layer in old.layers} == {2 * (576 + 512)}
    unknown = shape_of("newer", **LATENT, **MLA)
    assert layer_bytes(unknown.layers[0], "f16") == 2 * (576 + 512)
    sparse = shape_of("deepseek32", **LATENT, **MLA, attention__indexer__key_length=(U32, 128))
    assert layer_bytes(sparse.layers[0], "f16") == 2 * (576 + 128)
    config = Config(8192)
    assert compute_bytes(new, config) > compute_bytes(unknown, config)  # wider queries


def test_sliding_models_that_leave_all_to_the_engine():
    window = {"attention__sliding_window": (U32, 1024)}
    assert caches(shape_of("cohere2moe", **window)) == "FsssFs"
    assert caches(shape_of("olmo2", **window)) == "sssFss"
    assert caches(shape_of("phi3", **window)) == "FFFFFF"  # the engine does not use it
    gemma2 = shape_of("gemma2")
    assert (caches(gemma2), gemma2.sliding_window) == ("sFsFsF", 4096)
    llama4 = shape_of("llama4", **window)
    assert (caches(llama4), llama4.sliding_window) == ("sssFss", 8192)
    assert caches(shape_of("llama4", attention__sliding_window=(U32, 0))) == "FFFFFF"
    assert caches(shape_of("exaone4", **window)) == "FFFFFF"
    large = shape_of("exaone4", block_count=(U32, 64))
    assert (caches(large), large.sliding_window) == ("sssF" * 16, 4096)


def test_layers_that_share_a_cache():
    window = {"attention__sliding_window": (U32, 512), "block_count": (U32, 30)}
    assert caches(shape_of("gemma3n", **window)) == "ssssF" * 4 + "-" * 10
    flags = (BOOL, [True, False] * 3)
    gemma4 = shape_of(
        "gemma4",
        attention__sliding_window=(U32, 512),
        attention__sliding_window_pattern=flags,
        attention__shared_kv_layers=(U32, 2),
    )
    assert caches(gemma4) == "sFsF--"
    with pytest.raises(BadFile, match="shared_kv_layers"):
        shape_of("gemma4", attention__shared_kv_layers=(U32, 6))


def test_promised_heads_that_are_not_there():
    own = keys("glm4moe", nextn_predict_layers=(U32, 1))
    rows = [tensor(f"blk.{i}.attn_q.weight", (8,), 0, 32 * i) for i in range(6)]
    shape = header.geometry(parse(gguf(own, rows, 192)))
    assert (len(shape.layers), len(shape.mtp_layers)) == (6, 0)
    rows.append(tensor("blk.5.nextn.eh_proj.weight", (8,), 0, 192))
    made = parse(gguf(own, rows, 224))
    shape = header.geometry(made)
    assert (len(shape.layers), len(shape.mtp_layers)) == (5, 1)
    assert header.weights_bytes([made]).mtp == 64
    stripped = header.geometry(parse(gguf(own, rows[:5], 160)))  # their layer is not there either
    assert (len(stripped.layers), len(stripped.mtp_layers)) == (5, 0)
    told = {"split.no": 0, "split.count": 2, "split.tensors.count": 7}
    split = [entry(key, I32, value) for key, value in told.items()]
    first = parse(gguf([*own, *split]))  # where its tensors are, the other part says
    assert len(header.geometry(first).mtp_layers) == 1
    last = parse(gguf([entry("split.no", I32, 1), *split[1:]], rows[:6], 192))
    assert len(header.geometry(first, last).mtp_layers) == 0


def test_a_model_that_shares_the_name_of_ours_only():
    assert shape_of("step35").unverified == ()
    many = shape_of("step35", block_count=(U32, 92))
    assert many.unverified == (
        "This engine has not been verified with this model: it has 92 layers and 0 experts, not 45"
        " and 288.",
    )
    for row in ("blk.3.indexer.attn_k.weight", "blk.3.attn_ssmax.weight"):
        made = parse(gguf(keys("step35"), [tensor(row, (8,), 0)], 32))
        assert "not been verified" in header.geometry(made).unverified[0]
    own = parse(gguf(keys("step35"), [tensor("blk.3.attn_gate.weight", (8,), 0)], 32))
    assert header.geometry(own).unverified == ()
    ssmax = shape_of("step35", attention__ssmax=(BOOL, [True] * 6))
    assert ssmax.unverified


@pytest.mark.parametrize(
    ("arch", "changes", "name"),
    [
        ("qwen35", {"full_attention_interval": (U32, 0)}, "full_attention_interval"),
        ("qwen35", {"full_attention_interval": (I32, -4)}, "full_attention_interval"),
        ("qwen35", {"attention__recurrent_layers": (BOOL, [True] * 5)}, "recurrent_layers"),
        ("qwen35", {"ssm__inner_size": (I32, -1)}, "ssm.inner_size"),
        ("mamba", {"ssm__state_size": (U32, 1 << 31)}, "ssm.state_size"),
        ("lfm2", {"shortconv__l_cache": (I32, -3)}, "shortconv.l_cache"),
        ("rwkv6", {"wkv__head_size": (STRING, "64")}, "wkv.head_size"),
        ("deepseek2", {"attention__key_length_mla": (I32, -1)}, "key_length_mla"),
        ("jamba", {"attention__head_count_kv": (I32, [0] * 5)}, "head_count_kv"),
    ],
)
def test_impossible_states_are_refused_by_key(arch, changes, name):
    with pytest.raises(BadFile) as caught:
        shape_of(arch, **changes)
    assert name in caught.value.why


def test_the_table_is_in_step_with_itself():
    table = architectures.table()
    known = set(table.known.split())
    for names in (table.recurrent, table.interval, table.sliding, table.own_cache, table.verified):
        assert set(names) <= known
    assert set(table.latent.split()) | set(table.approximate.split()) <= known
    hybrids = {arch for arch, rule in table.recurrent.items() if rule == "interval"}
    assert hybrids == set(table.interval)
