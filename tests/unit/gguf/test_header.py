"""GGUF headers: sound ones are understood, any other is refused quickly, cheaply and by name."""

import contextlib
import io
import os
import struct
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.base.errors import BadFile, Exit
from runner.gguf import header
from runner.gguf.scan import TENSOR_TYPES

U8, I32, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 5, 4, 6, 7, 8, 9, 10
CODES = {U8: "B", I32: "i", U32: "I", F32: "f", BOOL: "?", U64: "Q"}


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, value: Any) -> bytes:
    """Return one key with its value; a list makes an array of `kind`."""
    head = string(key)
    if isinstance(value, list):
        head += struct.pack("<IIQ", ARRAY, kind, len(value))
        return head + b"".join(scalar(kind, item) for item in value)
    return head + struct.pack("<I", kind) + scalar(kind, value)


def scalar(kind: int, value: Any) -> bytes:
    return string(value) if kind == STRING else struct.pack("<" + CODES[kind], value)


def tensor(name: str, shape: Sequence[int] = (256, 2), kind: int = 23, offset: int = 0) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf(
    entries: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: int = 0,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """Return a file: the header as given, padding to 32 bytes, and `data` bytes of tensors."""
    count = counts or (len(tensors), len(entries))
    made = b"GGUF" + struct.pack("<IQQ", version, *count) + b"".join([*entries, *tensors])
    return made + bytes(-len(made) % 32 + data)


def parse(data: bytes) -> header.Header:
    return header.parse_header(io.BytesIO(data), len(data), "m.gguf")


def refusal(data: bytes) -> str:
    with pytest.raises(BadFile) as caught:
        parse(data)
    error = caught.value
    assert error.exit_code == Exit.BAD_FILE
    assert error.what
    assert error.why
    assert error.next
    assert str(error).isprintable()
    return str(error)


ARCH = entry("general.architecture", STRING, "step35")

# The header of the official IQ4_XS, in small.
STEP = [
    ARCH,
    entry("step35.block_count", U32, 5),
    entry("step35.context_length", U32, 262_144),
    entry("step35.embedding_length", U32, 4096),
    entry("step35.feed_forward_length", U32, 11_264),
    entry("step35.attention.head_count", I32, [64, 96, 96, 96, 64]),
    entry("step35.attention.head_count_kv", I32, [8] * 5),
    entry("step35.attention.key_length", U32, 128),
    entry("step35.attention.value_length", U32, 128),
    entry("step35.attention.sliding_window", U32, 512),
    entry("step35.attention.sliding_window_pattern", BOOL, [False, True, True, True, False]),
    entry("step35.expert_count", U32, 288),
    entry("step35.expert_used_count", U32, 8),
    entry("step35.rope.freq_base", F32, 5_000_000.0),
    entry("tokenizer.ggml.tokens", STRING, ["<s>", "", "語", "x" * 300]),
]
# 272 bytes of IQ4_XS rows, padded to 288; then 288 F32.
TENSORS = [tensor("blk.0.a.weight"), tensor("blk.4.ffn_up_exps.weight", (288,), 0, 288)]
SOUND = gguf(STEP, TENSORS, 288 + 288 * 4)


def test_a_sound_header_is_understood():
    made = parse(SOUND)
    assert (made.version, made.alignment, made.arch) == (3, 32, "step35")
    assert made.data_offset % 32 == 0
    assert made.data_offset + 288 + 1152 == made.file_size == len(SOUND)
    assert made.tensors == (
        header.TensorInfo("blk.0.a.weight", (256, 2), "IQ4_XS", 0, 272),
        header.TensorInfo("blk.4.ffn_up_exps.weight", (288,), "F32", 288, 1152),
    )
    assert made.metadata["tokenizer.ggml.tokens"] == header.Skipped(4)
    assert made.metadata["step35.attention.head_count"] == (64, 96, 96, 96, 64)
    assert made.metadata["step35.rope.freq_base"] == 5_000_000.0
    assert made.shards is None
    with pytest.raises(TypeError):
        made.metadata["x"] = 1  # type: ignore[index]


def test_version_2_and_other_alignments_are_read():
    assert parse(gguf(STEP, version=2)).version == 2
    wide = parse(gguf([entry("general.alignment", U32, 64), ARCH], [tensor("a", (32,), 0)], 200))
    assert (wide.alignment, wide.data_offset % 64) == (64, 0)


def test_the_last_padding_may_be_missing():
    short = parse(gguf(STEP, [tensor("a")], 272))
    assert short.data_offset + short.tensors[0].bytes == short.file_size


def test_type_sizes_are_those_of_the_gguf_package():
    from gguf.constants import GGML_QUANT_SIZES

    ours = {number: (block, size) for number, (_, block, size) in TENSOR_TYPES.items()}
    theirs = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    assert {number: ours.get(number) for number in theirs} == theirs
    assert all(TENSOR_TYPES[int(kind)][0] == kind.name for kind in GGML_QUANT_SIZES)


def test_long_arrays_keep_only_their_length():
    long = parse(gguf([entry("a", U8, [1] * 4096), entry("b", U8, [1] * 4097)]))
    assert long.metadata == {"a": (1,) * 4096, "b": header.Skipped(4097)}
    many = parse(gguf([entry(f"k{n}", U8, [1] * 4096) for n in range(70)]))
    assert sum(isinstance(v, tuple) for v in many.metadata.values()) == 64
    assert many.metadata["k69"] == header.Skipped(4096)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"", ["empty"]),
        (b"GGUF", ["version", "cut off"]),
        (b"<!DOCTYPE html><html>", ["web page"]),
        (b"\n <html>", ["web page"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["Git LFS pointer"]),
        (b"Entry not found", ["error message"]),
        (bytes(5000), ["zeros"]),
        (b"PK\x03\x04" + bytes(100), ["zip"]),
        (struct.pack("<Q", 1000) + b'{"__metadata__":{}}', ["safetensors"]),
        (b"ggjt"[::-1] + bytes(100), ["older than GGUF"]),
        (b"hello", ["does not begin"]),
        (gguf(version=1), ["version", "it is 1"]),
        (gguf(version=4), ["version", "it is 4"]),
        (gguf(version=0), ["version", "it is 0"]),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), ["big endian"]),
        (gguf(counts=(1 << 60, 0)), ["tensors", "1,152,921,504,606,846,976"]),
        (gguf(counts=(0, 1 << 60)), ["keys", "1,152,921,504,606,846,976"]),
        (gguf([ARCH], counts=(0, 3)), ["key 2 of 3"]),
        (gguf([entry("", U8, 1)]), ["key 1 of 1", "empty"]),
        (gguf([entry("a", U8, 1)] * 2), ["key 'a'", "twice"]),
        (gguf([string("a") + struct.pack("<I", 13)]), ["key 'a'", "type is 13"]),
        (gguf([string("a") + struct.pack("<II", ARRAY, ARRAY) + bytes(8)]), ["key 'a'", "type 9"]),
        (gguf([string("a") + struct.pack("<IIQ", ARRAY, U64, 1 << 61)]), ["key 'a'", "array"]),
        (gguf([string("a") + struct.pack("<IIQ", ARRAY, STRING, 1 << 60)]), ["key 'a'", "strings"]),
        (gguf([string("a") + struct.pack("<IQ", STRING, 1 << 32)]), ["key 'a'", "value"]),
        (gguf([string("a") + struct.pack("<IQ", STRING, (1 << 64) - 1)]), ["key 'a'", "value"]),
        (gguf([struct.pack("<Q", 1 << 63)]), ["key 1 of 1", "name"]),
        (
            gguf([string("a") + struct.pack("<IIQQ", ARRAY, STRING, 2, (1 << 64) - 1)], [], 99),
            ["key 'a'", "strings"],
        ),
        (gguf([string("a") + struct.pack("<IIQQ", ARRAY, STRING, 1, 999)]), ["key 'a'", "strings"]),
        (gguf([entry("general.alignment", U32, 0)]), ["general.alignment", "power of two"]),
        (gguf([entry("general.alignment", U32, 48)]), ["general.alignment", "power of two"]),
        (gguf([entry("general.alignment", STRING, "32")]), ["general.alignment"]),
        (gguf([entry("general.alignment", BOOL, True)]), ["general.alignment"]),
        (gguf([entry("general.alignment", U32, 3)]), ["general.alignment", "power of two"]),
        (gguf([entry("general.alignment", U64, 1 << 40)]), ["general.alignment", "1 MiB"]),
        (gguf([entry("general.alignment", F32, 32.0)]), ["general.alignment"]),
        (gguf([entry("general.alignment", U32, [32])]), ["general.alignment"]),
        (gguf([string(b"\xff\xfe") + struct.pack("<I", 99)]), ["\\xff", "type is 99"]),
        # A thousand arrays, each inside the one before.
        (
            gguf([string("a") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 1000]),
            ["key 'a'", "type 9"],
        ),
        (gguf([ARCH], [tensor("a", (1 << 63,), 0)], 999), ["tensor 'a'", "shape"]),
        (gguf([ARCH], [tensor("a", (1 << 31, 1 << 32), 0)], 999), ["tensor 'a'", "shape"]),
        (gguf([ARCH], [tensor("a", (1 << 62,), 28)], 999), ["cut off", "tensor 'a'"]),
        (gguf([ARCH], [tensor("a"), tensor("a", offset=288)], 999), ["tensor 'a'", "twice"]),
        (gguf([ARCH], [tensor("a" * 64)], 999), ["tensor 1 of 1", "64 bytes"]),
        (gguf([ARCH], [tensor("a", (1,) * 5, 0)], 999), ["tensor 'a'", "5 dimensions"]),
        (gguf([ARCH], [string("a") + struct.pack("<I", 1 << 31)]), ["tensor 'a'", "dimensions"]),
        (gguf([ARCH], [tensor("a", (256, 0))], 999), ["tensor 'a'", "shape"]),
        (gguf([ARCH], [tensor("a", (1 << 62, 4), 0)], 999), ["tensor 'a'", "shape"]),
        (gguf([ARCH], [tensor("a", ((1 << 64) - 1,), 0)], 999), ["tensor 'a'", "shape"]),
        (gguf([ARCH], [tensor("a", kind=4)], 999), ["tensor 'a'", "number 4"]),
        (gguf([ARCH], [tensor("a", kind=1 << 31)], 999), ["tensor 'a'", "number 2147483648"]),
        (gguf([ARCH], [tensor("a", (255,))], 999), ["tensor 'a'", "IQ4_XS blocks of 256"]),
        (gguf([ARCH], [tensor("a", offset=32)], 999), ["tensor 'a'", "offset"]),
        (gguf([ARCH], [tensor("a", offset=1 << 63)], 999), ["tensor 'a'", "offset"]),
        (gguf([ARCH], [tensor("a"), tensor("b", offset=272)], 999), ["'b'", "272", "288"]),
        (gguf([ARCH], [tensor("a"), tensor("b", offset=0)], 999), ["tensor 'b'", "offset"]),
        (gguf([ARCH], [tensor("a")], 271), ["cut off", "tensor 'a'"]),
        (gguf([ARCH], [tensor("a", (1 << 40,), 0)], 999), ["cut off", "tensor 'a'"]),
        (gguf([entry("split.count", U32, 3)]), ["split.count", "split.no"]),
        (gguf([entry("split.count", STRING, "3")]), ["split.count"]),
        (gguf([string("a\x1b[2J") + b"\xff" * 4]), ["\\x1b[2J"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_header_is_refused_by_name(data, names):
    text = refusal(data)
    for name in names:
        assert name.lower() in text.lower()


def test_split_numbers_that_cannot_be():
    for number, count, tensors in ((3, 3, 1), (-1, 3, 1), (0, -2, 1), (0, 3, -1), (0, 3, 1 << 30)):
        keys = [("split.no", number), ("split.count", count), ("split.tensors.count", tensors)]
        assert "split.no" in refusal(gguf([entry(key, I32, value) for key, value in keys]))


def test_any_cut_is_refused():
    for cut in range(len(SOUND)):
        refusal(SOUND[:cut])


class Endless(io.RawIOBase):
    """A file of `size` bytes that begins with `head` and goes on with `fill`, held nowhere."""

    def __init__(self, head: bytes, size: int, fill: bytes) -> None:
        self.head, self.size, self.fill, self.at = head, size, fill, 0

    def seek(self, at: int, whence: int = 0) -> int:
        assert whence == 0
        self.at = at
        return at

    def read(self, count: int = -1) -> bytes:
        count = min(count, self.size - self.at)
        data = self.head[self.at : self.at + count]
        rest = count - len(data)
        data += (self.fill * (rest // len(self.fill) + 1))[:rest]
        self.at += count
        return data


def promising(tensors: int, entries: int, body: bytes) -> bytes:
    """Return a header that has `body` and no end."""
    return gguf(counts=(tensors, entries))[:24] + body


def numbered(kind: int, value: Any, count: int = 65_535) -> bytes:
    return b"".join(entry(f"{n:05}", kind, value) for n in range(count))


MANY = promising(0, 1, string("a") + struct.pack("<IIQ", ARRAY, STRING, 2_999_999))
TINY = b"".join(tensor(f"{n:05}", (8, 1, 1, 1), 0, 32 * n) for n in range(65_535))


@pytest.mark.parametrize(
    ("head", "fill", "traced"),
    [
        pytest.param(MANY, b"\0", False, id="empty strings"),
        pytest.param(MANY, struct.pack("<Q", 80) + b"x" * 80, False, id="strings of 80 bytes"),
        pytest.param(MANY, struct.pack("<Q", 5 << 20) + bytes(5 << 20), True, id="long strings"),
        pytest.param(promising(0, 65_536, numbered(U8, 1)), b"\0", False, id="keys"),
        pytest.param(promising(0, 65_536, numbered(U8, [1] * 64)), b"\0", False, id="arrays"),
        pytest.param(promising(0, 900, numbered(STRING, "é" * 9999, 900)), b"\0", True, id="texts"),
        pytest.param(promising(0, 1, entry("a", STRING, "语" * (5 << 20))), b"\0", True, id="text"),
        pytest.param(promising(65_536, 0, TINY), b"\0", False, id="tensors"),
    ],
)
def test_no_header_takes_long_or_much(head, fill, traced):
    def read() -> None:
        size = 200 << 30
        with contextlib.suppress(BadFile):
            header.parse_header(cast("BinaryIO", Endless(head, size, fill)), size)

    start = time.process_time()
    read()
    assert time.process_time() - start < 10  # a tenth of it here; by what is promised, minutes
    if traced:  # not all: tracing makes a million small steps slow
        tracemalloc.start()
        read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 150 << 20


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (promising(0, 1, string("a") + struct.pack("<IIQ", ARRAY, STRING, 3_000_001)), "3,000,000"),
        (promising(0, 1, string("a") + struct.pack("<IQ", STRING, 17 << 20)), "16 MiB of text"),
        (promising(0, 2, numbered(STRING, "x" * (9 << 20), 2)), "16 MiB of text"),
        (promising(0, 1, string("a") + struct.pack("<IIQ", ARRAY, U8, 257 << 20)), "256 MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_more_than_any_real_header_holds_is_refused(head, name):
    with pytest.raises(BadFile) as caught:
        header.parse_header(cast("BinaryIO", Endless(head, 1 << 40, b"\0")), 1 << 40)
    assert name in caught.value.why


def test_a_real_vocabulary_is_skipped_quickly(tmp_path):
    tokens = [bytes([65 + n % 26]) * (1 + n % 12) for n in range(128_896)]
    merges = [bytes([65 + n % 26]) * (3 + n % 12) for n in range(127_741)]
    keys = [
        *STEP[:-1],
        entry("tokenizer.ggml.tokens", STRING, tokens),
        entry("tokenizer.ggml.token_type", I32, [1] * 128_896),
        entry("tokenizer.ggml.merges", STRING, merges),
    ]
    rows = [tensor(f"blk.{n % 5}.{n}", (256,), 23, 160 * n) for n in range(754)]
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(gguf(keys, rows, 160 * 754))
    times = []
    for _ in range(5):
        start = time.process_time()
        made = header.read_header(path)
        times.append(time.process_time() - start)
    assert header.geometry(made).vocab_size == 128_896
    assert made.metadata["tokenizer.ggml.merges"] == header.Skipped(127_741)
    assert min(times) < 0.08, times


def test_short_reads_are_completed():
    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 1, 11))

    assert header.parse_header(Dribble(SOUND), len(SOUND)) == parse(SOUND)


def test_a_file_that_shrinks_while_it_is_read_is_refused():
    with pytest.raises(BadFile):
        header.parse_header(io.BytesIO(SOUND[:200]), len(SOUND))


@settings(deadline=None, max_examples=400)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(SOUND) - 1), st.binary(min_size=1, max_size=9)), max_size=4
    ),
    cut=st.integers(0, 64),
)
@example(edits=[(8, b"\xff" * 8)], cut=0)
def test_mutations_are_read_or_refused(edits, cut):
    data = bytearray(SOUND)
    for at, new in edits:
        data[at : at + len(new)] = new
    refused = ""
    try:
        made = parse(bytes(data[: len(data) - cut]))
        shape = header.geometry(made)
        sums = header.weights_bytes([made])
    except BadFile as error:  # and nothing else comes out
        refused = str(error)
    assert refused.isprintable()
    if not refused:
        assert len(shape.layers) + len(shape.mtp_layers) <= 1024
        assert sums.total <= len(SOUND)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_noise_is_refused(noise):
    for data in (noise, b"GGUF" + struct.pack("<I", 3) + noise):
        try:
            made = parse(data)
        except BadFile:
            continue
        assert len(made.tensors) * 24 + len(made.metadata) * 13 <= len(data)


