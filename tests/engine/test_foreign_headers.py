"""The caches of other people's models: what the ledger reads in a header, and the engine's log.

Small files of five kinds of architecture, whose weights are zeros; nothing is asked of them.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType, GGUFValueType

from runner.engine.installed.store import embedded
from runner.engine.process.flags import FLAGS
from runner.engine.process.guarded import Guarded
from runner.plan.launch import EngineFiles, Settings, launch
from runner.plan.memory.compute_buffers import compute_bytes
from runner.plan.memory.kv_cache import (
    Config,
    kv_full_bytes,
    kv_sliding_bytes,
    kv_state_bytes,
)
from runner.testbed import metadata, tiny_step
from runner.testbed.files import write_weights
from runner.testbed.geometry import Tensor
from runner.weights import model_headers

pytestmark = pytest.mark.engine

WIDTH, FFN = 256, 512
VOCABULARY = len(tiny_step.WORDS.tokens)
Shapes = dict[str, tuple[int, ...]]

_SIZE = re.compile(r"(?:llama_kv_cache|llama_memory_recurrent): size =\s*([\d.]+) MiB")
_SCRATCH = re.compile(r"compute buffer size =\s*([\d.]+) MiB")


def attention(layer: int, heads: int, kv_heads: int, head: int, *, gated: bool = False) -> Shapes:
    names = {
        "attn_q.weight": (WIDTH, heads * head * (1 + gated)),
        "attn_k.weight": (WIDTH, kv_heads * head),
        "attn_v.weight": (WIDTH, kv_heads * head),
        "attn_output.weight": (heads * head, WIDTH),
        "attn_q_norm.weight": (head,),
        "attn_k_norm.weight": (head,),
    }
    return {f"blk.{layer}.{name}": shape for name, shape in names.items()}


def feed_forward(layer: int, norm: str = "ffn_norm") -> Shapes:
    return {
        f"blk.{layer}.attn_norm.weight": (WIDTH,),
        f"blk.{layer}.{norm}.weight": (WIDTH,),
        f"blk.{layer}.ffn_gate.weight": (WIDTH, FFN),
        f"blk.{layer}.ffn_up.weight": (WIDTH, FFN),
        f"blk.{layer}.ffn_down.weight": (FFN, WIDTH),
    }


def dense() -> tuple[str, dict[str, Any], Shapes]:
    shapes: Shapes = {}
    for i in range(3):
        shapes |= attention(i, 4, 2, 64) | feed_forward(i)
    keys = {"attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 64}
    return "qwen3", {"block_count": 3, "attention.value_length": 64, **keys}, shapes


def sliding() -> tuple[str, dict[str, Any], Shapes]:
    shapes: Shapes = {}
    for i in range(7):
        shapes |= attention(i, 4, 1, 64) | feed_forward(i)
        shapes |= {f"blk.{i}.post_{name}_norm.weight": (WIDTH,) for name in ("attention", "ffw")}
    keys = {"attention.head_count": 4, "attention.head_count_kv": 1, "attention.key_length": 64}
    window = {"attention.sliding_window": 512, "attention.value_length": 64}
    return "gemma3", {"block_count": 7, **keys, **window}, shapes


def latent() -> tuple[str, dict[str, Any], Shapes]:
    heads, rank, rope, head = 4, 128, 64, 128
    shapes: Shapes = {}
    for i in range(3):
        own = {
            "attn_q_a_norm.weight": (64,),
            "attn_kv_a_norm.weight": (rank,),
            "attn_q_a.weight": (WIDTH, 64),
            "attn_q_b.weight": (64, heads * head),
            "attn_kv_a_mqa.weight": (WIDTH, rank + rope),
            "attn_k_b.weight": (head - rope, rank, heads),
            "attn_v_b.weight": (rank, head, heads),
            "attn_output.weight": (heads * head, WIDTH),
        }
        shapes |= {f"blk.{i}.{name}": shape for name, shape in own.items()} | feed_forward(i)
    keys = {
        "block_count": 3,
        "leading_dense_block_count": 3,
        "attention.head_count": heads,
        "attention.head_count_kv": 1,
        "attention.key_length": rank + rope,
        "attention.value_length": rank,
        "attention.key_length_mla": head,
        "attention.value_length_mla": head,
        "attention.kv_lora_rank": rank,
        "attention.q_lora_rank": 64,
        "rope.dimension_count": rope,
        "expert_count": 2,
        "expert_used_count": 1,
        "expert_feed_forward_length": 64,
        "expert_shared_count": 1,
    }
    return "deepseek2", keys, shapes


def recurrent() -> tuple[str, dict[str, Any], Shapes]:
    inner, state, rank, kernel = 2 * WIDTH, 16, 16, 4
    shapes: Shapes = {}
    for i in range(3):
        own = {
            "attn_norm.weight": (WIDTH,),
            "ssm_in.weight": (WIDTH, 2 * inner),
            "ssm_conv1d.weight": (kernel, inner),
            "ssm_conv1d.bias": (inner,),
            "ssm_x.weight": (inner, rank + 2 * state),
            "ssm_dt.weight": (rank, inner),
            "ssm_dt.bias": (inner,),
            "ssm_a": (state, inner),
            "ssm_d": (inner,),
            "ssm_out.weight": (inner, WIDTH),
        }
        shapes |= {f"blk.{i}.{name}": shape for name, shape in own.items()}
    keys = {
        "block_count": 3,
        "attention.head_count": 0,
        "feed_forward_length": 0,
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": rank,
    }
    return "mamba", keys, shapes


def hybrid() -> tuple[str, dict[str, Any], Shapes]:
    state, groups, rank, kernel = 128, 2, 4, 4
    keys_wide, inner = state * groups, state * rank
    shapes: Shapes = {}
    for i in range(8):
        shapes |= feed_forward(i, "post_attention_norm")
        if i % 4 == 3:
            shapes |= attention(i, 4, 2, 64, gated=True)
            continue
        own = {
            "attn_qkv.weight": (WIDTH, 2 * keys_wide + inner),
            "attn_gate.weight": (WIDTH, inner),
            "ssm_conv1d.weight": (kernel, 2 * keys_wide + inner),
            "ssm_dt.bias": (rank,),
            "ssm_a": (rank,),
            "ssm_beta.weight": (WIDTH, rank),
            "ssm_alpha.weight": (WIDTH, rank),
            "ssm_norm.weight": (state,),
            "ssm_out.weight": (inner, WIDTH),
        }
        shapes |= {f"blk.{i}.{name}": shape for name, shape in own.items()}
    keys = {
        "block_count": 8,
        "full_attention_interval": 4,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 64,
        "attention.value_length": 64,
        "rope.dimension_sections": [8, 12, 12, 0],
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.group_count": groups,
        "ssm.time_step_rank": rank,
    }
    return "qwen35", keys, shapes


def short_convolutions() -> tuple[str, dict[str, Any], Shapes]:
    shapes: Shapes = {"token_embd_norm.weight": (WIDTH,)}
    for i in range(4):
        shapes |= feed_forward(i)
        if i % 2:
            shapes |= attention(i, 4, 2, 64)
            continue
        own = {
            "shortconv.conv.weight": (3, WIDTH),
            "shortconv.in_proj.weight": (WIDTH, 3 * WIDTH),
            "shortconv.out_proj.weight": (WIDTH, WIDTH),
        }
        shapes |= {f"blk.{i}.{name}": shape for name, shape in own.items()}
    keys = {"attention.head_count": 4, "attention.head_count_kv": [0, 2, 0, 2]}
    return "lfm2", {"block_count": 4, "shortconv.l_cache": 3, **keys}, shapes


def written(folder: Path, arch: str, keys: dict[str, Any], shapes: Shapes) -> Path:
    """Write a model of zeros with tiny Step's vocabulary."""
    usual = {"context_length": 65_536, "embedding_length": WIDTH, "feed_forward_length": FFN}
    entries = [metadata.MetadataEntry("general.type", "model", GGUFValueType.STRING)]
    for key, value in {**usual, **keys}.items():
        many = isinstance(value, list)
        kind = GGUFValueType.ARRAY if many else GGUFValueType.UINT32
        item = GGUFValueType.INT32 if many else None
        entries.append(metadata.MetadataEntry(f"{arch}.{key}", value, kind, item))
    norm = f"{arch}.attention.layer_norm_rms_epsilon"
    entries.append(metadata.MetadataEntry(norm, 1e-5, GGUFValueType.FLOAT32))
    entries += metadata.tokenizer(tiny_step.WORDS)
    rows = {
        "token_embd.weight": (WIDTH, VOCABULARY),
        **({} if arch == "lfm2" else {"output_norm.weight": (WIDTH,)}),
        "output.weight": (WIDTH, VOCABULARY),
        **shapes,
    }
    f32 = GGMLQuantizationType.F32
    tensors = (
        (Tensor(name, shape, f32), np.zeros(shape[::-1], np.float32))
        for name, shape in rows.items()
    )
    path = folder / f"{arch}.gguf"
    write_weights(path, arch, entries, tensors)
    return path


