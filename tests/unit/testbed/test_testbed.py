"""The test bed's models are what they claim: same bytes everywhere, true shapes, true lengths."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Kind
from gguf.gguf_reader import GGUFReader

from runner.testbed import files, language, metadata, tiny_step, vocabulary
from runner.testbed.geometry import HEADS_Q8_0
from testbed import cli, twin

# Lengths of the official shards after the first (which alone holds much metadata), from the hub.
PUBLISHED = {
    "IQ4_XS": [46_999_941_600, 11_510_293_728],
    "Q4_K_S": [46_289_593_504, 18_262_953_696],
    "Q3_K_M": [46_381_975_392, 651_059_456],
    "IQ3_XXS": [29_112_867_936],
    "Q8_0": [46_094_750_560, 46_099_485_664, 46_175_264_256, 24_601_482_592],
}
# What an official first shard, projector and MTP file hold beside tensors differs from the twin's
# by vocabulary and template only.
METADATA_SLACK = 2_000_000

# Hashes of names and data of all tensors, metadata left out: a reworded template changes nothing.
WEIGHTS = {
    "tiny-step.gguf": "7f2fda17719d95ab77201bd820bc25d04c38d6b8099085909ff9ae6b91733c75",
    "mmproj-tiny-step.gguf": "396c7436479775e59589d71d854e04753ea92f10294c2d2369ad7522faa740fc",
}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_step.write(folder)
    return folder


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform == "win32":
        pytest.skip("NTFS makes no holes by itself")
    folder = tmp_path_factory.mktemp("twin")
    twin.ensure(folder, "IQ4_XS")
    return folder


def test_tiny_is_the_same_every_time(made: Path, tmp_path: Path) -> None:
    tiny_step.write(tmp_path)
    assert {path.name: digest(path) for path in made.iterdir()} == {
        path.name: digest(path) for path in tmp_path.iterdir()
    }


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_tiny_weights_do_not_depend_on_the_machine(made: Path, name: str) -> None:
    weights = hashlib.sha256()
    for tensor in GGUFReader(made / name).tensors:
        weights.update(tensor.name.encode() + tensor.data.tobytes())
    assert weights.hexdigest() == WEIGHTS[name]


def test_tiny_header(made: Path) -> None:
    reader = GGUFReader(made / "tiny-step.gguf")
    keys = {key: field.contents() for key, field in reader.fields.items()}
    assert keys["general.architecture"] == "step35"
    assert keys["step35.block_count"] == 7
    assert keys["step35.nextn_predict_layers"] == 3
    assert keys["step35.context_length"] == 262_144
    assert keys["step35.attention.head_count"] == [4, 6, 6, 6, 6, 6, 6]
    assert keys["step35.attention.sliding_window_pattern"] == [False] + [True] * 6
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    assert tokens[keys["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert tokens[:3] == [vocabulary.BEGIN, vocabulary.END, vocabulary.PAD]
    assert {token: types[tokens.index(token)] for token in ("<|im_end|>", "<think>")} == {
        "<|im_end|>": 3,
        "<think>": 4,
    }
    assert (made / "tiny-step.gguf").stat().st_size < 20_000_000


def test_tiny_files_hold_trunk_and_heads(made: Path) -> None:
    names = {
        name: {tensor.name for tensor in GGUFReader(made / f"{name}.gguf").tensors}
        for name in ("tiny-step", "tiny-step-trunk", "tiny-step-mtp")
    }
    shared = {"output.weight", "output_norm.weight", "rope_freqs.weight", "token_embd.weight"}
    assert names["tiny-step"] == names["tiny-step-trunk"] | names["tiny-step-mtp"]
    assert names["tiny-step-trunk"] & names["tiny-step-mtp"] == shared


def test_tiny_follows_its_grammar() -> None:
    kinds = {tensor.name: tensor for tensor in HEADS_Q8_0.apply(tiny_step.TINY.trunk())}
    embedding = tiny_step.values(kinds["token_embd.weight"])
    output = tiny_step.values(kinds["output.weight"])
    # The network without its layers: what they add is small.
    state = embedding / np.sqrt(np.mean(embedding**2, axis=1, keepdims=True))
    likeliest = np.argmax(state @ output.T, axis=1)
    spelled = tiny_step.WORDS.tokens
    for group in language.GROUPS.values():
        if not group.then:
            continue
        allowed = {token for name in group.then for token in language.GROUPS[name].tokens}
        for token in group.tokens:
            place = spelled.index(_stored(token))
            assert spelled[likeliest[place]] in {_stored(word) for word in allowed}, token


def _stored(token: str) -> str:
    special = {*vocabulary.SHOWN, *vocabulary.ADDED}
    return token if token in special else vocabulary.spell(token)


def test_template_states_the_wire_format() -> None:
    entries = {entry.key: entry.value for entry in metadata.tokenizer(tiny_step.WORDS)}
    template = entries["tokenizer.chat_template"]
    start = "'<|im_start|>assistant\\n<think>\\n'"
    for marker in ("<tool_call>\\n<function=", "<parameter=", start):
        assert marker in template


def test_twin_vocabulary_has_the_official_counts() -> None:
    words = twin.official_vocabulary()
    assert len(words.tokens) == 128_896
    assert len(words.merges) == 127_741
    assert words.id("<im_patch>") == 128_001
    assert words.id("<|im_end|>") == 128_007


def test_twin_tensors() -> None:
    tensors = twin.QUANTS["IQ4_XS"].apply(twin.STEP.trunk())
    by_name = {tensor.name: tensor for tensor in tensors}
    assert len(tensors) == 754
    assert by_name["blk.44.attn_q.weight"].shape == (4096, 8192)
    assert by_name["blk.43.attn_q.weight"].shape == (4096, 12288)
    assert by_name["blk.21.ffn_down_exps.weight"].shape == (1280, 4096, 288)
    assert by_name["blk.21.ffn_down_exps.weight"].kind is Kind.IQ4_XS
    assert by_name["blk.21.attn_v.weight"].kind is Kind.Q5_K
    assert by_name["output.weight"].kind is Kind.Q6_K
    assert by_name["blk.21.ffn_gate_inp.weight"].kind is Kind.F32
    assert sum(tensor.padded_size for tensor in tensors) == 104_988_283_392
    assert len(twin.STEP.heads_alone()) == 55


def test_twin_lengths(sparse: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in sparse.glob("*.gguf")}
    shards = [sizes[f"step-twin-IQ4_XS-0000{place}-of-00003.gguf"] for place in (1, 2, 3)]
    assert shards[1:] == PUBLISHED["IQ4_XS"]
    assert shards[0] == pytest.approx(46_483_327_296, abs=METADATA_SLACK)
    assert sizes["step-twin-IQ4_XS.gguf"] == pytest.approx(104_990_933_344, abs=METADATA_SLACK)
    assert sizes["step-twin-mtp.gguf"] == pytest.approx(3_707_276_416, abs=METADATA_SLACK)
    assert sizes["mmproj-step-twin.gguf"] == pytest.approx(3_972_828_768, abs=1000)


def test_twin_shard_header(sparse: Path) -> None:
    reader = GGUFReader(sparse / "step-twin-IQ4_XS-00002-of-00003.gguf")
    keys = {key: field.contents() for key, field in reader.fields.items() if "." in key}
    assert {key: value for key, value in keys.items() if not key.startswith("GGUF")} == {
        "split.no": 1,
        "split.count": 3,
        "split.tensors.count": 754,
    }
    assert reader.tensors[0].name == "blk.21.ffn_gate_exps.weight"
    assert reader.tensors[-1].name == "blk.40.ffn_down_shexp.weight"


@pytest.mark.skipif(sys.platform != "linux", reason="counts blocks as Linux does")
def test_twin_takes_no_room(sparse: Path) -> None:
    assert sum(path.stat().st_blocks * 512 for path in sparse.iterdir()) < 40_000_000


@pytest.mark.skipif(sys.platform == "win32", reason="NTFS makes no holes by itself")
@pytest.mark.parametrize("quant", sorted(PUBLISHED))
def test_every_recipe_gives_the_published_shards(tmp_path: Path, quant: str) -> None:
    tensors = twin.QUANTS[quant].apply(twin.STEP.trunk())
    twin.write_sparse(tmp_path / "twin.gguf", "step35", [], tensors, twin.SHARD_LIMIT)
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    assert sizes[1:] == PUBLISHED[quant]


def test_a_set_is_written_once_and_mended(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "a.gguf").write_bytes(b"whole")

    assert files.ensure(tmp_path, "set", write)[0]
    assert not files.ensure(tmp_path, "set", write)[0]
    assert files.ensure(tmp_path, "set", write, force=True)[0]
    (tmp_path / "a.gguf").write_bytes(b"half")
    written, made = files.ensure(tmp_path, "set", write)
    assert written
    assert made == [files.Written(tmp_path / "a.gguf", 5)]
    (tmp_path / files.KEY_FILE).write_text("no JSON")
    assert files.ensure(tmp_path, "set", write)[0]


def test_an_interrupted_set_leaves_nothing(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "a.gguf").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.ensure(tmp_path, "set", write)
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tiny", "--out", str(tmp_path)]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 4
    assert all(Path(path).stat().st_size == int(size) for path, size in lines)