# --- geometry


def test_geometry_of_the_family():
    shape = header.geometry(parse(SOUND))
    assert [layer.sliding for layer in shape.layers] == [False, True, True, True, False]
    assert (shape.arch, shape.context_length, shape.embedding_length) == ("step35", 262_144, 4096)
    assert (shape.vocab_size, shape.sliding_window, shape.experts) == (4, 512, 288)
    assert (shape.layers[0].kv_heads, shape.layers[0].key_length) == (8, 128)
    assert shape.feed_forward_length == 11_264
    assert shape.mtp_layers == ()


def keys(arch: str, /, **changes: tuple[int, Any] | None) -> list[bytes]:
    """Return a plain model's keys, with `changes` (a dot is written as two underscores)."""
    usual: dict[str, tuple[int, Any] | None] = {
        "block_count": (U32, 6),
        "context_length": (U32, 8192),
        "embedding_length": (U32, 576),
        "attention__head_count": (U32, 9),
        **changes,
    }
    made = [entry(f"{arch}.{k.replace('__', '.')}", *v) for k, v in usual.items() if v]
    return [entry("general.architecture", STRING, arch), *made]


def shape_of(arch: str, **changes: tuple[int, Any] | None) -> Any:
    return header.geometry(parse(gguf(keys(arch, **changes))))


