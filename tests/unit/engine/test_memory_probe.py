"""The engine's own account: read from what real engines printed, asked for, remembered."""

import json
import sys
import time
from pathlib import Path

import psutil
import pytest

from runner.base.units import GIB, MIB
from runner.engine.process import memory_probe
from runner.engine.process.memory_probe import (
    Breakdown,
    DeviceMemory,
    Difference,
    compare,
    overfull,
    parse_breakdown,
    probe_key,
    probe_memory,
)
from runner.plan.memory.ledger import Item, LedgerEntry
from tests.unit.plan.test_placement import planned

# xllamacpp 11549: the full-size twin, 131,072 tokens f16, projector and draft heads of their own.
PRINTED = """\
0.00.032.107 I srv    load_model: [mtmd] estimated worst-case memory usage of mmproj is 3918.94 MiB (took 27.07 ms)
0.00.025.266 I common_params_fit_impl: getting device memory data for initial parameters:
0.00.484.486 I common_memory_breakdown_print: | memory breakdown [MiB] | total   free      self    model   context   compute    unaccounted |
0.00.484.499 I common_memory_breakdown_print: |   - Host               |                 106701 = 100124 +    6276 +     301                |
0.00.564.416 I operator(): getting device memory data for the extra model at a context size of 131072:
0.00.962.626 I common_memory_breakdown_print: | memory breakdown [MiB] | total   free    self   model   context   compute    unaccounted |
0.00.962.642 I common_memory_breakdown_print: |   - Host               |                 3625 =  3530 +      12 +      83                |
0.01.057.604 I common_params_fit_impl: projected to use 110327 MiB of host memory vs. 24105 MiB of total host memory
""".splitlines()  # noqa: E501 - as printed
# As `common_memory_breakdown_print` writes it with cards (common/fit.cpp), no prefixes.
CARDS = """\
| memory breakdown [MiB] | total   free     self   model   context   compute    unaccounted |
|   - CUDA0 (RTX 4090)   | 24080 = 23000 + ( 9000 =  8000 +     700 +     300) +       -7920 |
|   - CUDA1 (RTX (x) 3)  | 24080 = 23000 + (  900 =   800 +      70 +      30) +        1080 |
|   - Host               |                     90 =    50 +       0 +      40                |
|   - CPU_REPACK         |                     20 =    20 +       0 +       0                |
Host 50 0 40
""".splitlines()


def mib(device: str, *sizes: int) -> DeviceMemory:
    model, context, compute = (size * MIB for size in sizes)
    return DeviceMemory(device, model, context, compute)


def test_the_account_of_a_model_with_heads_and_projector() -> None:
    told = parse_breakdown(PRINTED, own_draft_file=True)
    assert told == Breakdown(
        (mib("Host", 100_124, 6276, 301),), (mib("Host", 3530, 12, 83),), round(3918.94 * MIB)
    )
    assert told.compute == 384 * MIB
    assert told.total == (106_701 + 3625) * MIB + round(3918.94 * MIB)


def test_heads_in_the_main_file_weigh_nothing_more() -> None:
    told = parse_breakdown(PRINTED)
    assert told is not None
    assert told.draft == (mib("Host", 0, 12, 83),)


def test_cards_have_rows_of_their_own() -> None:
    assert parse_breakdown(CARDS) == Breakdown(
        (
            mib("CUDA0", 8000, 700, 300),
            mib("CUDA1", 800, 70, 30),
            mib("Host", 50, 0, 40),
            mib("CPU_REPACK", 20, 0, 0),
        )
    )


def test_only_the_first_table_of_each_kind_counts() -> None:
    assert parse_breakdown([*CARDS, *PRINTED[2:4]]) == parse_breakdown(CARDS)


@pytest.mark.parametrize("lines", [[], ["Host 1 2 3"], PRINTED[:2], ["| memory breakdown [MiB] |"]])
def test_no_table_is_no_account(lines: list[str]) -> None:
    assert parse_breakdown(lines) is None


def items(**sizes: int) -> list[Item]:
    return [Item(LedgerEntry(name), size * MIB, "") for name, size in sizes.items()]


TOLD = Breakdown((mib("Host", 1000, 200, 50),), projector=100 * MIB)


def test_a_ledger_that_agrees_has_no_differences() -> None:
    near = items(weights=1005, kv_full=150, kv_sliding=51, compute=51, projector=70)
    assert compare([*near, Item(LedgerEntry.VISION_COMPUTE, 30 * MIB, "")], TOLD) == ()


def test_differences_say_both_figures() -> None:
    far = items(weights=1011, kv_full=150, kv_sliding=47, compute=48, projector=100)
    assert compare(far, TOLD) == (
        Difference("weights", 1011 * MIB, 1000 * MIB),
        Difference("kv", 197 * MIB, 200 * MIB),
        Difference("compute", 48 * MIB, 50 * MIB),
    )


def test_an_account_is_remembered(home: Path, tmp_path: Path) -> None:
    weights = tmp_path / "m.gguf"
    weights.write_bytes(b"12345")
    argv = ("--model", str(weights), "--ctx-size", "4096")
    name = probe_key("xllamacpp 11549", argv)
    assert memory_probe.recall_probe(name) is None
    told = parse_breakdown(PRINTED, own_draft_file=True)
    assert told is not None
    memory_probe.remember_probe(name, told)
    assert memory_probe.recall_probe(name) == told
    assert probe_key("xllamacpp 11549", (*argv[:3], "8192")) != name
    assert probe_key("xllamacpp 11550", argv) != name
    weights.write_bytes(b"123456")
    assert probe_key("xllamacpp 11549", argv) != name


