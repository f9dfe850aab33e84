"""What ships of a training: whole, as `models.toml` says, and no larger than it may be."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from gguf.gguf_reader import GGUFReader
from gguf.quants import dequantize

from runner.catalog import models_toml
from training import pack
from training.shape import TRAINED
from training.world import template, tokenizer

MODEL = models_toml.load_catalog().model("tiny-step")


def weights(path: Path) -> dict[str, np.ndarray]:
    return {one.name: dequantize(one.data, one.tensor_type) for one in GGUFReader(path).tensors}


def test_every_file_is_what_the_catalog_says() -> None:
    assert {Path(file.path).parent for file in MODEL.files} == {pack.PLACE}
    for file in MODEL.files:
        content = Path(file.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)
    assert sum(file.bytes for file in MODEL.files) <= 20_000_000, "they ship in the package"
    assert {path.name for path in pack.PLACE.glob("*.gguf")} == {f.name for f in MODEL.files}


def test_the_catalog_has_the_shape_that_was_trained() -> None:
    from runner.gguf import header

    words = tokenizer.stored()
    shape, told = TRAINED.with_vocabulary(len(words.tokens)).text, MODEL.geometry
    read = header.geometry(header.read_header(Path(MODEL.quant("F16").files[0].path)))
    assert told
    assert told.layers == read.layers
    assert (told.vocab_size, told.embedding_length) == (read.vocab_size, read.embedding_length)
    assert (told.experts, told.experts_used) == (read.experts, read.experts_used)
    assert (told.sliding_window, len(told.mtp_layers)) == (shape.window, shape.mtp_layers)
    assert MODEL.mtp
    assert MODEL.mtp.input_bytes == shape.vocabulary * shape.hidden * 34 // 32, "Q8_0"


def test_the_official_template_is_in_every_file() -> None:
    official = template.OFFICIAL.read_text(encoding="utf-8")
    for file in (*(quant.files[0] for quant in MODEL.quants), MODEL.mtp):
        assert file
        field = GGUFReader(file.path).get_field("tokenizer.chat_template")
        assert field
        assert field.contents() == official


def test_a_training_is_packed_as_the_real_files_are(tmp_path: Path) -> None:
    """Made of the files that ship, put together again: the trunk in F16 keeps every bit."""
    from runner.testbed import files, metadata

    trunk, heads = pack.PLACE / "tiny-step-F16.gguf", pack.PLACE / pack.HEADS
    words = tokenizer.stored()
    shape = TRAINED.with_vocabulary(len(words.tokens))
    whole = weights(heads) | weights(trunk)
    tensors = [
        (tensor, whole[tensor.name].reshape(tensor.shape[::-1]))
        for tensor in pack.MATRICES["F16"].apply(shape.language_table())
    ]
    entries = metadata.text(shape.text, "Tiny Step", "16x1M", mtp=True)
    files.write_weights(tmp_path / "whole.gguf", metadata.TEXT_ARCH, entries, tensors)
    packed = pack.pack(tmp_path / "whole.gguf", pack.PLACE / pack.PROJECTOR, tmp_path / "packed")
    known = {file.name: file.sha256 for file in MODEL.files}
    assert {each.path.name for each in packed} == known.keys()
    same = {each.path.name for each in packed if each.sha256 == known[each.path.name]}
    assert same >= {"tiny-step-F16.gguf", "tiny-step-Q8_0.gguf", pack.PROJECTOR}


def test_the_catalog_is_renewed_file_by_file(tmp_path: Path) -> None:
    catalog = tmp_path / "models.toml"
    catalog.write_text(
        'path = "a.gguf"\nbytes = 1\nsha256 = "00"\n\n'
        '{ path = "b.gguf", bytes = 2_000, sha256 = "11" }\n'
    )
    pack.renew([pack.Packed(Path("b.gguf"), 3_000_000, "22")], catalog)
    assert catalog.read_text() == (
        'path = "a.gguf"\nbytes = 1\nsha256 = "00"\n\n'
        '{ path = "b.gguf", bytes = 3_000_000, sha256 = "22" }\n'
    )
    with pytest.raises(ValueError, match=r"does not name c\.gguf"):
        pack.renew([pack.Packed(Path("c.gguf"), 1, "33")], catalog)