def test_geometry_fills_in_what_may_be_left_out():
    shape = shape_of("llama")
    layer = shape.layers[0]
    assert (layer.kv_heads, layer.key_length, layer.value_length) == (9, 64, 64)
    assert (shape.vocab_size, shape.experts, shape.sliding_window) == (0, 0, 0)
    assert shape_of("llama", attention__head_count_kv=(U32, 3)).layers[0].kv_heads == 3
    assert shape_of("llama", vocab_size=(U32, 99)).vocab_size == 99
    assert shape_of("x", attention__head_count_kv=(I32, [0, 0, 0, 4, 0, 0])).layers[3].kv_heads == 4
    assert shape_of("x", feed_forward_length=(I32, [1, 9, 3, 1, 1, 1])).feed_forward_length == 9


def test_the_largest_vocabulary_counts():
    # The engine needs a row of logits as long as the embedding has rows, whatever the keys say.
    rows = [tensor("token_embd.weight", (8, 500), 0)]
    for number, size in ((3, 500), (900, 900)):
        made = parse(gguf(keys("llama", vocab_size=(U32, number)), rows, 16_000))
        assert header.geometry(made).vocab_size == size
    flat = parse(gguf(keys("llama"), [tensor("token_embd.weight", (8,), 0)], 99))
    assert header.geometry(flat).vocab_size == 0


