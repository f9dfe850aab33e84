"""Sizes, rates and durations are written in one way."""

import pytest

from runner.base.units import (
    GIB,
    KIB,
    MIB,
    download_size,
    duration,
    rate,
    read_duration,
    read_size,
    size,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 bytes"),
        (1023, "1 KiB"),
        (12 * KIB, "12 KiB"),
        (MIB - 1, "1 MiB"),
        (512 * MIB, "512 MiB"),
        (GIB - 1, "1.00 GiB"),
        (104_992_067_104, "97.78 GiB"),
        (-3 * GIB, "-3.00 GiB"),
        (5000 * GIB, "5,000.00 GiB"),
    ],
)
def test_a_size_is_binary(count, text):
    assert size(count) == text


def test_a_download_has_the_decimal_size_of_a_download_page_beside_it():
    assert download_size(104_992_067_104) == "97.78 GiB (105 GB)"
    assert download_size(93 * 10**6) == "89 MiB (93 MB)"
    assert download_size(9 * KIB) == "9 KiB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (3 * 3600, "3.0 h"), (50 * 3600, "2 days")],
)
def test_a_duration_grows_its_unit(seconds, text):
    assert duration(seconds) == text


def test_a_slow_network_is_not_0():
    assert rate(40_000) == "39 KiB/s"
    assert rate(12.2 * MIB) == "12 MiB/s"


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        ("20GB", 20 * 10**9),
        ("64 GiB", 64 << 30),
        (" 1.5g ", 1_500_000_000),
        ("500M", 500_000_000),
        ("2tib", 2 << 40),
        ("1024", 1024),
        ("", None),
        ("GB", None),
        ("-1GB", None),
        ("1e9", None),
        ("1234567GB", None),
        ("20 GB more", None),
    ],
)
def test_a_size_is_read_as_it_is_typed(typed: str, count: int | None) -> None:
    assert read_size(typed) == count


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("30m", 1800),
        ("90 s", 90),
        ("1.5h", 5400),
        (" 2 MIN ", 120),
        ("0s", 0),
        ("", None),
        ("30", None),
        ("-5m", None),
        ("m", None),
        ("1d", None),
        ("9" * 400 + "s", None),
    ],
)
def test_a_time_as_typed(typed: str, seconds: float | None) -> None:
    assert read_duration(typed) == seconds
