"""`steprun models` and the weights' way into a chat: a small catalog, and a fake hub behind it."""

import hashlib
import json
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from runner.base.disk import alone
from runner.base.errors import BadFile, Exit, Refused, SteprunError, UsageError
from runner.base.progress import Phase, Progress
from runner.base.units import duration
from runner.catalog import models_toml
from runner.catalog.model import Catalog, ModelFile, Quant
from runner.cli import confirm as asking
from runner.cli import progress
from runner.cli.commands.models import models
from runner.cli.terminal import make_ready
from runner.hub import rate
from runner.machine.facts import Machine
from runner.plan.request import PlanRequest
from runner.run import machine_view
from runner.run.prepare import Prepared, make_plan
from runner.run.request import ModelRequest
from runner.weights import cache_layout, links, pull, verified, verify
from tests.fakes.hub import COMMIT, FakeHub, Manner

NAMES = [f"SMALL/step-{n:05d}-of-00003.gguf" for n in (1, 2, 3)]
DATA = {name: bytes(range(1, 251)) * (4_000 + 700 * n) for n, name in enumerate(NAMES)}
DATA |= {"TINY/step.gguf": b"t" * 300_000, "mmproj.gguf": b"p" * 200_000, "mtp.gguf": b"m" * 99_999}
SMALL = sum(len(DATA[name]) for name in NAMES)
PROJECTOR = len(DATA["mmproj.gguf"])


def _file(name: str, role: str = "weights") -> ModelFile:
    data = DATA[name]
    digest = hashlib.sha256(data).hexdigest()
    return ModelFile(role, "hf", "o/r", COMMIT, name, len(data), digest)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def known(monkeypatch) -> Catalog:
    """Let the catalog be Step-3.7-Flash's, with quants that can be fetched in a test."""
    shipped = models_toml.load_catalog()
    quants = (
        Quant("SMALL", tuple(_file(name) for name in NAMES), 60),
        Quant("TINY", (_file("TINY/step.gguf"),), 50),
    )
    model = replace(
        shipped.models[0],
        quants=quants,
        projector=_file("mmproj.gguf", "projector"),
        mtp=_file("mtp.gguf", "mtp"),
        mtp_others=(),
    )
    made = Catalog((model, shipped.demo))
    monkeypatch.setattr(models_toml, "load_catalog", lambda: made)
    return made


@pytest.fixture
def hub(monkeypatch):
    with FakeHub(dict(DATA)) as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        yield fake


