"""A capture answers in whatever words it was recorded, and never makes anything up."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.base.units import GIB
from runner.machine.captures.capture import Capture, Ran, Replay
from runner.machine.captures.replay import equivalent
from runner.machine.probe import detect
from runner.machine.probes.host import WINDOWS_ADAPTERS, WINDOWS_HOST

QUERY = "nvidia-smi --query-gpu="
ASKED = "nvidia-smi --query-gpu=name,uuid,memory.total,compute_cap --format=csv,noheader,nounits"
CARD = "GPU-11111111-1111-1111-1111-111111111111"
RTX = "NVIDIA GeForce RTX 5090"

TABLE = f"""
+-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|=========================================+========================+======================|
|   0  {RTX}        Off |   00000000:4E:00.0 Off |                  Off |
| 30%   29C    P8             22W /  575W |     507MiB /  32607MiB |      0%      Default |
|                                         |                        |                  N/A |
+-----------------------------------------+------------------------+----------------------+
|   1  NVIDIA GB10                    On  |   0000000F:01:00.0 Off |                  N/A |
| N/A   36C    P8              3W /  N/A  | Not Supported          |      0%      Default |
+-----------------------------------------+------------------------+----------------------+
| Processes:                                                                              |
|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |
|    0   N/A  N/A            1234      C   python                               9999MiB   |
+-----------------------------------------+------------------------+----------------------+
"""

REPORT = f"""
Attached GPUs                             : 2
GPU 00000000:42:00.0
    Product Name                          : {RTX}
    GPU UUID                              : {CARD}
    FB Memory Usage
        Total                             : 32607 MiB
        Free                              : 32000 MiB
    BAR1 Memory Usage
        Total                             : 256 MiB
GPU 0000000F:01:00.0
    Product Name                          : NVIDIA GB10
    FB Memory Usage
        Total                             : N/A
