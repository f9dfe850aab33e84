"""Mutated GGUF headers: those of tiny Step and of the full-size twin, changed with knowledge.

Blind bit flips seldom get past the first check. So most mutations leave a header well formed and
change what it says: counts, shapes, types, names, keys. Only the header exists; the tensor data
behind it is a number.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

from runner.gguf.scan import TENSOR_TYPES
from runner.testbed import metadata, tiny_step
from runner.testbed.geometry import HEADS_Q8_0, PROJECTOR_F16
from testbed import twin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from runner.testbed.geometry import Tensor
    from runner.testbed.metadata import MetadataEntry

STRING, ARRAY = 8, 9
CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
WIDTHS = {kind: struct.calcsize("<" + code) for kind, code in CODES.items()}
FLOATS = {6, 7, 12}
NUMBERS = (
    *(0, 1, 2, 3, 7, 31, 32, 45, 48, 255, 256, 511, 513, 1024, 1025, 4096, 65_535, 65_536),
    *(n + d for n in (1 << 20, 1 << 24, 1 << 30, 1 << 31, 1 << 32, 1 << 40) for d in (-1, 0)),
    *(1 << 60, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)
NAMES = (
    *(b"blk.99999999999999999999.x", b"blk.-1.x", b"blk..x", b"blk.0.", b"blk.3x.y"),
    *(b"token_embd.weight", b"blk.0.nextn.x", b"blk.1.a_exps.weight", b"\xff\xfe", b"", b"x" * 64),
)
ARCHES = (
    *("llama", "gemma3", "gpt-oss", "clip", "mmproj", "", "step35", "x" * 300, "\udcff"),
    *("qwen35", "mamba", "rwkv7", "jamba", "nemotron_h", "falcon-h1", "lfm2", "kimi-linear"),
    *("minimax-01", "deepseek2", "deepseek32", "gemma3n", "gemma4", "llama4", "exaone4"),
)
TEXTS = ("", "model", "adapter", "imatrix", "\x1b[2J", "é" * 99)
KEYS = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length"),
    *("attention.value_length", "attention.key_length_swa", "attention.sliding_window"),
    *("attention.sliding_window_pattern", "expert_count", "expert_used_count"),
    *("expert_feed_forward_length", "nextn_predict_layers", "full_attention_interval"),
    *("attention.recurrent_layers", "attention.shared_kv_layers", "attention.key_length_mla"),
    *("attention.value_length_mla", "attention.indexer.key_length", "ssm.conv_kernel"),
    *("ssm.inner_size", "ssm.state_size", "ssm.group_count", "kda.head_dim", "wkv.head_size"),
    *("token_shift_count", "shortconv.l_cache"),
)
PLAIN_KEYS = (
    *("general.alignment", "general.type", "split.no", "split.count", "split.tensors.count"),
    *("tokenizer.ggml.tokens", "clip.vision.projection_dim", "general.architecture"),
    *("clip.projector_type", "clip.has_minicpmv_projector"),
)
ALIGNMENT = 32
LAYERS = (1, 4, 7, 45, 48)  # lengths that an array of one number for each layer may need


@dataclass(frozen=True)
class Row:
    """One tensor of a table. Its offset follows from those before it."""

    name: bytes
    shape: tuple[int, ...]
    kind: int

    @property
    def size(self) -> int:
        """Count the bytes of data, as the reader will."""
        _, block, block_bytes = TENSOR_TYPES.get(self.kind, ("", 1, 1))
        return prod(self.shape) // block * block_bytes


@dataclass(frozen=True)
class Draft:
    """A header in pieces: its keys, encoded, by name; its tensors; its architecture."""

    keys: dict[str, bytes]
    rows: tuple[Row, ...]
    arch: str


def entry(name: str, kind: int, value: Any) -> bytes:
    """Encode a key; a list becomes an array of `kind`. Numbers are cut to the type's width."""
    head = _text(name)
    if isinstance(value, (list, tuple)):
        items = b"".join(_scalar(kind, item) for item in value)
        return head + struct.pack("<IIQ", ARRAY, kind, len(value)) + items
    return head + struct.pack("<I", kind) + _scalar(kind, value)


