"""Quantities as people read them: one way to write a size, a rate and a duration. Pure.

Memory and files are counted in binary units (GiB). Download pages count in decimal ones (GB), so
a size that will be compared with such a page is written with both.
"""

import re
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
_GB: Final = 10**9
_MB: Final = 10**6
_UNITS_S: Final = {"s": 1, "m": 60, "min": 60, "h": 3600}
_DURATION: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|min|h)")
_SIZE: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*([KMGT])(i?)B?|(\d{1,18})", re.IGNORECASE)


def size(count: int) -> str:
    """Return a count of bytes, such as `97.78 GiB`, `512 MiB` or `12 KiB`."""
    for unit, name, digits in ((GIB, "GiB", 2), (MIB, "MiB", 0), (KIB, "KiB", 0)):
        # What would be rounded up to a whole unit is written in that unit: never "1024 MiB".
        if round(abs(count) / unit, digits) >= 1:
            return f"{count / unit:,.{digits}f} {name}"
    return f"{count} bytes"


def download_size(count: int) -> str:
    """Return a size with what a download page shows beside it: `97.78 GiB (105 GB)`."""
    value, unit = (count / _GB, "GB") if count >= _GB else (count / _MB, "MB")
    return f"{size(count)} ({value:.0f} {unit})" if value >= 10 else f"{size(count)}"


def rate(bytes_per_second: float) -> str:
    """Return a transfer rate, such as `12 MiB/s`."""
    return f"{size(round(bytes_per_second))}/s"


def duration(seconds: float) -> str:
    """Return a time: seconds, minutes above two of them, hours above three, days above two."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 3 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def read_duration(text: str) -> float | None:
    """Return the seconds of a time as typed, such as `90s`, `30m`, `1.5 h`; None for others."""
    found = _DURATION.fullmatch(text.strip().lower())
    return float(found[1]) * _UNITS_S[found[2]] if found else None


def read_size(text: str) -> int | None:
    """Return the bytes of a size as typed, such as `20GB`, `64 GiB` or `500M`; None for others.

    With an `i` the unit is binary, without it decimal. A number alone is bytes.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    if found[4]:
        return int(found[4])
    power = "KMGT".index(found[2].upper()) + 1
    unit: int = (1024 if found[3] else 1000) ** power
    return round(float(found[1]) * unit)
