"""Reads a model's shape from its header: the numbers that decide how large its caches are.

Where a header leaves something open, the answer is the one that takes more memory, and
`Geometry.unverified` says so.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.catalog.model import Geometry, Layer
from runner.gguf.architectures import Sliding, table
from runner.gguf.keys import bad, number, per_layer
from runner.gguf.parse import Header, Skipped
from runner.gguf.recurrent import Recurrent, recurrent

_MAX_LAYERS = 1024  # llama.cpp's LLAMA_MAX_LAYERS is 512
_BLOCK = re.compile(r"blk\.(\d{1,4})\.(.+?)(\.weight|\.bias)?", re.ASCII)
_UNSURE = "Its memory is planned by the largest reading of its header, and is not verified."


def layer_counts(headers: Sequence[Header]) -> tuple[int, int]:
    """Return how many layers a model has without draft heads, and how many are draft heads.

    `headers`: of all its shards, or of the first alone. Heads that the first promises count only
    if their tensors are there: some converters write the number without them, or leave out the
    tensors alone. A layer of which there are no tensors at all is no layer. BadFile where there are
    tensors of more layers than the header counts.
    """
    first = headers[0]
    count = number(first, "block_count", 1, _MAX_LAYERS)
    promised = number(first, "nextn_predict_layers", 0, count - 1, 0)
    if not _is_whole(headers):
        return count - promised, promised
    names = [tensor.name for header in headers for tensor in header.tensors]
    blocks = {(int(b[1]), ".nextn." in b[0]) for n in names if (b := _BLOCK.fullmatch(n))}
    last = max((layer for layer, _ in blocks), default=0)
    if last >= count:  # llama.cpp takes no tensor that it does not know
        raise bad(first, "block_count", f"it is {count}, and there are tensors of layer {last}")
    if not promised:
        return count, 0
    heads = [layer for layer, is_head in blocks if is_head and count - promised <= layer < count]
    if heads:
        return min(heads), count - min(heads)
    return max(
        (n + 1 for n, _ in blocks if count - promised <= n < count), default=count - promised
    ), 0


def geometry(header: Header, *others: Header) -> Geometry:
    """Read a model's shape from the header of its first shard; BadFile names a missing key.

    `others`: the headers of its other shards, by whose tensors draft heads are judged.
    """
    headers = (header, *others)
    count = number(header, "block_count", 1, _MAX_LAYERS)
    trunk, heads = layer_counts(headers)
    embedding = number(header, "embedding_length", 1, 1 << 20)
    state = recurrent(header, count, trunk)
    # Models without any attention may say so by leaving these out.
    nothing = [0] * count if state.whole else None
    query_heads = per_layer(header, "attention.head_count", count, nothing)
    kv_heads = per_layer(header, "attention.head_count_kv", count, query_heads)
    for name, numbers in (("head_count", query_heads), ("head_count_kv", kv_heads)):
        if not any(numbers) and not state.whole:
            raise bad(header, f"attention.{name}", "it is 0 in every layer")
    attention = _attention(header, count, trunk, embedding, query_heads)
    layers = tuple(_layer(attention, state, kv_heads[i], i) for i in range(count))
    experts = number(header, "expert_count", 0, 1 << 16, 0)
    sliding = any(layer.sliding for layer in layers)
    return Geometry(
        arch=header.arch,
        context_length=number(header, "context_length", 1, 1 << 40),
        embedding_length=embedding,
        vocab_size=_vocabulary(headers),
        layers=layers[:trunk],
        sliding_window=attention.window if sliding else 0,
        mtp_layers=layers[trunk : trunk + heads],
        experts=experts,
        experts_used=max(
            per_layer(
                header, "expert_used_count", count, [0] * count, bounds=(min(experts, 1), experts)
            )
        ),
        feed_forward_length=max(per_layer(header, "feed_forward_length", count, [0] * count)),
        expert_feed_forward_length=max(
            per_layer(header, "expert_feed_forward_length", count, [0] * count)
        ),
        query_width=max(query_heads) * attention.latent,
        state_width=state.width,
        unverified=tuple(_unverified(headers, trunk, experts, state)),
    )


@dataclass(frozen=True, slots=True)
class _Attention:
    """What all attending layers share: `index` elements a token beside keys and values."""

    key: int
    value: int
    key_swa: int
    value_swa: int
    index: int
    window: int
    slides: Sequence[bool]
    own: int  # layers from here on use the cache of another
    latent: int = 0  # of latent attention, the elements of one head's query


def _attention(
    header: Header, count: int, trunk: int, embedding: int, query_heads: Sequence[int]
) -> _Attention:
    if not any(query_heads):
        return _Attention(0, 0, 0, 0, 0, 0, [False] * count, count)
    head_size = embedding // next(filter(None, query_heads))
    key = number(header, "attention.key_length", 1, 1 << 16, head_size)
    value = number(header, "attention.value_length", 1, 1 << 16, head_size)
    key_swa = number(header, "attention.key_length_swa", 1, 1 << 16, key)
    value_swa = number(header, "attention.value_length_swa", 1, 1 << 16, value)
    whole = [number(header, f"attention.{x}_length_mla", 0, 1 << 16, 0) for x in ("key", "value")]
    index = number(header, "attention.indexer.key_length", 0, 1 << 16, 0)
    latent = 0
    if all(whole) and header.arch in table().latent.split():
        # Every head is compared with the one compressed key, and sums up compressed values.
        latent = key + value
        value = value_swa = 0  # computed from the keys
    elif index:
        index += value  # the indexer's cache is of the usual kind, with values
    window, slides = _sliding(header, count, trunk)
    own = table().own_cache.get(header.arch, count)
    if own == 0:
        own = count - number(header, "attention.shared_kv_layers", 0, count - 1, 0)
    return _Attention(key, value, key_swa, value_swa, index, window, slides, own, latent)


def _layer(a: _Attention, state: Recurrent, kv_heads: int, i: int) -> Layer:
    held = state.state_bytes if state.has_state[i] else 0
    if not state.attends[i] or not kv_heads or i >= a.own:
        return Layer(0, 0, 0, sliding=False, state_bytes=held)
    if a.slides[i]:
        return Layer(kv_heads, a.key_swa, a.value_swa, sliding=True, state_bytes=held)
    return Layer(kv_heads, a.key, a.value, sliding=False, state_bytes=held, index_length=a.index)


def _unverified(
    headers: Sequence[Header], trunk: int, experts: int, state: Recurrent
) -> Iterator[str]:
    arch = headers[0].arch
    if arch not in table().known.split():
        yield f"This engine has not been verified with this model's architecture. {_UNSURE}"
        return
    if arch in table().approximate.split() or state.guessed:
        yield f"This model's attention is of a kind that is not counted exactly here. {_UNSURE}"
    verified = table().verified.get(arch)
    if verified is None:
        return
    known = verified.tensors.split()
    foreign = {
        block[2]
        for header in headers
        for tensor in header.tensors
        if (block := _BLOCK.fullmatch(tensor.name)) and _is_foreign(block[2], known)
    }
    if trunk > verified.layers or experts > verified.experts:
        what = f"{trunk} layers and {experts} experts, not {verified.layers} and {verified.experts}"
        yield f"This engine has not been verified with this model: it has {what}."
    elif foreign or any("ssmax" in k or "indexer" in k for k in headers[0].metadata):
        yield (
            "This engine has not been verified with this model: it has parts that the engine may "
            "not use, so that it may not load, or answer badly."
        )


def _is_foreign(name: str, known: Sequence[str]) -> bool:
    # Tests and converters may add tensors of no role; parts of attention are what matters.
    return name not in known and name.startswith(("attn", "index", "ssm", "ffn"))


def _is_whole(headers: Sequence[Header]) -> bool:
    """Whether these are the headers of all shards, with their tensors."""
    shards = headers[0].shards
    there = any(header.tensors for header in headers)
    return there and len(headers) == (shards.count if shards else 1)


def _vocabulary(headers: Sequence[Header]) -> int:
    """Return the largest of the sizes that a header gives for the vocabulary, 0 for none."""
    tokens = headers[0].metadata.get("tokenizer.ggml.tokens")
    listed = tokens.length if isinstance(tokens, Skipped) else 0
    tensors = [tensor for header in headers for tensor in header.tensors]
    rows = [t.shape[1] for t in tensors if t.name == "token_embd.weight" and t.shape[1:]]
    return max(listed, *rows, number(headers[0], "vocab_size", 0, 1 << 30, 0))


def _sliding(header: Header, count: int, trunk: int) -> tuple[int, Sequence[bool]]:
    """Return the window, and for each layer whether it slides: by flags, a period, or the table."""
    known = table().sliding.get(header.arch)
    given = number(header, "attention.sliding_window", 0, 1 << 30, known.window if known else 0)
    window = known.window if known and known.fixed and given else given
    pattern = header.metadata.get(f"{header.arch}.attention.sliding_window_pattern")
    if not window or (known and (known.every == 1 or known.layers not in {0, trunk})):
        return 0, [False] * count
    if isinstance(pattern, tuple) or (pattern is None and known is None):
        flags = per_layer(header, "attention.sliding_window_pattern", count, [0] * count)
        return window, [bool(flag) for flag in flags]
    every = number(
        header, "attention.sliding_window_pattern", 0, 1 << 16, known.every if known else None
    )
    # Some architectures put the full layer first; as it is not known which, an unlisted one counts
    # so, which gives as many full layers or one more.
    rule = known or Sliding(every, first=True)
    return window, [i < trunk and rule.slides(i, every) for i in range(count)]