def test_memory_is_bounded_and_forgets_the_oldest(home: Path) -> None:
    for number in range(memory_probe.KEPT + 3):
        memory_probe.remember_probe(str(number), TOLD)
    assert memory_probe.recall_probe("2") is None
    assert memory_probe.recall_probe("3") == TOLD
    assert len(json.loads((home / "cache" / "engine-memory.json").read_text())) == memory_probe.KEPT


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": [[["Host", "x", 1, 2]], [], 0]}'])
def test_a_damaged_memory_is_no_memory(home: Path, text: str) -> None:
    path = home / "cache" / "engine-memory.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert memory_probe.recall_probe("a") is None
    memory_probe.remember_probe("a", TOLD)
    assert memory_probe.recall_probe("a") == TOLD


def script(tmp_path: Path, body: str) -> tuple[str, str]:
    path = tmp_path / "engine.py"
    path.write_text(f"import sys, time, os\n{body}")
    return sys.executable, str(path)


def test_the_engine_is_killed_once_it_has_said_all(tmp_path: Path) -> None:
    said = "\n".join(PRINTED)
    body = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
    body += f"open({str(tmp_path / 'argv')!r}, 'w').write(' '.join(sys.argv[1:]))\n"
    body += f"print({said!r}, flush=True)\ntime.sleep(60)\n"
    began = time.monotonic()
    told = probe_memory(script(tmp_path, body), ["--fit", "off", "--spec-draft-model", "x"])
    assert told == parse_breakdown(PRINTED, own_draft_file=True)
    assert time.monotonic() - began < 10
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert "--fit on" in (tmp_path / "argv").read_text()


def test_the_last_word_may_come_in_two_parts(tmp_path: Path) -> None:
    *table, last = PRINTED
    half = last.index("projected") + 5
    body = f"print({chr(10).join([*table, last[:half]])!r}, end='', flush=True)\n"
    body += f"time.sleep(0.2)\nprint({last[half:]!r}, flush=True)\ntime.sleep(60)\n"
    began = time.monotonic()
    assert probe_memory(script(tmp_path, body), ["--spec-draft-model", "x"]) == parse_breakdown(
        PRINTED, own_draft_file=True
    )
    assert time.monotonic() - began < 10


def test_the_engine_is_asked_in_the_environment_of_the_start(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    body = f"open({str(seen)!r}, 'w').write(repr(os.environ.get('CUDA_VISIBLE_DEVICES')))\n"
    env = (("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2,GPU-0"),)
    assert probe_memory(script(tmp_path, body), [], env) is None
    assert seen.read_text() == "'GPU-1,GPU-2,GPU-0'"


def test_an_account_counts_for_its_cards_only() -> None:
    both = {probe_key("e", (), (("CUDA_VISIBLE_DEVICES", cards),)) for cards in ("0,1", "1,0")}
    assert len({*both, probe_key("e", ())}) == 3


# --- card by card


SPLIT = planned([9.5, 32, 32], 110, quant="IQ3_XXS", context=32_768)


def account(*more: int) -> Breakdown:
    """Return what an engine would say that agrees with `SPLIT`, but for `more` MiB on each card."""
    rows = []
    for index, use in enumerate(SPLIT.placement.held):
        sizes = {item.item: item.bytes for item in use.items}
        model = sizes.get(LedgerEntry.WEIGHTS, 0) + sizes.get(LedgerEntry.MTP, 0)
        cache = sizes.get(LedgerEntry.KV_FULL, 0) + sizes.get(LedgerEntry.KV_SLIDING, 0)
        name = f"CUDA{index}" if index < 3 else "Host"
        extra = more[index] * MIB if index < len(more) else 0
        compute = sizes.get(LedgerEntry.COMPUTE, 0)
        rows.append(DeviceMemory(name, model, cache, compute + extra))
    first = {item.item: item.bytes for item in SPLIT.placement.held[0].items}
    seen = first.get(LedgerEntry.PROJECTOR, 0) + first.get(LedgerEntry.VISION_COMPUTE, 0)
    return Breakdown(tuple(rows), projector=seen)


def test_an_account_that_agrees_overfills_no_card() -> None:
    assert SPLIT.fits
    assert len(SPLIT.placement.cards) == 3
    assert overfull(SPLIT.placement, account()) == ()


@pytest.mark.parametrize("card", [0, 1, 2])
def test_one_overfull_card_is_seen_whatever_is_free_on_the_others(card: int) -> None:
    spare = SPLIT.placement.held[card].spare_bytes // MIB
    more, less = [0, 0, 0], [-200, -200, -200]
    more[card] = spare + 300
    (found,) = overfull(SPLIT.placement, account(*more))
    assert found.name.startswith(f"CUDA{card} (")
    assert abs(found.missing - 300 * MIB) <= MIB
    less[card] = spare + 300
    assert len(overfull(SPLIT.placement, account(*less))) == 1
    more[card] = max(0, spare - 1)
    assert overfull(SPLIT.placement, account(*more)) == ()


def test_an_account_of_other_cards_is_compared_as_a_whole() -> None:
    whole = account()
    one = Breakdown((mib("CUDA0", 0, 0, 0), *whole.rows[3:]), projector=whole.projector)
    assert overfull(SPLIT.placement, one) == ()
    more = DeviceMemory("CUDA0", whole.total + 80 * GIB, 0, 0)
    assert overfull(SPLIT.placement, Breakdown((more,)))


# --- asking


@pytest.mark.parametrize("body", ["sys.exit(1)", "time.sleep(60)", "print('x' * 100)"])
def test_an_engine_that_says_nothing_gives_no_account(tmp_path: Path, body: str) -> None:
    assert probe_memory(script(tmp_path, body), [], timeout_s=1) is None


def test_a_program_that_is_not_there_gives_no_account() -> None:
    assert probe_memory(["/nowhere/llama-server"], []) is None