def slides(shape: Any) -> str:
    return "".join("s" if layer.sliding else "F" for layer in shape.layers)


def test_geometry_of_sliding_models():
    window = {"attention__sliding_window": (U32, 1024)}
    assert slides(shape_of("gemma3", **window)) == "sssssF"
    assert slides(shape_of("gemma2", **window)) == "sFsFsF"
    assert slides(shape_of("gemma3")) == "FFFFFF"  # no window: nothing slides
    # Without a pattern an unknown architecture is taken as full in every layer.
    unknown = shape_of("newer", **window)
    assert (slides(unknown), unknown.sliding_window) == ("FFFFFF", 0)
    period = shape_of("newer", **window, attention__sliding_window_pattern=(U32, 4))
    assert slides(period) == "FsssFs"
    every = shape_of("newer", **window, attention__sliding_window_pattern=(U32, 0))
    assert slides(every) == "ssssss"
    own = shape_of(
        "gemma3",
        **window,
        attention__sliding_window_pattern=(BOOL, [True, False] * 3),
        attention__key_length=(U32, 512),
        attention__key_length_swa=(U32, 256),
    )
    assert slides(own) == "sFsFsF"
    assert [layer.key_length for layer in own.layers] == [256, 512] * 3


def test_draft_heads_inside_the_model():
    data = gguf(
        keys(
            "step35",
            nextn_predict_layers=(U32, 2),
            expert_count=(U32, 4),
            expert_used_count=(U32, 1),
        ),
        [
            tensor("token_embd.weight", (8,), 0, 0),
            tensor("blk.0.ffn_up_exps.weight", (8,), 0, 32),
            tensor("blk.4.nextn.eh_proj.weight", (8,), 0, 64),
            tensor("blk.5.attn_q.weight", (8,), 0, 96),
        ],
        128,
    )
    made = parse(data)
    shape = header.geometry(made)
    assert (len(shape.layers), len(shape.mtp_layers)) == (4, 2)
    sums = header.weights_bytes([made])
    assert (sums.trunk, sums.mtp, sums.experts, sums.total) == (64, 64, 32, 128)
    assert header.kind(made) == "model"


