"""Projectors: their width by their tensors, by their key, or not at all."""

import pytest
from click.testing import CliRunner

from runner.base.errors import BadFile
from runner.cli.main import steprun
from runner.gguf import projector
from runner.weights import model_headers
from tests.unit.gguf.test_header import BOOL, STRING, U32, entry, gguf, keys, parse, tensor

F32_TYPE = 0


def made(kind, rows, dim=None, *more):
    entries = [entry("general.architecture", STRING, "clip"), *more]
    entries += [entry("clip.projector_type", STRING, kind)] * bool(kind)
    entries += [entry("clip.vision.projection_dim", U32, dim)] if dim is not None else []
    at, tensors = 0, []
    for name, shape in rows:
        tensors.append(tensor(name, shape, F32_TYPE, at))
        size = 4
        for n in shape:
            size *= n
        at += -(-size // 32) * 32
    return parse(gguf(entries, tensors, at))


@pytest.mark.parametrize(
    ("kind", "rows", "dim", "width"),
    [
        ("resampler", [("resampler.proj.weight", (2560, 2560))], 0, 2560),
        ("resampler", [("resampler.proj.weight", (2560, 2560))], None, 2560),
        # LLaVA's key is the width of CLIP's own projection.
        ("mlp", [("mm.0.weight", (1024, 4096)), ("mm.2.weight", (4096, 4096))], 768, 4096),
        ("gemma3", [("mm.input_projection.weight", (2560, 1152))], 0, 2560),
        ("idefics3", [("mm.model.fc.weight", (9216, 576))], None, 576),
        ("qwen2.5vl_merger", [("mm.2.weight", (5120, 3584)), ("mm.2.bias", (3584,))], 1, 3584),
        ("internvl", [("mm.model.mlp.3.weight", (1024, 896))], 0, 896),
        ("unheard-of", [("mm.2.weight", (7, 9))], 4096, 4096),
        ("unheard-of", [("mm.2.weight", (7, 9))], 0, None),
        ("mlp", [("mm.2.weight", (7,))], 0, None),
    ],
)
def test_the_width(kind, rows, dim, width):
    found = projector.width(made(kind, rows, dim))
    assert (found and found.elements) == width
    assert projector.fits(made(kind, rows, dim), width or 1)
    assert projector.fits(made(kind, rows, dim), 5) is (width is None)
    assert projector.is_verified(made(kind, rows, dim)) is (width is not None)


def test_old_files_name_no_kind():
    rows = [("resampler.proj.weight", (8, 8))]
    old = made("", rows, 0, entry("clip.has_minicpmv_projector", BOOL, value=True))
    assert projector.width(old) == projector.Width(8, by_tensors=True)


def test_a_projector_beside_its_model(tmp_path):
    model = tmp_path / "m.gguf"
    model.write_bytes(gguf(keys("llama"), [tensor("blk.0.a.weight")], 272))
    beside = tmp_path / "mmproj-m.gguf"

    def write(rows, dim):
        at = sum(shape[0] * shape[1] * 4 for _, shape in rows)
        entries = [entry("general.architecture", STRING, "clip")]
        entries += [entry("clip.projector_type", STRING, "mlp")]
        entries += [entry("clip.vision.projection_dim", U32, dim)]
        made = [tensor(name, shape, F32_TYPE) for name, shape in rows]
        beside.write_bytes(gguf(entries, made, at))

    def read(path=None):
        return model_headers.read_local(model, path, None, see=True)

    write([("mm.2.weight", (8, 576))], 768)  # LLaVA's key; the tensors are right
    spec, files = read()
    assert (files.projector, spec.geometry.unverified) == (beside, ())
    write([("mm.2.weight", (8, 512))], 576)  # and here the key only
    assert read()[1].projector is None
    with pytest.raises(BadFile) as caught:
        read(beside)
    assert "512" in caught.value.why
    assert "576" in caught.value.why
    write([], 0)  # nothing tells: the engine will say
    spec, files = read()
    assert files.projector == beside
    assert "projector" in spec.geometry.unverified[0]
    seen = beside.rename(tmp_path / "mmproj-other.gguf")
    write([("mm.2.weight", (8, 576))], 0)
    spec, files = read()
    assert seen.exists()
    assert (files.projector, spec.geometry.unverified) == (beside, ())


def test_what_is_not_verified_is_never_said_to_fit(tmp_path, home):
    model = tmp_path / "m.gguf"
    own = keys("step35", block_count=(U32, 92))
    model.write_bytes(gguf(own, [tensor("blk.0.attn_ssmax.weight", (8,), F32_TYPE)], 32))
    ran = CliRunner().invoke(steprun, ["plan", "--machine", "m4-max-128", "--model", str(model)])
    assert ran.exit_code == 0, ran.output
    verdict = ran.output.splitlines()[0]
    assert "fits, not verified, on" in verdict
    assert "not been verified with this model: it has 92 layers" in " ".join(ran.output.split())


@pytest.mark.parametrize(("keys_", "sees"), [("audio", False), ("vision audio", True), ("", True)])
def test_a_projector_for_sound_gives_no_images(tmp_path, keys_, sees):
    rows = [("mm.2.weight", (8, 576))]
    more = [entry(f"clip.has_{key}_encoder", BOOL, value=True) for key in keys_.split()]
    found = made("ultravox", rows, 576, *more)
    assert (projector.sees(found), projector.fits(found, 576)) == (sees, sees)
    model, sound = tmp_path / "m.gguf", tmp_path / "mmproj-m.gguf"
    model.write_bytes(gguf(keys("llama"), [tensor("blk.0.a.weight")], 272))
    own = [entry("general.architecture", STRING, "clip"), *more]
    own.append(entry("clip.audio.projector_type", STRING, "ultravox"))
    sound.write_bytes(gguf(own, [tensor("mm.2.weight", (8, 576), F32_TYPE)], 8 * 576 * 4))
    spec, files = model_headers.read_local(model, None, None, see=True)
    assert (files.projector, bool(spec.projector_bytes)) == (sound if sees else None, sees)
    if not sees:
        with pytest.raises(BadFile, match="not for images"):
            model_headers.read_local(model, sound, None, see=True)