"""


def answered(commands: dict[str, str], asked: str) -> str | None:
    replay = Replay(Capture("linux-x86_64", {}, {k: Ran(0, v) for k, v in commands.items()}))
    ran = replay.run(*asked.split(" "))
    return ran.stdout if ran else None


@pytest.mark.parametrize(
    ("commands", "asked", "answer"),
    [
        # the same words: a whole path, Windows' suffix, blanks typed twice
        ({"/usr/sbin/sysctl -n hw.memsize": "8\n"}, "sysctl -n hw.memsize", "8\n"),
        ({"C:\\Windows\\System32\\NVIDIA-SMI.exe -L": "x"}, "nvidia-smi -L", "x"),
        ({" vm_stat  ": "x"}, "vm_stat", "x"),
        ({"vm_stat": ""}, "/usr/bin/vm_stat", ""),
        # sysctl, in each of its forms
        ({"sysctl hw.memsize": "hw.memsize: 8\n"}, "sysctl -n hw.memsize", "8\n"),
        ({"sysctl -a": "a.b = 1\nhw.memsize   = 8 \nhw.memsize_usable: 7\n"},
         "sysctl -n hw.memsize", "8\n"),
        ({"sysctl -n hw.ncpu hw.memsize": "4\n8\n"}, "sysctl -n hw.memsize", "8\n"),
        ({"sysctl -n a b": "1\n"}, "sysctl -n a", None),  # which of the two failed?
        ({"sysctl -a": "xhw.memsize: 8\n"}, "sysctl -n hw.memsize", None),
        ({"sysctl -a": "hwxmemsize: 8\n"}, "sysctl -n hw.memsize", None),
        # Apple's listings
        ({"ioreg -r -c AGXAccelerator": '"gpu-core-count" = 40'}, "ioreg -rc AGXAccelerator",
         '"gpu-core-count" = 40'),
        ({"ioreg -l": "no GPU", "ioreg -r -d 1 -c AGXAccelerator": '"gpu-core-count" = 8'},
         "ioreg -rc AGXAccelerator", '"gpu-core-count" = 8'),
        ({"ioreg -l": '"gpu-core-count" = 8'}, "ioreg -rc IOPlatformExpertDevice", None),
        ({"system_profiler SPDisplaysDataType SPHardwareDataType -json": "{}"},
         "system_profiler -json SPDisplaysDataType", "{}"),
        ({"system_profiler SPDisplaysDataType": "Chipset Model: Apple M2 Max"},
         "system_profiler -json SPDisplaysDataType", None),
        # nvidia-smi: more columns, fewer, another order, a header, units, a decimal comma
        ({f"{QUERY}index,compute_cap,memory.total,name --format=csv":
          f"index, compute_cap, memory.total [MiB], name\n0, 12.0, 32607 MiB, {RTX}\n"},
         ASKED, f"{RTX}, [N/A], 32607, 12.0\n"),
        ({f"{QUERY}name --format=csv,noheader": "NVIDIA GB10\n"}, ASKED,
         "NVIDIA GB10, [N/A], [N/A], [N/A]\n"),
        ({f"{QUERY}memory.total --format=csv": "memory.total [MiB]\n[N/A]\n"}, ASKED,
         "[N/A], [N/A], [N/A], [N/A]\n"),
        ({f"{QUERY}name,memory.total --format=csv,noheader": f"{RTX}, 73728,00 MiB\n"}, ASKED,
         f"{RTX}, [N/A], 73728,00, [N/A]\n"),
        ({f"{QUERY}name,memory.total --format=csv,noheader,nounits": f"{RTX},32607\n"}, ASKED,
         f"{RTX}, [N/A], 32607, [N/A]\n"),
        ({f"{QUERY}gpu_name,gpu_uuid --format=csv": f"name, uuid\n{RTX}, {CARD}\n"}, ASKED,
         f"{RTX}, {CARD}, [N/A], [N/A]\n"),
        ({f"{QUERY}power.draw,index --format=csv,noheader": "11.17 W, 0\n"}, ASKED, None),
        ({f"{QUERY}name,memory.total --format=csv,noheader": "Unable to determine\n"}, ASKED, None),
        # several recordings of the same cards
        ({f"{QUERY}name --format=csv,noheader": f"{RTX}\n",
          f"{QUERY}memory.total,compute_cap --format=csv,noheader,nounits": "32607, 12.0\n"},
         ASKED, f"{RTX}, [N/A], 32607, 12.0\n"),
        ({f"{QUERY}name,memory.total --format=csv,noheader": f"{RTX}, 32607 MiB\n",
          f"{QUERY}name,compute_cap --format=csv,noheader": "NVIDIA GB10, 12.1\n"},
         ASKED, f"{RTX}, [N/A], 32607, [N/A]\n"),  # not the same card
        ({f"{QUERY}name,memory.total --format=csv,noheader": f"{RTX}, 32607 MiB\n",
          f"{QUERY}compute_cap --format=csv,noheader": "12.0\n12.0\n"},
         ASKED, f"{RTX}, [N/A], 32607, [N/A]\n"),  # nor as many
        ({f"{QUERY}name --format=csv,noheader": "NVIDIA GB10\n",
          f"{QUERY}name,memory.total --format=csv,noheader": f"{RTX}, 32607 MiB\n" * 2},
         ASKED, f"{RTX}, [N/A], 32607, [N/A]\n" * 2),  # the one that tells more counts
        ({"nvidia-smi -L": f"GPU 0: {RTX} (UUID: {CARD})\n  MIG 1g Device 0: (UUID: MIG-1)\n",
          "nvidia-smi": TABLE.replace("|   1 ", "|   - ")}, ASKED,
         f"{RTX}, {CARD}, 32607, [N/A]\n"),
        # what people paste
        ({"nvidia-smi": TABLE}, ASKED,
         f"{RTX}, [N/A], 32607, [N/A]\nNVIDIA GB10, [N/A], [N/A], [N/A]\n"),
        ({"nvidia-smi -q": REPORT}, ASKED,
         f"{RTX}, {CARD}, 32607, [N/A]\nNVIDIA GB10, [N/A], N/A, [N/A]\n"),
        ({"nvidia-smi topo -m": "GPU0 X", "nvidia-smi -q -x": "<gpu>"}, ASKED, None),
        # nothing that is the same
        ({"sysctl -n a": "1"}, "sysctl -n b", None),
        ({"vm_stat 1": "x"}, "vm_stat", None),
        ({"powershell Get-Date": "{}"}, "powershell Get-Date -Format o", None),
        ({}, ASKED, None),
    ],
)  # fmt: skip
def test_the_same_question_in_other_words(
    commands: dict[str, str], asked: str, answer: str | None
) -> None:
    assert answered(commands, asked) == answer


def test_what_was_recorded_exactly_wins_whatever_it_is() -> None:
    near = {f"{QUERY}name --format=csv,noheader": Ran(0, "NVIDIA GB10\n")}
    for exact in (None, Ran(9, ""), Ran(0, "")):
        replay = Replay(Capture("linux-x86_64", {}, {ASKED: exact, **near}))
        assert replay.run(*ASKED.split(" ")) == exact


def test_what_failed_tells_nothing() -> None:
    failed = {"/bin/vm_stat": Ran(1, "x"), "/usr/bin/vm_stat": None}
    assert Replay(Capture("darwin-arm64", {}, failed)).run("vm_stat") is None


def test_a_path_with_blanks_behind_it_is_that_path() -> None:
    files = {"/proc/meminfo \n": "a", "/dev/kfd ": "", "/dev/kfd": None}
    replay = Replay(Capture("linux-x86_64", files))
    assert (replay.file("/proc/meminfo"), replay.file("/dev/kfd")) == ("a", None)
    assert replay.glob("/dev/kfd*") == ["/dev/kfd"]


SYSTEM = {"TotalVisibleMemorySize": 64 << 20, "FreePhysicalMemory": 32 << 20}
CORES = {"Name": "Ryzen", "NumberOfCores": 16, "Architecture": 9}
RADEON = {"DriverDesc": "AMD Radeon AI PRO R9700", "MatchingDeviceId": "PCI\\VEN_1002&DEV_7551"}
SHOWN = {"Name": "AMD Radeon AI PRO R9700", "PNPDeviceID": "PCI\\VEN_1002&DEV_7551\\4&2"}


@pytest.mark.parametrize(
    ("rows", "cores", "available", "devices"),
    [
        ([SYSTEM, CORES, SHOWN, {**RADEON, "HardwareInformation.qwMemorySize": 32 * GIB}],
         16, 32, [32 * GIB]),
        # values as one document, keys in another case, the registry without the card's id
        ([{"os": SYSTEM, "cards": [SHOWN, {"driverdesc": RADEON["DriverDesc"],
           "QWMEMORYSIZE": 32 * GIB}]}], 1, 32, [32 * GIB]),
        # one row that tells both
        ([SYSTEM, {**SHOWN, "qwMemorySize": [0, 0, 0, 0, 8]}], 1, 32, [32 * GIB]),
        # a key that is there and empty, beside the same in other words
        ([SYSTEM, {**SHOWN, "HardwareInformation.qwMemorySize": None, "qwMemorySize": ["8"],
           "qw": 32 * GIB}], 1, 32, [32 * GIB]),
        # AdapterRAM has 32 bits: no size
        ([SYSTEM, {**SHOWN, "AdapterRAM": 4294967295}], 1, 32, []),
        # a card that was taken out, and one that is in
        ([SYSTEM, {"Name": "Intel", "PNPDeviceID": "PCI\\VEN_8086&DEV_A780"},
          {**RADEON, "qwMemorySize": 32 * GIB}], 1, 32, []),
        ([SYSTEM, {"Name": ["a"], "PNPDeviceID": {}}, 5, None, [[]]], 1, 32, []),
    ],
)  # fmt: skip
def test_windows_in_its_own_words(
    rows: list[object], cores: int, available: int, devices: list[int]
) -> None:
    said = {f"powershell -Command {n}": Ran(0, json.dumps(row)) for n, row in enumerate(rows)}
    found = detect(Replay(Capture("win32-AMD64", {}, said)))
    assert (found.cores, found.available_bytes) == (cores, available * GIB)
    assert [device.memory_bytes for device in found.devices] == devices


def test_a_registry_that_shows_no_adapter_is_believed() -> None:
    said = {"pwsh -c x": Ran(0, "\ufeff" + json.dumps({**RADEON, "qwMemorySize": 32 * GIB}))}
    found = detect(Replay(Capture("win32-AMD64", {}, said)))
    assert [device.memory_bytes for device in found.devices] == [32 * GIB]


WORDS = st.lists(
    st.sampled_from(
        [
            "nvidia-smi", "sysctl", "ioreg", "system_profiler", "powershell", "-n", "-a", "-L",
            "-q", "hw.memsize", "--query-gpu=", "--query-gpu=name,memory.total",
            "--query-gpu=name", "--format=csv,noheader", "AGXAccelerator", "", "\\", "/",
            " ".join(WINDOWS_HOST[1:]), " ".join(WINDOWS_ADAPTERS[1:]),
        ]
    )
    | st.text(max_size=8),
    min_size=1,
    max_size=5,
)  # fmt: skip
OUTPUT = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(["GPU 0", "name", ", ", " : ", "|", ":", "\n", "0", "1MiB / 2MiB",
        "FB Memory Usage", "Total", "a (UUID: GPU-1)", "hw.memsize", "=", "\ud800", "\0", "٣"]),
        max_size=30).map("".join),
    st.recursive(
        st.sampled_from([None, True, 1, 1e308, "x", 2**70]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
            ["Name", "PNPDeviceID", "qwMemorySize", "TotalVisibleMemorySize", "NumberOfCores"]),
            inner, max_size=4), max_leaves=9).map(json.dumps),
)  # fmt: skip


@given(st.dictionaries(WORDS.map(" ".join), OUTPUT, max_size=4), WORDS)
@settings(max_examples=400, deadline=None)
def test_hostile_recordings_answer_or_do_not(said: dict[str, str], asked: list[str]) -> None:
    answer = equivalent(said, asked)
    assert answer is None or isinstance(answer, str)


@pytest.mark.parametrize(
    "line", ["[", '{"a":', "| 0 a ", "GPU 0: a ", "a, ", " : ", "sysctl ", " " * 9, "0, a\n", "|\n"]
)
def test_a_long_recording_takes_no_long_time(line: str) -> None:
    text = line * ((4 << 20) // len(line))
    asked = [ASKED.split(" "), ["sysctl", "-n", "hw.memsize"], [*WINDOWS_HOST]]
    for words in asked:
        forms = ("", " -q", " -L", " -a", f" {ASKED.split(' ')[1]}")
        for form in forms:
            start = time.perf_counter()
            equivalent({f"{words[0]}{form}": text}, words)
            assert time.perf_counter() - start < 2
