"""Reads a model's shape from its header: the numbers that decide how large its caches are."""

from collections.abc import Sequence

from runner.base.errors import BadFile
from runner.base.text import shown
from runner.catalog.model import Geometry, Layer
from runner.gguf.parse import Header, Skipped

_MAX_LAYERS = 1024  # llama.cpp's LLAMA_MAX_LAYERS is 512

# Architectures whose files may leave the pattern of sliding layers to the engine: of each so many
# layers the last attends to everything (`load_swa_pattern` in llama.cpp's src/models/*.cpp).
# For any other, no pattern means that every layer is taken as full: too much memory, never less.
_FULL_EVERY = {
    "cohere2": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "olmo2": 4,
}


def layer_counts(header: Header) -> tuple[int, int]:
    """Return how many layers a model has, and how many of them, the last, are draft heads."""
    count = _number(header, "block_count", 1, _MAX_LAYERS)
    return count, _number(header, "nextn_predict_layers", 0, count - 1, 0)


def geometry(header: Header) -> Geometry:
    """Read a model's shape from the header of its first shard; BadFile names a missing key.

    Where a header leaves something open, the answer is the one that takes more memory.
    """
    count, heads = layer_counts(header)
    embedding = _number(header, "embedding_length", 1, 1 << 20)
    query_heads = _per_layer(header, "attention.head_count", count)
    kv_heads = _per_layer(header, "attention.head_count_kv", count, query_heads)
    for name, numbers in (("head_count", query_heads), ("head_count_kv", kv_heads)):
        if not any(numbers):  # without attention its memory is of a kind that is not known here
            raise _bad(header, f"attention.{name}", "it is 0 in every layer")
    head_size = embedding // max(1, query_heads[0])
    key = _number(header, "attention.key_length", 1, 1 << 16, head_size)
    value = _number(header, "attention.value_length", 1, 1 << 16, head_size)
    window = _number(header, "attention.sliding_window", 0, 1 << 30, 0)
    sliding = _sliding(header, count) if window else [False] * count
    key_swa = _number(header, "attention.key_length_swa", 1, 1 << 16, key)
    value_swa = _number(header, "attention.value_length_swa", 1, 1 << 16, value)
    layers = tuple(
        Layer(kv_heads[i], key_swa, value_swa, sliding=True)
        if sliding[i]
        else Layer(kv_heads[i], key, value, sliding=False)
        for i in range(count)
    )
    experts = _number(header, "expert_count", 0, 1 << 16, 0)
    return Geometry(
        arch=header.arch,
        context_length=_number(header, "context_length", 1, 1 << 40),
        embedding_length=embedding,
        vocab_size=_vocabulary(header),
        layers=layers[: count - heads],
        sliding_window=window if any(sliding) else 0,
        mtp_layers=layers[count - heads :],
        experts=experts,
        experts_used=_number(header, "expert_used_count", min(experts, 1), experts, 0),
        feed_forward_length=max(_per_layer(header, "feed_forward_length", count, [0] * count)),
        expert_feed_forward_length=max(
            _per_layer(header, "expert_feed_forward_length", count, [0] * count)
        ),
    )


def _vocabulary(header: Header) -> int:
    """Return the largest of the sizes that a header gives for the vocabulary, 0 for none."""
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    listed = tokens.length if isinstance(tokens, Skipped) else 0
    rows = [t.shape[1] for t in header.tensors if t.name == "token_embd.weight" and t.shape[1:]]
    return max(listed, *rows, _number(header, "vocab_size", 0, 1 << 30, 0))


def _sliding(header: Header, count: int) -> list[bool]:
    """Say for each layer whether it slides: by a flag each, by a period, or by the table."""
    pattern = header.metadata.get(f"{header.arch}.attention.sliding_window_pattern")
    if isinstance(pattern, tuple) or (pattern is None and header.arch not in _FULL_EVERY):
        flags = _per_layer(header, "attention.sliding_window_pattern", count, [0] * count)
        return [bool(flag) for flag in flags]
    period = _number(
        header, "attention.sliding_window_pattern", 0, 1 << 16, _FULL_EVERY.get(header.arch)
    )
    # 0: all slide. Some architectures put the full layer first; as it is not known which, an
    # unlisted one counts so, which gives as many full layers or one more.
    full = period - 1 if header.arch in _FULL_EVERY else 0
    return [period == 0 or i % period != full for i in range(count)]


def _number(header: Header, key: str, least: int, most: int, default: int | None = None) -> int:
    value = header.metadata.get(f"{header.arch}.{key}", default)
    if type(value) is not int or not least <= value <= most:
        raise _bad(header, key, "it is missing" if value is None else f"it is {_brief(value)}")
    return value


def _per_layer(
    header: Header, key: str, count: int, default: Sequence[int] | None = None
) -> Sequence[int]:
    """Read a key that is either one number for all layers or one for each."""
    value = header.metadata.get(f"{header.arch}.{key}")
    if value is None and default is not None:
        return default
    values = [value] * count if type(value) is int else value
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise _bad(header, key, f"it is not one number for each of {count} layers")
    numbers = [entry for entry in values if isinstance(entry, int) and 0 <= entry < 1 << 24]
    if len(numbers) < count:
        raise _bad(header, key, f"it is {_brief(value)}")
    return numbers


def _brief(value: object) -> str:
    return shown(str(value))


def _bad(header: Header, key: str, why: str) -> BadFile:
    name = shown(header.path.name) if header.path else "The file"
    return BadFile(
        f"{name} is not a model that steprun can plan for.",
        why=f"Key {shown(f'{header.arch}.{key}')}: {why}.",
        next="Download the file again, or another quant of the model.",
    )
