"""What slows a machine down, as its tools and files tell it, and as they lie about it."""

from collections.abc import Mapping

import pytest

from runner.machine.captures.capture import Capture, Live, Ran, Replay
from runner.machine.health import CARD_QUERIES, look

NEW, OLD = (" ".join(query) for query in CARD_QUERIES)
# The figures in the order of the query: as a DGX Spark gives them (its driver prints no power
# limits), and a GeForce.
SPARK = "NVIDIA GB10, {degrees}, {clock}, 3003, {busy}, {watts}, [N/A], [N/A], {reasons}"
CARD = "NVIDIA GeForce RTX 5090, 60, 2700, 3090, 98, 560.00, {limit}, 575.00, {reasons}"

CPU0 = "/sys/devices/system/cpu/cpu0"
UNKNOWN = Ran(2, 'Field "clocks_event_reasons.active" is not a valid field to query.\n')


def nvidia(*rows: str, query: str = NEW, exit_: int = 0) -> list[str]:
    commands = {NEW: UNKNOWN, query: Ran(exit_, "".join(f"{row}\n" for row in rows))}
    return words(Capture("linux-aarch64", {}, commands))


def words(capture: Capture) -> list[str]:
    return [f"{each.kind}: {each.in_words()}" for each in look(Replay(capture))]


def spark(**more: object) -> str:
    usual = {
        "degrees": 62,
        "clock": 2405,
        "busy": 96,
        "watts": 41.5,
        "reasons": "0x0000000000000000",
    }
    return SPARK.format(**{**usual, **more})


def test_a_spark_at_work_is_well() -> None:
    assert nvidia(spark()) == []
    assert nvidia(spark(clock=208, busy=0, watts=4.2, reasons="0x0000000000000001")) == []


@pytest.mark.parametrize("query", [NEW, OLD])
@pytest.mark.parametrize(
    "reasons", ["0x0000000000000020", "0x0000000000000040", "0x0000000000000068"]
)
def test_heat_is_said(query: str, reasons: str) -> None:
    (found,) = nvidia(spark(degrees=92, reasons=reasons), query=query)
    assert found.startswith("heat: NVIDIA GB10 is slowed down by heat at 92 degrees C.")


def test_a_spark_that_is_stuck_has_to_lose_its_power() -> None:
    (found,) = nvidia(spark(clock=513, watts=14.1))
    assert "at 513 of 3003 MHz" in found
    assert "unplug" in found


def test_a_power_supply_that_is_too_weak_is_said() -> None:
    (found,) = nvidia(spark(clock=850, reasons="0x0000000000000080"), spark())[:1]
    assert found.startswith("power: NVIDIA GB10 is slowed down by its power supply")


def test_a_limit_that_was_set_is_said_and_the_usual_one_is_not() -> None:
    assert nvidia(CARD.format(limit="575.00", reasons="0x0000000000000004")) == []
    (found,) = nvidia(CARD.format(limit="400.00", reasons="0x0000000000000004"))
    assert found.startswith("power: NVIDIA GeForce RTX 5090 is limited to 400 W of 575 W.")
    assert found.endswith("sudo nvidia-smi -pl 575")


def test_a_card_that_vanished_is_said_beside_one_that_is_there() -> None:
    lost = "Unable to determine the device handle for GPU1: 0000:41:00.0: GPU is lost.  Reboot"
    found = nvidia(CARD.format(limit="400", reasons="0x4"), lost, exit_=15)
    assert [text.partition(":")[0] for text in found] == ["lost", "power"]


@pytest.mark.parametrize(
    "bad", ["-5", "nan", "inf", "[N/A]", "", "9" * 400, "1e9", "\x1b[31m12", "0x"]
)
def test_figures_that_are_none_say_nothing(bad: str) -> None:
    assert nvidia(", ".join(["NVIDIA GB10", *[bad] * 8])) == []
    assert nvidia(bad) == []
    assert amd(dict.fromkeys(AMD, bad)) == []