def test_a_layout_says_where_all_bytes_of_the_trunk_lie():
    rows = [
        ("token_embd.weight", 1),
        ("output.weight", 2),
        ("rope_freqs.weight", 3),
        ("blk.0.ffn_down.weight", 4),
        ("blk.2.exp_probs_b.bias", 5),
        ("blk.2.ffn_up_exps.weight", 6),
        ("blk.2.ffn_up_shexp.weight", 7),
        ("blk.03x.weight", 8),  # no layer's name
        ("blk.4.attn_q.weight", 9),  # the draft head
        ("blk.99.attn_q.weight", 10),  # of no layer at all
    ]
    parts = []
    for number, half in enumerate((rows[:5], rows[5:])):
        starts = range(0, 32 * len(half), 32)  # eight elements of 4 bytes are the most here
        made = [tensor(n, (c,), 24, at) for (n, c), at in zip(half, starts, strict=True)]
        own = keys("step35", block_count=(U32, 5), nextn_predict_layers=(U32, 1))
        parts.append(parse(gguf(own if number == 0 else [], made, 32 * len(half))))
    layout = header.layout(parts)
    assert (layout.input, layout.output) == (1, 2 + 3 + 8)
    assert layout.resident == (4, 0, 5 + 7, 0)
    assert layout.experts == (0, 0, 6, 0)
    sums = header.weights_bytes(parts)
    assert (sums.trunk, sums.mtp, sums.experts) == (layout.total, 19, 6)


