"""GGUF files of other kinds, given as a model: each is refused, with what it is."""

from typing import Any

import pytest

from runner.base.errors import BadFile, Exit
from runner.gguf import architectures, local_file, shape
from tests.unit.gguf.test_header import STRING, U32, entry, gguf, keys, parse, tensor

KEYS: dict[str, tuple[int, Any]] = {"attention__head_count_kv": (U32, 9)}
WEIGHTS = [tensor("blk.0.a.weight")]


def given(tmp_path, entries, tensors=WEIGHTS):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(entries, tensors, 272 * bool(tensors)))
    return local_file.read_model(path)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (keys("nomic-bert"), "embeddings"),
        (keys("qwen2", pooling_type=(U32, 3)), "embeddings"),
        (keys("qwen3", pooling_type=(U32, 4)), "ranks texts"),
        (keys("eagle3"), "draft model"),
        (keys("t5"), "decoder"),
        (keys("dream"), "diffusion"),
        (keys("whisper"), "speech"),
        ([entry("general.architecture", STRING, "flux")], "images"),
        ([*keys("llama"), entry("general.type", STRING, "adapter")], "LoRA"),
        ([entry("general.type", STRING, "imatrix")], "importance matrix"),
        ([entry("imatrix.chunk_count", U32, 9)], "not a language model"),
    ],
)
def test_what_cannot_chat_is_refused_with_what_it_is(tmp_path, entries, why):
    with pytest.raises(BadFile, match="not a model to chat with") as caught:
        given(tmp_path, entries)
    assert why in caught.value.why
    assert caught.value.exit_code == Exit.BAD_FILE


def test_a_vocabulary_alone_is_refused(tmp_path):
    tokens = entry("tokenizer.ggml.tokens", STRING, ["a"])
    with pytest.raises(BadFile) as caught:
        given(tmp_path, [*keys("llama"), tokens], [])
    assert "no weights" in caught.value.why


@pytest.mark.parametrize("pooling", [0, 99])
def test_a_chat_model_may_name_no_pooling(tmp_path, pooling):
    assert given(tmp_path, keys("qwen3", pooling_type=(U32, pooling)))


def test_no_known_chat_model_is_listed_as_another_kind():
    table = architectures.table()
    listed = " ".join(entry.architectures for entry in table.not_chat).split()
    assert not set(listed) & set(table.known.split())
    assert len(listed) == len(set(listed))
    assert all(entry.why.endswith(".") for entry in table.not_chat)


def test_tensors_of_more_layers_than_the_header_counts():
    rows = [tensor("blk.0.a.weight"), tensor("blk.6.a.weight", offset=288)]
    with pytest.raises(BadFile) as caught:
        shape.layer_counts([parse(gguf(keys("llama"), rows, 288 + 272))])
    assert "it is 6, and there are tensors of layer 6" in caught.value.why