AMD = {
    "power_dpm_force_performance_level": "auto\n",
    "pp_dpm_sclk": "0: 600Mhz\n1: 1100Mhz\n2: 2900Mhz *\n",
    "gpu_busy_percent": "99\n",
    "hwmon/hwmon4/name": "amdgpu\n",
    "hwmon/hwmon4/power1_cap": "120000000\n",
    "hwmon/hwmon4/power1_cap_default": "120000000\n",
    "hwmon/hwmon4/temp1_input": "71000\n",
    "hwmon/hwmon4/temp1_crit": "100000\n",
}


def amd(change: Mapping[str, str]) -> list[str]:
    folder = "/sys/class/drm/card1/device"
    files = {"vendor": "0x1002\n", **AMD, **change}
    return words(Capture("linux-x86_64", {f"{folder}/{name}": t for name, t in files.items()}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"power_dpm_force_performance_level": "low"}, "set to its lowest clocks"),
        ({"pp_dpm_sclk": "0: 600Mhz *\n1: 1100Mhz\n2: 2900Mhz\n"}, "at 600 of 2900 MHz"),
        ({"pp_dpm_sclk": "0: 600Mhz *\n2: 2900Mhz\n", "gpu_busy_percent": "3"}, ""),
        ({"hwmon/hwmon4/power1_cap": "55000000"}, "limited to 55 W of 120 W"),
        ({"hwmon/hwmon4/temp1_input": "97000"}, "97 degrees C"),
    ],
)
def test_a_strix_halo(change: dict[str, str], says: str) -> None:
    found = amd(change)
    assert len(found) == bool(says)
    assert says in "".join(found)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"/sys/firmware/acpi/platform_profile": "low-power\n"}, "power profile is low-power"),
        ({"/sys/firmware/acpi/platform_profile": "balanced\n"}, ""),
        ({"/sys/class/power_supply/BAT0/status": "Discharging\n"}, "battery"),
        ({"/sys/class/power_supply/BAT0/status": "Charging\n"}, ""),
        (
            {
                "/sys/class/power_supply/hid-1/status": "Discharging\n",
                "/sys/class/power_supply/hid-1/scope": "Device\n",
            },
            "",
        ),
        (
            {
                "/sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1400000\n",
                "/sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "5100000\n",
            },
            "27% of its highest clock",
        ),
        (
            {
                "/proc/uptime": "1000.00 3000.00\n",
                f"{CPU0}/thermal_throttle/package_throttle_total_time_ms": "90000",
            },
            "for 9% of the time",
        ),
    ],
)
def test_a_computer_under_linux(files: dict[str, str], says: str) -> None:
    found = words(Capture("linux-x86_64", files))
    assert len(found) == bool(says)
    assert says in "".join(found)


THERM = "Note: No thermal warning level has been recorded\nNote: No performance warning level"
LIMITED = "2026-11-27 23:00:00 +0000\n CPU_Scheduler_Limit \t= 100\n\tCPU_Speed_Limit \t= 62\n"


@pytest.mark.parametrize(
    ("command", "printed", "says"),
    [
        ("pmset -g therm", THERM, ""),
        ("pmset -g therm", LIMITED, "to 62 %"),
        ("pmset -g", " standby              1\n lowpowermode         1\n", "Low Power Mode"),
        ("pmset -g", " lowpowermode         0\n", ""),
        ("pmset -g batt", "Now drawing from 'Battery Power'\n -InternalBattery-0\t61%", "battery"),
        ("pmset -g batt", "Now drawing from 'AC Power'\n", ""),
    ],
)
def test_a_mac(command: str, printed: str, says: str) -> None:
    found = words(Capture("darwin-arm64", {}, {command: Ran(0, printed)}))
    assert len(found) == bool(says)
    assert says in "".join(found)


def test_windows_is_asked_for_its_power_plan() -> None:
    printed = "GUID du mode de gestion : a1841308-3541-4fab-bc81-f71556f20b4a  (Economie)\n"
    (found,) = words(Capture("win32-AMD64", {}, {"powercfg /getactivescheme": Ran(0, printed)}))
    assert "powercfg /setactive" in found


def test_this_machine_can_be_looked_at() -> None:
    assert all(each.what and each.next for each in look(Live()))