def test_a_layout_needs_a_number_of_layers():
    with pytest.raises(BadFile, match="block_count"):
        header.layout([parse(gguf([ARCH], [tensor("blk.0.a")], 999))])


def test_kinds():
    heads = gguf(
        keys("step35", nextn_predict_layers=(U32, 1)), [tensor("blk.5.nextn.eh_proj.weight")], 272
    )
    assert header.kind(parse(heads)) == "mtp"
    assert header.kind(parse(gguf([entry("general.architecture", STRING, "clip")]))) == "projector"
    adapter = [ARCH, entry("general.type", STRING, "adapter")]
    assert header.kind(parse(gguf(adapter))) == "other"
    assert header.kind(parse(gguf([entry("split.no", U32, 1)]))) == "other"
    # unsloth's first parts hold no tensors at all
    assert header.kind(parse(gguf(STEP))) == "model"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"block_count": None}, "block_count"),
        ({"block_count": (U32, 0)}, "block_count"),
        ({"block_count": (U32, 1 << 31)}, "block_count"),
        ({"block_count": (STRING, "6")}, "block_count"),
        ({"context_length": (U32, 0)}, "context_length"),
        ({"embedding_length": (F32, 4.0)}, "embedding_length"),
        ({"attention__head_count": None}, "attention.head_count"),
        ({"attention__head_count_kv": (I32, [1, 2])}, "attention.head_count_kv"),
        ({"attention__head_count_kv": (I32, [1] * 7)}, "attention.head_count_kv"),
        ({"attention__head_count_kv": (I32, [])}, "attention.head_count_kv"),
        ({"attention__head_count_kv": (I32, [0] * 6)}, "attention.head_count_kv"),
        ({"attention__head_count_kv": (U64, 1 << 40)}, "attention.head_count_kv"),
        ({"attention__head_count_kv": (STRING, ["8"] * 6)}, "attention.head_count_kv"),
        ({"attention__head_count": (U32, 0)}, "attention.head_count"),
        ({"attention__head_count": (U32, 577)}, "attention.key_length"),
        ({"attention__key_length": (U64, 1 << 40)}, "attention.key_length"),
        ({"attention__value_length": (U32, 0)}, "attention.value_length"),
        ({"attention__sliding_window": (U64, 1 << 40)}, "attention.sliding_window"),
        ({"attention__sliding_window": (F32, float("nan"))}, "attention.sliding_window"),
        ({"block_count": (U64, 1 << 63)}, "block_count"),
        ({"block_count": (U32, 1_000_000)}, "block_count"),
        ({"context_length": (U64, 1 << 63)}, "context_length"),
        ({"context_length": (F32, float("nan"))}, "context_length"),
        ({"context_length": (BOOL, True)}, "context_length"),
        ({"embedding_length": (U64, 1 << 40)}, "embedding_length"),
        ({"feed_forward_length": (U64, 1 << 40)}, "feed_forward_length"),
        ({"vocab_size": (U64, 1 << 40)}, "vocab_size"),
        ({"expert_count": (U32, 8)}, "expert_used_count"),
        ({"expert_count": (U32, 8), "expert_used_count": (U32, 9)}, "expert_used_count"),
        ({"expert_used_count": (U32, 1)}, "expert_used_count"),
        ({"expert_count": (U64, 1 << 40)}, "expert_count"),
        ({"attention__head_count_kv": (I32, [-1] * 6)}, "attention.head_count_kv"),
        ({"attention__head_count_kv": (F32, [1.0] * 6)}, "attention.head_count_kv"),
        ({"attention__head_count_kv": (I32, [1] * 5000)}, "attention.head_count_kv"),
        ({"attention__key_length": (U32, 1 << 30)}, "attention.key_length"),
        ({"nextn_predict_layers": (U32, 6)}, "nextn_predict_layers"),
        ({"expert_count": (I32, -1)}, "expert_count"),
    ],
)
def test_impossible_geometry_is_refused_by_key(changes, name):
    with pytest.raises(BadFile) as caught:
        shape_of("llama", **changes)
    assert f"llama.{name}'" in caught.value.why


