"""What slows a machine down at this moment: heat, power limits, low clocks, a battery.

Everything is read through a `Reader`, so that a capture can stand in for the machine. What a tool
or a file does not tell is left out: nothing here is certain enough to stop an engine for. Each
look takes the time of the tools (`nvidia-smi`: tens of milliseconds), at most their time-outs.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from runner.machine.captures.capture import Reader
from runner.machine.probes.read import stdout_of, strip_codes

Kind = Literal["heat", "power", "clock", "battery", "lost"]

# nvml.h, nvmlClocksEventReasons (docs.nvidia.com/deploy/nvml-api); the names are theirs.
_HEAT_BITS: Final = 0x20 | 0x40  # SwThermalSlowdown, HwThermalSlowdown
_BRAKE_BIT: Final = 0x80  # HwPowerBrakeSlowdown: the power supply asks for less
_SLOWDOWN_BIT: Final = 0x8  # HwSlowdown: by heat or power, the clock is halved or less
_IDLE_BIT: Final = 0x1
# Both names are of one value: the first since driver 535, the second before.
_REASONS: Final = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
_CARD_FIELDS: Final = (
    *("name", "temperature.gpu", "clocks.sm", "clocks.max.sm", "utilization.gpu"),
    *("power.draw", "enforced.power.limit", "power.default_limit"),
)
CARD_QUERIES: Final = tuple(
    (
        "nvidia-smi",
        f"--query-gpu={','.join((*_CARD_FIELDS, name))}",
        "--format=csv,noheader,nounits",
    )
    for name in _REASONS
)
_LOST: Final = re.compile(r"GPU is lost|Unable to determine the device handle")
_MOST_CARDS: Final = 64
# A limit set this far below the default was set by somebody; less is rounding.
_LOWERED: Final = 0.95
# A GPU that computes runs near its highest clock: a DGX Spark at 2.4 of 3.0 GHz (its stuck state
# is 0.2 to 0.85 of it: Blackwellboy/model-serving-minefield pull 55), a Strix Halo at 2.9.
_LOW_CLOCK: Final = 0.4
_BUSY_PERCENT: Final = 50.0  # of the time; below, a low clock saves power and costs nothing
_NEAR_CRITICAL_C: Final = 5.0

_PROFILE: Final = "/sys/firmware/acpi/platform_profile"
_SLOW_PROFILES: Final = frozenset({"low-power", "quiet", "cool"})
_SAVER_SCHEME: Final = (
    "a1841308-3541-4fab-bc81-f71556f20b4a"  # Windows' "Power saver", any language
)
_BALANCED_SCHEME: Final = "381b4222-f694-41f0-9685-ff5b260df2e0"
_FIGURE: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
_CLOCK: Final = re.compile(
    r"^[0-9]{1,3}:\s*([0-9]{1,6})\s*Mhz\s*(\*?)", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Slowed:
    """One thing that slows the machine down. `what`: a sentence. `next`: what to do about it."""

    kind: Kind
    what: str
    next: str

    def in_words(self) -> str:
        """Return both, for a line of `ps` or a log."""
        return f"{self.what} Next: {self.next}"


def look(reader: Reader) -> tuple[Slowed, ...]:
    """Return what slows this machine down now, the worst first; never raises."""
    system = reader.platform.partition("-")[0]
    found = [each for probe in _PROBES.get(system, ()) for each in probe(reader)]
    order = ("lost", "heat", "power", "clock", "battery")
    return tuple(sorted(found, key=lambda each: order.index(each.kind)))


def _figure(text: str | None, most: float = 1e9) -> float | None:
    """Return a figure that is one: not `[N/A]`, not negative, not NaN, not beyond all reason."""
    plain = strip_codes(text)
    value = float(plain) if _FIGURE.fullmatch(plain) else None
    return value if value is not None and value <= most else None


# --- NVIDIA


def _nvidia(reader: Reader) -> Iterator[Slowed]:
    for query in CARD_QUERIES:
        ran = reader.run(*query)
        if ran is None:
            return  # absent, or a driver that hangs: what is not known is not said
        if _LOST.search(ran.stdout):
            yield Slowed(
                "lost",
                "The driver has lost a GPU, which no engine can use now.",
                "Restart the computer; if it is lost again, its power or its slot is at fault.",
            )
        names = (*_CARD_FIELDS, "reasons")
        rows = [line.split(", ") for line in ran.stdout.splitlines()[:_MOST_CARDS]]
        cards = [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]
        if cards:
            for card in cards:
                yield from _card(card)
            return


def _card(card: dict[str, str]) -> Iterator[Slowed]:
    name = strip_codes(card["name"]) or "The GPU"
    bits = strip_codes(card["reasons"])
    reasons = int(bits, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,16}", bits) else 0
    degrees = _figure(card["temperature.gpu"], 200)
    at = "" if degrees is None else f" at {degrees:.0f} degrees C"
    hot = reasons & _HEAT_BITS
    if hot:
        yield Slowed(
            "heat",
            f"{name} is slowed down by heat{at}.",
            "Give it air, or less to do: sudo nvidia-smi -lgc 0,2100 keeps its clock lower.",
        )
    if reasons & _BRAKE_BIT or (reasons & _SLOWDOWN_BIT and not hot):
        yield Slowed(
            "power",
            f"{name} is slowed down by its power supply{at}.",
            "Use the power supply that belongs to it, at a socket of its own.",
        )
    limit, usual = (
        _figure(card[field], 1e5) for field in ("enforced.power.limit", "power.default_limit")
    )
    if limit and usual and limit < _LOWERED * usual:
        yield Slowed(
            "power",
            f"{name} is limited to {limit:.0f} W of {usual:.0f} W.",
            f"sudo nvidia-smi -pl {usual:.0f}",
        )
    clock, most = (_figure(card[field], 1e5) for field in ("clocks.sm", "clocks.max.sm"))
    busy = _figure(card["utilization.gpu"], 100)
    slow = clock is not None and most and clock < _LOW_CLOCK * most
    if slow and not reasons & _IDLE_BIT and not hot and (busy or 0) >= _BUSY_PERCENT:
        yield _stuck(name, clock or 0, most or 0, gb10="GB10" in name)


def _stuck(name: str, clock: float, most: float, *, gb10: bool) -> Slowed:
    what = f"{name} computes at {clock:.0f} of {most:.0f} MHz, for no reason that is known."
    if gb10:
        # The state survives restarts and all that software can do (the same pull 55).
        return Slowed(
            "clock", what, "Shut down, unplug the power supply for a minute, and start again."
        )
    return Slowed("clock", what, "Restart the computer.")


# --- AMD, by amdgpu's files (kernel documentation, amdgpu thermal and power management)


def _amd(reader: Reader) -> Iterator[Slowed]:
    for path in reader.glob("/sys/class/drm/card*/device/vendor"):
        folder = path.removesuffix("/vendor")
        if not re.fullmatch(r"/sys/class/drm/card[0-9]+/device", folder):
            continue
        if strip_codes(reader.file(path)).lower() != "0x1002":
            continue
        name = strip_codes(reader.file(f"{folder}/product_name")) or "The AMD GPU"
        yield from _amd_card(reader, folder, name)


def _amd_card(reader: Reader, folder: str, name: str) -> Iterator[Slowed]:
    level = strip_codes(reader.file(f"{folder}/power_dpm_force_performance_level"))
    if level == "low":
        yield Slowed(
            "clock",
            f"{name} is set to its lowest clocks.",
            f"echo auto | sudo tee {folder}/power_dpm_force_performance_level",
        )
    for monitor in reader.glob(f"{folder}/hwmon/hwmon*/name"):
        yield from _monitor(reader, monitor.removesuffix("/name"), name)
    clocks = _CLOCK.findall((reader.file(f"{folder}/pp_dpm_sclk") or "")[:4096])
    now = max((float(clock) for clock, mark in clocks if mark), default=None)
    most = max((float(clock) for clock, _ in clocks), default=0.0)
    busy = _figure(reader.file(f"{folder}/gpu_busy_percent"), 100)
    slow = level != "low" and now is not None and now < _LOW_CLOCK * most
    if slow and (busy or 0) >= _BUSY_PERCENT:
        yield _stuck(name, now or 0, most, gb10=False)


def _monitor(reader: Reader, folder: str, name: str) -> Iterator[Slowed]:
    limit, usual = (
        _figure(reader.file(f"{folder}/{what}")) for what in ("power1_cap", "power1_cap_default")
    )
    if limit and usual and limit < _LOWERED * usual:
        yield Slowed(
            "power",
            f"{name} is limited to {limit / 1e6:.0f} W of {usual / 1e6:.0f} W.",
            f"echo {usual:.0f} | sudo tee {folder}/power1_cap",
        )
    heat, critical = (
        _figure(reader.file(f"{folder}/{what}"), 2e5) for what in ("temp1_input", "temp1_crit")
    )
    near = 1000 * _NEAR_CRITICAL_C
    if heat and critical and critical > 50_000 and heat >= critical - near:
        yield Slowed(
            "heat",
            f"{name} has {heat / 1000:.0f} degrees C, and is slowed down at {critical / 1000:.0f}.",
            "Give it air, or a cooler room.",
        )


# --- processors and the whole computer


def _linux(reader: Reader) -> Iterator[Slowed]:
    profile = strip_codes(reader.file(_PROFILE))
    if profile in _SLOW_PROFILES:
        yield Slowed(
            "power",
            f"The firmware's power profile is {profile}.",
            f"echo performance | sudo tee {_PROFILE}",
        )
    for battery in reader.glob("/sys/class/power_supply/*/status"):
        folder = battery.removesuffix("/status")
        scope = strip_codes(reader.file(f"{folder}/scope"))  # "Device": a mouse's
        if strip_codes(reader.file(battery)) == "Discharging" and scope != "Device":
            yield _BATTERY
            break
    yield from _policies(reader)
    yield from _throttled(reader)


def _policies(reader: Reader) -> Iterator[Slowed]:
    """Say where all cores are held below what they can do, by a setting."""
    root = "/sys/devices/system/cpu/cpufreq"
    shares = []
    for path in reader.glob(f"{root}/policy*/scaling_max_freq"):
        limit = _figure(reader.file(path))
        most = _figure(reader.file(path.replace("scaling_max", "cpuinfo_max")))
        if limit and most:
            shares.append(limit / most)
    # As long as one kind of core may run fast, others may be slower by design.
    if shares and max(shares) < _LOWERED:
        yield Slowed(
            "clock",
            f"The processor may use {max(shares):.0%} of its highest clock.",
            "sudo cpupower frequency-set --max 100GHz",
        )


def _throttled(reader: Reader) -> Iterator[Slowed]:
    """Say where heat has slowed the processor down for a good part of the time since the start."""
    up = _figure((reader.file("/proc/uptime") or "").partition(" ")[0])
    pattern = "/sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_total_time_ms"
    lost = max((_figure(reader.file(path)) or 0.0 for path in reader.glob(pattern)), default=0.0)
    if up and lost > 10 * up:  # ms of s: one per cent
        yield Slowed(
            "heat",
            f"Heat has slowed the processor down for {lost / 1000 / up:.0%} of the time.",
            "Clean its fans, or give it air.",
        )


def _macos(reader: Reader) -> Iterator[Slowed]:
    therm = stdout_of(reader, "pmset", "-g", "therm") or ""
    speed = re.search(r"CPU_Speed_Limit\s*=\s*([0-9]{1,3})", therm)
    if speed and int(speed[1]) < 100:
        yield Slowed(
            "heat", f"macOS has slowed the processor down to {speed[1]} %.", "Give the Mac air."
        )
    settings = stdout_of(reader, "pmset", "-g") or ""
    if re.search(r"^\s*(?:lowpowermode|powermode)\s+1\s*$", settings, re.MULTILINE):
        yield Slowed("power", "Low Power Mode is on.", "sudo pmset -a lowpowermode 0")
    if "'Battery Power'" in (stdout_of(reader, "pmset", "-g", "batt") or ""):
        yield _BATTERY


def _windows(reader: Reader) -> Iterator[Slowed]:
    if _SAVER_SCHEME in (stdout_of(reader, "powercfg", "/getactivescheme") or "").lower():
        yield Slowed(
            "power", "Windows' power plan saves power.", f"powercfg /setactive {_BALANCED_SCHEME}"
        )


_BATTERY: Final = Slowed(
    "battery", "The computer runs on its battery.", "Connect the power supply."
)
_PROBES: Final[dict[str, tuple[Callable[[Reader], Iterator[Slowed]], ...]]] = {
    "linux": (_nvidia, _amd, _linux),
    "darwin": (_macos,),
    "win32": (_nvidia, _windows),
}