def run(*words: str, say: str | None = None) -> Result:
    """Run a command; what it raises is raised here, as `runner.cli.main` would see it."""
    result = CliRunner().invoke(models, words, input=say, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


@pytest.fixture
def terminal(monkeypatch):
    """Let there be somebody to ask."""
    monkeypatch.setattr(asking, "can_ask", lambda: True)


def listed() -> dict[str, dict[str, Any]]:
    told = json.loads(run("--json").stdout)
    return {quant["name"]: quant for quant in told["models"][0]["quants"]}


def at(name: str) -> Path:
    return cache_layout.repo_folder("o/r") / "snapshots" / COMMIT / name


def damage(name: str, offset: int) -> None:
    path = at(name).resolve()
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_pull_says_what_it_fetches_and_the_list_shows_it(hub):
    assert not listed()["SMALL"]["on_disk"]
    said = run("pull", "small")
    assert "3 parts and the vision encoder (mmproj), 4 MiB" in said.stderr
    assert f"to    {cache_layout.hub_cache()}" in said.stderr
    assert "4 files downloaded and verified" in said.stderr
    assert said.stdout == ""
    small = listed()["SMALL"]
    assert small["on_disk"]
    assert small["disk_bytes"] >= SMALL
    states = {file["role"]: file["state"] for file in small["files"]}
    assert states == {"weights": "proven", "projector": "proven", "mtp": "absent"}
    assert hub.body_bytes == SMALL + PROJECTOR
    assert "downloaded" in run().output
    assert "All 4 files are already downloaded" in run("pull", "small").output


def test_pull_without_a_name_takes_what_the_plan_takes(hub):
    run("pull", "--no-projector", "--mtp")
    assert [name for name in DATA if at(name).exists()] == [*NAMES, "mtp.gguf"]


def test_what_is_begun_is_said_so(hub):
    hub.turns[NAMES[0]] = [Manner(cut=500_000, only="GET"), Manner(status=404)]
    with pytest.raises(SteprunError, match="was not downloaded"):
        run("pull", "small", "--no-projector")
    assert "% downloaded" in run().output
    hub.manners.clear()
    said = run("pull", "small", "--no-projector").stderr
    assert "already downloaded" in said
    assert hub.body_bytes == SMALL


def test_verify_and_repair(hub, monkeypatch):
    for module in ("block_checksums", "verify"):
        monkeypatch.setattr(f"runner.weights.{module}.BLOCK_BYTES", 1 << 16)
    run("pull", "small")
    assert "intact" in run("verify").output
    damage(NAMES[1], 500_000)
    said = run("verify", "small")
    assert said.return_value == Exit.BAD_FILE
    assert said.output.count("intact") == 3
    assert "DAMAGED" in said.output
    told = json.loads(run("verify", "small", "--json").stdout)
    assert [row["sound"] for row in told["files"]] == [True, False, True, True]
    assert told["files"][1]["wrong_at"] == [500_000 // 65_536 * 65_536]
    assert "DAMAGED" in run().output
    before = hub.body_bytes
    said = run("repair")
    assert "All files verified" in said.output
    assert hub.body_bytes - before == 1 << 16
    assert at(NAMES[1]).read_bytes() == DATA[NAMES[1]]
    assert run("verify").return_value == Exit.DONE


def test_a_quant_that_is_not_whole_is_not_called_sound(hub):
    run("pull", "small")
    run("pull", "tiny", "--mtp")
    at(NAMES[1]).unlink()
    for command in ("verify", "repair"):
        with pytest.raises(Refused, match="small is incomplete") as caught:
            run(command, "small")
        assert "step-00002-of-00003.gguf" in caught.value.why
        assert caught.value.next == "steprun models pull small"
    assert run("verify").return_value == Exit.DONE, "what is installed is intact"
    run("rm", "tiny", "--yes")
    with pytest.raises(Refused, match="tiny is not downloaded"):
        run("verify", "tiny")


def test_the_next_command_is_for_the_same_weights(hub):
    said = run("pull", "tiny").stderr
    assert "Ready: steprun chat --quant tiny" in said
    assert "models verify tiny" in run("pull", "tiny").output
    at("TINY/step.gguf").resolve().write_bytes(b"x" * len(DATA["TINY/step.gguf"]))
    assert "steprun models repair tiny" in run("verify", "tiny").stderr


def test_pull_warns_of_what_does_not_fit(hub, monkeypatch):
    small = _small_machine()
    monkeypatch.setattr("runner.run.machine_view.detect", lambda _: small)
    assert "TINY does not fit on this machine" in run("pull", "tiny").stderr


def _small_machine() -> Machine:
    return replace(machine_view.probed("m4-max-128"), limit_bytes=1 << 30)


def test_repair_of_what_was_never_proven_fetches_it_anew(hub):
    for name in NAMES:  # as another program might have left them
        at(name).parent.mkdir(parents=True, exist_ok=True)
        at(name).write_bytes(DATA[name][:-1] + b"x" if name == NAMES[2] else DATA[name])
    said = run("repair", "small")
    assert "Downloading 1 file again" in said.output
    assert hub.body_bytes == len(DATA[NAMES[2]])
    assert run("verify", "small").return_value == Exit.DONE


def test_another_programs_files_are_not_mended_unasked(hub, tmp_path, known, terminal):
    lying = tmp_path / "lmstudio" / "a.gguf"
    lying.parent.mkdir()
    lying.write_bytes(DATA["TINY/step.gguf"])
    file = known.models[0].quant("TINY").files[0]
    links.link_adopted(file, "step-3.7-flash", lying)
    verify.verify_files([(file, lying)], lambda *_: None)
    lying.write_bytes(b"x" + DATA["TINY/step.gguf"][1:])
    with pytest.raises(Refused, match="Nothing was changed"):
        run("repair", "tiny", say="n\n")
    assert lying.read_bytes()[:1] == b"x"
    run("repair", "tiny", "--yes")
    assert lying.read_bytes() == DATA["TINY/step.gguf"]


def test_rm_says_what_it_frees(hub):
    run("pull", "small", "--mtp")
    run("pull", "tiny")
    said = run("rm", "small", "--yes")
    assert "freed" in said.output
    assert not any(at(name).exists() for name in NAMES)
    assert at("mmproj.gguf").exists(), "TINY needs it, too"
    run("rm", "tiny", "--yes")
    assert [path for path in cache_layout.repo_folder("o/r").rglob("*") if path.is_file()] == []
    with pytest.raises(Refused, match="tiny is not downloaded"):
        run("rm", "tiny")
    with pytest.raises(UsageError):
        run("rm")


def test_the_projector_stays_for_a_quant_that_has_begun(hub):
    run("pull", "tiny")
    for name in NAMES:
        hub.turns[name] = [Manner(cut=500_000, only="GET"), Manner(status=404)]
    with pytest.raises(SteprunError, match="was not downloaded"):
        run("pull", "small")
    assert not any(at(name).exists() for name in NAMES)
    run("rm", "tiny", "--yes")
    assert at("mmproj.gguf").exists()


def test_rm_asks_and_takes_no_for_an_answer(hub, terminal):
    run("pull", "tiny")
    with pytest.raises(Refused, match="Nothing was deleted") as caught:
        run("rm", "tiny", say="n\n")
    assert caught.value.why == "Cancelled."
    assert at("TINY/step.gguf").exists()
    with pytest.raises(click.Abort):
        run("rm", "tiny", say="")


def test_without_a_terminal_nothing_goes_and_the_command_is_named(hub):
    run("pull", "tiny")
    for words in (["tiny"], ["--all"], [f"hf:o/r/TINY/step.gguf@{COMMIT}"]):
        with pytest.raises(Refused, match="Nothing was deleted") as caught:
            run("rm", *words, say="y\n")
        assert caught.value.next == f"steprun models rm {words[0]} --yes"
    assert at("TINY/step.gguf").exists()


def test_rm_of_what_was_adopted_leaves_the_file(hub, tmp_path, known):
    lying = tmp_path / "a.gguf"
    lying.write_bytes(DATA["TINY/step.gguf"])
    link = links.link_adopted(known.models[0].quant("TINY").files[0], "step-3.7-flash", lying)
    assert "0 bytes freed" in run("rm", "tiny", "--yes").output
    assert lying.exists()
    assert not link.is_symlink()


def test_bytes_that_another_revision_shows_stay(hub, known):
    run("pull", "tiny", "--no-projector")
    file = replace(known.models[0].quant("TINY").files[0], revision="f" * 40)
    pull.pull([file], "step-3.7-flash", lambda *_: None)
    assert "0 bytes freed" in run("rm", "tiny", "--yes").output
    assert cache_layout.expected_path(file, "").read_bytes() == DATA["TINY/step.gguf"]


def test_old_revisions_are_taken_away_and_the_one_in_use_stays(hub, known):
    run("pull", "tiny", "--no-projector")
    used = known.models[0].quant("TINY").files[0]
    hub.files["TINY/step.gguf"] = b"o" * 50_000
    digest = hashlib.sha256(b"o" * 50_000).hexdigest()
    old = replace(used, revision="e" * 40, bytes=50_000, sha256=digest)
    same = replace(used, revision="f" * 40)
    pull.pull([old], "m", lambda *_: None)
    pull.pull([same], "m", lambda *_: None)
    run("rm", "--old", "--yes")
    assert at("TINY/step.gguf").read_bytes() == DATA["TINY/step.gguf"]
    gone = [
        cache_layout.expected_path(old, ""),
        cache_layout.blob_path(old),
        cache_layout.expected_path(same, ""),
    ]
    assert not any(path.exists() for path in gone)
    with pytest.raises(Refused, match="no old revisions"):
        run("rm", "--old")


def test_weights_in_use_are_not_taken_away(hub, monkeypatch):
    import psutil

    run("pull", "tiny")
    line = ["llama-server", "--model", str(at("TINY/step.gguf"))]
    process = type("P", (), {"pid": 7, "info": {"cmdline": line}})()
    monkeypatch.setattr(psutil, "process_iter", lambda _: [process])
    with pytest.raises(Refused, match="in use"):
        run("rm", "tiny", "--yes")
    assert at("TINY/step.gguf").exists()


def test_the_demo_comes_by_itself():
    with pytest.raises(Refused, match="needs no pull"):
        run("pull", "Q4_1", "--model", "smollm2-135m")


# --- models named by hf:

HF = f"hf:o/r/{NAMES[1]}"


def test_a_model_named_on_the_hub(hub):
    run("pull", HF)
    assert hub.body_bytes == SMALL
    assert "All 3 files are already downloaded" in run("pull", HF).output
    assert run("verify", HF).output.count("intact") == 3
    assert "freed" in run("rm", HF, "--yes").output
    assert not at(NAMES[0]).exists()


# --- starting a chat without weights


def prepared() -> Prepared:
    plan = make_plan(ModelRequest("", PlanRequest(quant="SMALL")), to_run=True)
    assert plan.plan.fits
    return plan


def test_a_begun_model_of_the_hub_is_taken_away(hub):
    hub.turns[NAMES[0]] = [Manner(cut=500_000, only="GET"), Manner(status=404)]
    with pytest.raises(SteprunError, match="was not downloaded"):
        run("pull", HF)
    assert "freed" in run("rm", HF, "--yes").output
    assert [path for path in cache_layout.repo_folder("o/r").rglob("*") if path.is_file()] == []


def test_what_another_program_brought_of_the_hub_is_proven_after_a_pull(hub):
    run("pull", HF)
    (cache_layout.repo_folder("o/r") / "refs" / "main").unlink()
    run("pull", HF)
    assert run("verify", HF).output.count("intact") == 3


def test_the_catalogs_options_do_not_go_with_a_model_of_the_hub(hub):
    for option in ("--mtp", "--no-projector", "--model=step-3.7-flash"):
        with pytest.raises(UsageError, match="go with a quant"):
            run("pull", HF, option)
    assert hub.asked == []


def test_the_damaged_are_not_started_whoever_names_them(hub, tiny):
    hub.files["tiny.gguf"] = tiny / "tiny-step.gguf"
    hub.files["sight.gguf"] = tiny / "mmproj-tiny-step.gguf"
    named = ["hf:o/r/tiny.gguf", "hf:o/r/sight.gguf"]
    said = [run("pull", each).stderr for each in named]
    assert "Ready: steprun chat --model hf:o/r/tiny.gguf" in said[0]
    assert "Ready: steprun chat --model MODEL --projector hf:o/r/sight.gguf" in said[1]
    request = ModelRequest(named[0], PlanRequest(), projector=named[1])
    make_ready(make_plan(request, to_run=True))
    for name, text in zip(("tiny.gguf", "sight.gguf"), named, strict=True):
        verified.remember(at(name), verified.Verdict("0" * 64, intact=False))
        with pytest.raises(BadFile, match="damaged") as caught:
            make_ready(make_plan(request, to_run=True))
        assert caught.value.next == f"steprun models repair {text}"
        with pytest.raises(BadFile, match="damaged"):
            make_ready(
                make_plan(ModelRequest(str(at("tiny.gguf")), PlanRequest(), str(at("sight.gguf"))))
            )
        verified.forget(at(name))


@pytest.mark.parametrize("far", ["model", "projector"])
def test_parts_here_and_parts_on_the_hub_go_together(hub, tiny, monkeypatch, terminal, far):
    paths = {"model": tiny / "tiny-step.gguf", "projector": tiny / "mmproj-tiny-step.gguf"}
    hub.files["far.gguf"] = paths[far]
    monkeypatch.setattr("click.confirm", lambda *_args, **_named: True)
    text = {each: str(path) for each, path in paths.items()} | {far: "hf:o/r/far.gguf"}
    request = ModelRequest(text["model"], PlanRequest(), projector=text["projector"])
    argv = make_ready(make_plan(request, to_run=True)).spec.argv
    wanted = paths | {far: at("far.gguf")}
    for option, path in (("--model", wanted["model"]), ("--mmproj", wanted["projector"])):
        assert argv[argv.index(option) + 1] == str(path)
    asked = len(hub.asked)
    make_ready(make_plan(request, to_run=True))
    assert len(hub.asked) == asked, "it is found again without the network"


def test_without_a_terminal_the_command_is_named(hub):
    with pytest.raises(Refused, match="not downloaded") as caught:
        make_ready(prepared())
    assert caught.value.next == "steprun models pull SMALL"
    assert hub.asked == []


def test_with_a_terminal_it_asks_once_and_starts(hub, monkeypatch, capsys, terminal):
    asked: list[str] = []

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return True

    monkeypatch.setattr("click.confirm", confirm)
    monkeypatch.setattr(rate, "recall", lambda: 10_000_000)
    spec = make_ready(prepared()).spec
    assert asked == ["Download now?"]
    assert at(NAMES[0]).exists()
    assert str(at(NAMES[0])) in spec.argv
    said = capsys.readouterr().err
    assert "takes about 0 s at 10 MiB/s" in said
    make_ready(prepared())
    assert len(asked) == 1


def test_what_another_program_seems_to_have_is_named(hub, monkeypatch, capsys, tmp_path, terminal):
    import gguf

    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    lying = tmp_path / "user" / ".lmstudio" / "models" / "o" / "r" / "step.gguf"
    lying.parent.mkdir(parents=True)
    writer = gguf.GGUFWriter(lying, "step35")
    writer.add_type("model")
    writer.add_tensor("blk.0.a", np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.truncate(lying, len(DATA["TINY/step.gguf"]))
    monkeypatch.setattr("click.confirm", lambda *_args, **_named: False)
    with pytest.raises(Refused):
        make_ready(prepared())
    assert (
        "perhaps already downloaded by LM Studio: steprun models adopt" in capsys.readouterr().err
    )


def test_no_is_an_answer(hub, monkeypatch, terminal):
    monkeypatch.setattr("click.confirm", lambda *_args, **_named: False)
    monkeypatch.setattr(rate, "recall", lambda: 10_000_000)
    with pytest.raises(Refused, match="not downloaded") as caught:
        make_ready(prepared())
    assert caught.value.why == "Cancelled."
    assert hub.body_bytes == 0


def test_nothing_small_comes_before_the_answer(hub, monkeypatch, terminal):
    """What measuring the rate brings would be all of it."""
    monkeypatch.setattr("click.confirm", lambda *_args, **_named: False)
    with pytest.raises(Refused, match="not downloaded"):
        make_ready(prepared())
    assert hub.asked == []


def test_the_rate_is_measured_by_what_is_kept(hub):
    hub.manner = Manner(rate=2e6)
    files = [_file(name) for name in NAMES]
    found = pull.sample(files, "m", 0.4)
    assert found
    assert 5e5 < found < 8e6
    hub.manner = Manner()
    pull.pull(files, "m", lambda *_: None)
    # What lay in buffers when the sample ended was sent, and had not come.
    assert hub.body_bytes - SMALL < 8 << 20


def test_damaged_weights_are_not_started(hub):
    run("pull", "small")
    verified.remember(at(NAMES[2]), verified.Verdict("0" * 64, intact=False))
    with pytest.raises(BadFile, match="damaged") as caught:
        make_ready(prepared())
    assert caught.value.next == "steprun models repair"


def test_a_disk_that_is_not_mounted_is_named_before_a_fetch(hub, tmp_path, known, terminal):
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "a.gguf").write_bytes(DATA["TINY/step.gguf"])
    links.link_adopted(known.models[0].quant("TINY").files[0], "step-3.7-flash", disk / "a.gguf")
    disk.rename(tmp_path / "elsewhere")
    assert (
        f"was linked from {disk}, which is missing. Is that disk mounted?"
        in run("pull", "tiny").stderr
    )


def test_off_the_network_nobody_is_asked_in_vain(hub, monkeypatch, terminal):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Refused, match="not downloaded") as caught:
        make_ready(prepared())
    assert caught.value.next == "env -u HF_HUB_OFFLINE steprun models pull SMALL"


def test_a_slow_network_has_a_rate_and_a_time_that_can_be_read(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = progress.Pace()

    def seen(done):
        return Progress(Phase.DOWNLOADING, done, 105 << 30)

    assert pace.words(seen(0)) == ""
    now[0] = 10.0
    assert pace.words(seen(3 << 20)) == "307 KiB/s, 4 days left"
    now[0] = 20.0
    assert pace.words(seen(600 << 20)) == "30 MiB/s, 59 min left"
    assert duration(9 * 3600) == "9.0 h"


def test_weights_on_their_way_are_not_taken_away(hub, known):
    hub.turns[NAMES[0]] = [Manner(cut=500_000, only="GET"), Manner(status=404)]
    with pytest.raises(SteprunError, match="was not downloaded"):
        run("pull", "small", "--no-projector")
    file = known.models[0].quant("SMALL").files[0]
    part = cache_layout.part_path(file)
    with alone(cache_layout.lock_path(file), lambda: None):
        with pytest.raises(Refused, match="being downloaded"):
            run("rm", "small", "--yes")
        assert part.stat().st_size == 500_000
    run("rm", "small", "--yes")
    assert not part.exists()


@pytest.mark.parametrize("verb", ["pull", "verify", "repair", "rm"])
def test_a_mistyped_address_has_an_example(verb):
    with pytest.raises(UsageError, match="For example: --model hf:"):
        run(verb, "hf:owner/my file.gguf")


def test_printed_commands_are_quoted():
    name = "hf:o/r/it's(small).gguf"
    with pytest.raises(Refused) as caught:
        run("verify", name)
    assert caught.value.next.startswith(f"steprun models pull {shlex.quote(name)}, or")