def log_lines(argv: tuple[str, ...], folder: Path) -> Iterator[str]:
    """Yield the engine's log until it listens, or ends."""
    words = [*embedded().program, *argv, "--port", "0", "--verbosity", "4"]
    with Guarded(words, folder / "log") as engine:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            ended = engine.status(0.1) is not None
            text = engine.log.tail(1 << 20)
            if ended or "listening" in text or _SCRATCH.search(text):  # the last of what is read
                break
        engine.stop(politely=False)
        yield from engine.log.tail(1 << 20).splitlines()


@pytest.mark.parametrize("kind", [dense, sliding, latent, recurrent, hybrid, short_convolutions])
@pytest.mark.parametrize(
    "config", [Config(32_768, "f16", 512), Config(16_384, "q8_0", 1024, 2)], ids=["f16", "q8_0x2"]
)
def test_caches_are_those_of_the_engine(kind: Any, config: Config, tmp_path: Path) -> None:
    path = written(tmp_path, *kind())
    model_spec, _ = model_headers.read_local(path, None, None, see=False)
    shape = model_spec.geometry
    assert shape.unverified == ()
    settings = Settings(
        context=config.context,
        kv_type=config.kv_type,
        ubatch=config.ubatch,
        parallel=config.parallel,
        checkpoints=0,
        cache_ram_mib=0,
        gpu_layers=0,
        threads=2,
        load_mode="mmap",
        repack=False,
    )
    argv = launch(EngineFiles(path, None, None), settings, frozenset(FLAGS)).argv
    lines = list(log_lines(argv, tmp_path))
    seen = sorted(float(found[1]) for line in lines if (found := _SIZE.search(line)))
    ours = [f(shape, config) for f in (kv_full_bytes, kv_sliding_bytes, kv_state_bytes)]
    told = sorted(round(size / 2**20, 2) for size in ours if size)
    assert seen == told, "\n".join(lines[-15:])
    (scratch,) = (float(found[1]) for line in lines if (found := _SCRATCH.search(line)))
    # Exact for what the formulas were made for; of the others never less than is taken.
    assert -0.02 <= compute_bytes(shape, config) / 2**20 - scratch <= scratch / 2
