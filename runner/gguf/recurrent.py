"""The recurrent state of a model, as Mamba's, RWKV's or a hybrid's: which layers, how many bytes.

A state has a fixed size for each conversation, however long that is. The sizes are those of
`llama_hparams::n_embd_r` and `n_embd_s` (src/llama-hparams.cpp), which are kept as f32.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner.gguf.architectures import table
from runner.gguf.keys import bad, number, per_layer
from runner.gguf.parse import Header

_F32 = 4
_MOST = 1 << 20  # no width of a state is larger
_WHOLE = frozenset({"all"})


@dataclass(frozen=True, slots=True)
class Recurrent:
    """For each layer whether it has a KV cache (`attends`) and a state, of `state_bytes` each.

    `whole`: there is no attention at all. `guessed`: the header has a state, but its architecture
    is not known to have one; all layers are taken to have both. `width`: of what a layer mixes,
    elements per token.
    """

    attends: Sequence[bool]
    has_state: Sequence[bool]
    state_bytes: int
    whole: bool = False
    guessed: bool = False
    width: int = 0


def recurrent(header: Header, count: int, trunk: int) -> Recurrent:
    """Read the recurrent state of a model of `count` layers, `trunk` of them no draft heads."""
    found = _recurrent(header, count, trunk)
    return replace(found, width=_width(header)) if any(found.has_state) else found


def _recurrent(header: Header, count: int, trunk: int) -> Recurrent:
    rule = table().recurrent.get(header.arch)
    flags = _flags(header, count, trunk)
    if rule is None:
        size = _state_bytes(header)
        if not size and not any(flags):
            return Recurrent([True] * count, [False] * count, 0)
        if any(flags) and not all(flags[:trunk]):
            # An architecture that is not known, but whose header says which layers attend.
            return Recurrent([not flag for flag in flags], flags, size, guessed=True)
        return Recurrent([True] * count, [i < trunk for i in range(count)], size, guessed=True)
    if rule in {"all", "both"}:
        has = [i < trunk for i in range(count)]
        attends = [rule == "both" or not state for state in has]
    elif rule == "interval":
        has = flags
        attends = [not state for state in has]
    else:
        has, attends = _without_heads(header, count, trunk, alone=rule == "no-heads-no-ffn")
    size = _state_bytes(header)
    if any(has) and not size:
        raise bad(header, "ssm.state_size", "the size of its recurrent state is missing")
    return Recurrent(attends, has, size, whole=rule in _WHOLE)


def _flags(header: Header, count: int, trunk: int) -> list[bool]:
    """Return which layers are recurrent by a flag for each, or all but each n-th."""
    if f"{header.arch}.attention.recurrent_layers" in header.metadata:
        each = per_layer(header, "attention.recurrent_layers", count)
        return [bool(flag) for flag in each]
    usual = table().interval.get(header.arch, 1)
    interval = number(header, "full_attention_interval", 1, 1 << 16, usual)
    return [i < trunk and (i + 1) % interval != 0 for i in range(count)]


def _without_heads(
    header: Header, count: int, trunk: int, *, alone: bool
) -> tuple[list[bool], list[bool]]:
    """Return which layers have a state, and which attend, by their number of KV heads."""
    queries = per_layer(header, "attention.head_count", count)
    heads = per_layer(header, "attention.head_count_kv", count, queries)
    wide = per_layer(header, "feed_forward_length", count, [0] * count) if alone else [0] * count
    has = [i < trunk and heads[i] == 0 and wide[i] == 0 for i in range(count)]
    return has, [count_of > 0 for count_of in heads]


def _state_bytes(header: Header) -> int:
    """Return one layer's state for one conversation, 0 where the header has none."""

    def width(key: str) -> int:
        return number(header, key, 0, _MOST, 0)

    embedding = number(header, "embedding_length", 1, 1 << 20)
    if head := width("wkv.head_size"):
        # Without the key llama.cpp takes 2; one architecture has 1.
        shifts = number(header, "token_shift_count", 0, 16, 2)
        return _F32 * (shifts * embedding + embedding * head)
    if cached := width("shortconv.l_cache"):
        return _F32 * embedding * (cached - 1)
    kernel = width("ssm.conv_kernel")
    if head := width("kda.head_dim"):
        heads = max(per_layer(header, "attention.head_count", _layers(header)))
        return _F32 * heads * head * (3 * (kernel - 1 if kernel else 3) + head)
    if header.arch == "minimax-01":
        heads = max(per_layer(header, "attention.head_count", _layers(header)))
        usual = embedding // max(1, heads)
        head = number(header, "attention.key_length", 1, 1 << 16, usual)
        return _F32 * heads * head**2
    inner, state = width("ssm.inner_size"), width("ssm.state_size")
    conv = max(0, kernel - 1) * (inner + 2 * width("ssm.group_count") * state)
    return _F32 * (conv + state * inner)


def _width(header: Header) -> int:
    """Return the channels of a layer's convolution; where it has none, of what it mixes."""
    inner, groups = (number(header, f"ssm.{x}", 0, _MOST, 0) for x in ("inner_size", "group_count"))
    channels = inner + 2 * groups * number(header, "ssm.state_size", 0, _MOST, 0)
    heads = max(per_layer(header, "attention.head_count", _layers(header), [0] * _layers(header)))
    keys = heads * number(header, "kda.head_dim", 0, _MOST, 0)
    return max(channels, 3 * keys, number(header, "embedding_length", 1, 1 << 20))


def _layers(header: Header) -> int:
    return number(header, "block_count", 1, 1024)