# --- shards


def shards(folder: Path, count: int = 3, **changes: Any) -> list[Path]:
    """Write a series of `count` parts, one tensor each."""
    made = []
    for number in range(count):
        told: dict[str, Any] = {
            "no": number,
            "count": count,
            "tensors": count,
            "name": f"t{number}",
        }
        told |= changes
        numbers = [
            entry("split.no", U32, told["no"]),
            entry("split.count", U32, told["count"]),
            entry("split.tensors.count", I32, told["tensors"]),
        ]
        path = folder / f"m-{number + 1:05d}-of-{count:05d}.gguf"
        own = STEP if number == 0 else []
        path.write_bytes(gguf([*own, *numbers], [tensor(told["name"])], 272))
        made.append(path)
    return made


def test_any_shard_leads_to_all(tmp_path):
    paths = shards(tmp_path)
    for path in paths:
        headers = header.read_split(path)
        assert [made.path for made in headers] == paths
        assert [made.shards.number for made in headers if made.shards] == [1, 2, 3]
    assert header.weights_bytes(header.read_split(paths[0])).total == 3 * 272


def test_a_lone_file_is_its_own_series(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(SOUND)
    assert len(header.read_split(path)) == 1


def broken(path: Path) -> str:
    with pytest.raises(BadFile) as caught:
        header.read_split(path)
    return str(caught.value)


def test_missing_shards_are_named(tmp_path):
    paths = shards(tmp_path, 6)
    for path in paths[1:]:
        path.unlink()
    text = broken(paths[0])
    assert "5 of 6 parts" in text
    assert "m-00002-of-00006.gguf" in text
    assert "and 2 more" in text


def test_a_renamed_shard_is_refused(tmp_path):
    paths = shards(tmp_path)
    assert "name says" in broken(paths[1].rename(tmp_path / "m-00003-of-00003.gguf"))
    alone = tmp_path / "alone.gguf"
    alone.write_bytes(paths[0].read_bytes())
    assert "part 1 of 3" in broken(alone)
    whole = tmp_path / "w-00001-of-00002.gguf"
    whole.write_bytes(SOUND)
    assert "part 1 of 1" in broken(whole)


def test_shards_of_two_series_are_refused(tmp_path):
    paths = shards(tmp_path)
    paths[2].write_bytes(paths[1].read_bytes())
    assert "part 2 of 3" in broken(paths[0])
    other = tmp_path / "other"
    other.mkdir()
    assert "promise 7" in broken(shards(other, tensors=7)[0])
    third = tmp_path / "third"
    third.mkdir()
    assert "same tensor" in broken(shards(third, name="t")[0])


def test_a_series_that_contradicts_itself(tmp_path):
    paths = shards(tmp_path)
    # The first part says that it is the third.
    paths[0].write_bytes(paths[2].read_bytes())
    assert "part 3 of 3" in broken(paths[0])
    assert "part 3 of 3" in broken(paths[1])
    many = tmp_path / "m-00001-of-65535.gguf"
    numbers = (("split.no", 0), ("split.count", 65_535), ("split.tensors.count", 1))
    many.write_bytes(gguf([*STEP, *(entry(key, U32, value) for key, value in numbers)]))
    assert "split.count" in broken(many)


def test_a_series_is_bounded_as_a_single_header_is(tmp_path, monkeypatch):
    paths = shards(tmp_path)
    monkeypatch.setattr(header, "HEADER_LIMIT", sum(p.stat().st_size for p in paths) // 2)
    assert "larger than 256 MiB in all" in broken(paths[0])


def test_a_part_too_much_is_found_before_the_rest_is_read(tmp_path):
    paths = shards(tmp_path, 3, tensors=1)
    paths[2].write_bytes(b"not read")
    assert "promise 1" in broken(paths[0])


@pytest.mark.skipif(os.name == "nt", reason="no such files there")
def test_what_has_no_end_is_not_opened(tmp_path):
    pipe = tmp_path / "m-00002-of-00003.gguf"
    paths = shards(tmp_path)
    pipe.unlink()
    os.mkfifo(pipe)
    for path in (pipe, paths[0], Path("/dev/zero"), tmp_path):
        assert "not a regular file" in broken(path)


@pytest.mark.skipif(os.name == "nt", reason="NTFS makes no holes by itself")
@pytest.mark.parametrize("head", [b"", SOUND[:24], gguf(counts=(1 << 60, 1 << 60))[:24]])
def test_a_hundred_gigabytes_of_nothing(tmp_path, head):
    path = tmp_path / "m.gguf"
    path.write_bytes(head)
    os.truncate(path, 100 << 30)
    start = time.process_time()
    assert broken(path)
    assert time.process_time() - start < 1