def encode(draft: Draft) -> tuple[bytes, int]:
    """Return a header's bytes, and the length of the file that it would head."""
    made, offset = [], 0
    for row in draft.rows:
        dims = b"".join(n.to_bytes(8, "little") for n in row.shape)
        place = struct.pack("<IQ", row.kind, offset & ((1 << 64) - 1))
        made.append(_text(row.name) + struct.pack("<I", len(row.shape)) + dims + place)
        offset += -(-row.size // ALIGNMENT) * ALIGNMENT
    counts = struct.pack("<IQQ", 3, len(draft.rows), len(draft.keys))
    data = b"".join([b"GGUF", counts, *draft.keys.values(), *made])
    data += bytes(-len(data) % ALIGNMENT)
    return data, len(data) + offset


def mutated(random: Random) -> tuple[bytes, int]:
    """Return a header that lies, and the length that its file claims to have."""
    draft = random.choice(seeds())
    for _ in range(random.choice((0, 1, 1, 2, 3, 5))):
        draft = random.choice(_SENSIBLE)(random, draft)
    data, size = encode(draft)
    for _ in range(random.choice((0, 0, 0, 1, 2))):
        data = random.choice(_BLIND)(random, data)
    if random.random() < 0.1:
        size = random.choice((0, 1, len(data) - 1, len(data), size - 1, 1 << 40, (1 << 63) - 1))
    return data, max(size, 0)


# --- where to start from


@cache
def seeds() -> tuple[Draft, ...]:
    """Return the headers to start from, with small vocabularies: theirs are skipped anyway."""
    tiny, words, step = tiny_step.TINY, metadata.tokenizer(tiny_step.WORDS), twin.STEP
    table = twin.QUANTS["IQ4_XS"].apply(step.trunk())
    large = [*metadata.text(step, "Twin", "1B", mtp=False), *words, *metadata.quantisation(30)]
    inside = [*metadata.text(tiny, "Tiny", "1M", mtp=True), *words]
    half = len(table) // 2
    return (
        _draft(inside, HEADS_Q8_0.apply(tiny.trunk() | tiny.heads_inside())),
        _draft(inside, HEADS_Q8_0.apply(tiny.heads_alone())),
        _draft([*metadata.text(tiny, "T", "1M", mtp=False)], HEADS_Q8_0.apply(tiny.trunk())),
        _draft(
            metadata.vision(tiny_step.TINY_VISION, "V", "1M", 1),
            PROJECTOR_F16.apply(tiny_step.TINY_VISION.rows()),
            metadata.VISION_ARCH,
        ),
        # As unsloth's first parts: all keys, no tensor. Then a part in the middle.
        _series(_draft(large, []), 0, len(table)),
        _series(_draft([], table[half : half + 40], ""), 1, len(table)),
        _draft(large, table[:60]),
    )


def _draft(
    entries: Sequence[MetadataEntry], tensors: Sequence[Tensor], arch: str = "step35"
) -> Draft:
    keys = {"general.architecture": entry("general.architecture", STRING, arch)} if arch else {}
    for each in entries:
        kind = int(each.kind if each.item is None else each.item)
        value = each.value
        if isinstance(value, (list, tuple)) and kind == STRING:
            value = value[:40]
        elif isinstance(value, str):
            value = value[:200]
        keys[each.key] = entry(each.key, kind, value)
    rows = tuple(Row(t.name.encode(), t.shape, int(t.kind)) for t in tensors)
    return Draft(keys, rows, arch)


def _series(draft: Draft, number: int, tensors: int) -> Draft:
    told = {"split.no": number, "split.count": 3, "split.tensors.count": tensors}
    return replace(draft, keys=draft.keys | {key: entry(key, 5, n) for key, n in told.items()})


def _text(text: str | bytes) -> bytes:
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def _scalar(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _text(value if isinstance(value, str) else str(value))
    if kind in FLOATS:
        return struct.pack("<" + CODES[kind], value)
    return (int(value) & ((1 << 8 * WIDTHS[kind]) - 1)).to_bytes(WIDTHS[kind], "little")


# --- mutations that leave a header well formed


def _set_key(random: Random, draft: Draft) -> Draft:
    """Give a key that matters another value, of another type perhaps."""
    name = f"{draft.arch}.{random.choice(KEYS)}"
    if random.random() < 0.25:
        name = random.choice(PLAIN_KEYS)
    kind = random.choice((4, 4, 4, 5, 7, 10, 11, 2, 0, 6, 12, STRING))
    if random.random() < 0.25:
        length = random.choice((*LAYERS, 0, 2, 1025, 5000))
        value: Any = [_value(random, kind)] * length
    else:
        value = _value(random, kind)
    return replace(draft, keys=draft.keys | {name: entry(name, kind, value)})


def _value(random: Random, kind: int) -> Any:
    if kind == STRING:
        return random.choice((*TEXTS, *ARCHES))
    if kind == 7:
        return random.random() < 0.5
    if kind in FLOATS:
        return random.choice((0.0, -1.0, 1e30, float("nan"), float("inf"), 4096.0))
    return random.choice(NUMBERS)


def _drop_key(random: Random, draft: Draft) -> Draft:
    keys = dict(draft.keys)
    keys.pop(random.choice(list(keys)), None) if keys else None
    return replace(draft, keys=keys)


def _swap_keys(random: Random, draft: Draft) -> Draft:
    """Take some keys of another header."""
    other = random.choice(seeds()).keys
    taken = {name: data for name, data in other.items() if random.random() < 0.3}
    return replace(draft, keys=draft.keys | taken)


def _rename_arch(random: Random, draft: Draft) -> Draft:
    """Call the architecture something else, in all keys or in none."""
    arch = random.choice(ARCHES)
    keys = dict(draft.keys)
    if random.random() < 0.7:
        keys = {}
        for name, data in draft.keys.items():
            own = name.startswith(f"{draft.arch}.")
            new = f"{arch}{name[len(draft.arch) :]}" if own and draft.arch else name
            keys[new] = _text(new) + data[8 + len(name.encode("utf-8", "surrogateescape")) :]
    keys["general.architecture"] = entry("general.architecture", STRING, arch)
    return replace(draft, keys=keys, arch=arch)


def _change_row(random: Random, draft: Draft) -> Draft:
    if not draft.rows:
        return draft
    rows = list(draft.rows)
    at = random.randrange(len(rows))
    row = rows[at]
    what = random.randrange(5)
    if what == 0:
        rows[at] = replace(row, name=random.choice((*NAMES, random.choice(rows).name)))
    elif what == 1:
        rows[at] = replace(row, kind=random.choice((*range(45), 1 << 16, (1 << 32) - 1)))
    elif what == 2:
        shape = list(row.shape) or [1]
        shape[random.randrange(len(shape))] = random.choice(NUMBERS)
        rows[at] = replace(row, shape=tuple(shape))
    elif what == 3:
        shape = [random.choice(NUMBERS) for _ in range(random.randrange(7))]
        rows[at] = replace(row, shape=tuple(shape))
    else:
        del rows[at]
    return replace(draft, rows=tuple(rows))


def _mix_rows(random: Random, draft: Draft) -> Draft:
    """Shuffle the tensors, or take some of another header."""
    rows = list(draft.rows)
    if random.random() < 0.5:
        random.shuffle(rows)
    else:
        rows += random.choice(seeds()).rows[: random.choice((1, 5, 50))]
    return replace(draft, rows=tuple(rows))


_SENSIBLE: tuple[Callable[[Random, Draft], Draft], ...] = (
    *(_set_key, _set_key, _set_key, _set_key),
    *(_drop_key, _swap_keys, _rename_arch, _change_row, _change_row, _mix_rows),
)


# --- mutations of bytes


def _flip(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _count(random: Random, data: bytes) -> bytes:
    """Write a number over eight bytes: one of the two counts, or whatever is there."""
    at = random.choice((8, 16, random.randrange(len(data) + 1), random.randrange(len(data) + 1)))
    width = random.choice((4, 8))
    number = random.choice(NUMBERS) & ((1 << 8 * width) - 1)
    return data[:at] + number.to_bytes(width, "little") + data[at + width :]


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _splice(random: Random, data: bytes) -> bytes:
    """Go on with the end of another header, or with a piece of this one again."""
    other = encode(random.choice(seeds()))[0] if random.random() < 0.3 else data
    at, to = random.randrange(len(data) + 1), random.randrange(len(other) + 1)
    return data[:at] + other[to:]


_BLIND: tuple[Callable[[Random, bytes], bytes], ...] = (_flip, _flip, _count, _count, _cut, _splice)
