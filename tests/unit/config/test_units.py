"""Durations, sizes and token counts."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.errors import Invalid
from gateway.config.units import parse_duration, parse_optional_duration, parse_size, parse_tokens


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30.0),
        ("500ms", 0.5),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("2d", 172_800.0),
        ("1m500ms", 60.5),
        ("7", 7.0),
        ("0.25", 0.25),
        ("0s", 0.0),
        (12, 12.0),
        (0.5, 0.5),
        (0, 0.0),
    ],
)
def test_a_duration_becomes_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        "12x",
        "s",
        "-5s",
        "5 s",
        "1:30",
        "٣s",
        "1e3s",
        "off",
        -1,
        -0.5,
        True,
        False,
        None,
        math.nan,
        [],
        {},
    ],
)
def test_what_is_not_a_duration_is_refused(written: object) -> None:
    with pytest.raises(Invalid, match=r"is not a duration$") as caught:
        parse_duration(written)
    assert caught.value.hint == "write 30s, 5m or 500ms"


@pytest.mark.parametrize(
    "written", ["366d", "9" * 400 + "s", math.inf, pytest.param(10**400, id="10^400"), 1e300]
)
def test_a_duration_of_more_than_a_year_is_refused(written: object) -> None:
    with pytest.raises(Invalid, match=r"is longer than a year$"):
        parse_duration(written)


@settings(deadline=None)
@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    written = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    assert parse_duration(written) == hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


@pytest.mark.parametrize("written", ["off", False, None, 0, "0s"])
def test_off_means_no_limit(written: object) -> None:
    assert parse_optional_duration(written) is None


def test_a_duration_that_may_be_off_can_be_on() -> None:
    assert parse_optional_duration("2m") == 120.0


def test_a_duration_that_may_be_off_says_so_when_it_is_wrong() -> None:
    with pytest.raises(Invalid, match="'of' is not a duration") as caught:
        parse_optional_duration("of")
    assert caught.value.hint == "write 30s, 5m or 500ms, or off"


@pytest.mark.parametrize(
    ("written", "size_bytes"),
    [
        ("64MiB", 64 * 2**20),
        ("20GiB", 20 * 2**30),
        ("1GB", 10**9),
        ("1 kB", 1000),
        ("256kib", 256 * 1024),
        ("0.5KiB", 512),
        ("79.19GiB", round(79.19 * 2**30)),
        ("100", 100),
        ("100B", 100),
        (0, 0),
        (123, 123),
        ("9007199254740993", 9007199254740993),  # 2^53 + 1: not through a float
    ],
)
def test_a_size_becomes_bytes(written: object, size_bytes: int) -> None:
    assert parse_size(written) == size_bytes


@pytest.mark.parametrize("written", ["", "GiB", "64MiBs", "-1GB", "1.5", "0.5B", -1, 1.5, True, None, []])
def test_what_is_not_a_size_is_refused(written: object) -> None:
    with pytest.raises(Invalid, match=r"is not a size$") as caught:
        parse_size(written)
    assert caught.value.hint == "write 64MiB, 20GiB or 1GB"


def test_a_size_that_could_be_1000_or_1024_is_refused() -> None:
    with pytest.raises(Invalid, match=r"'64M' is ambiguous") as caught:
        parse_size("64M")
    assert caught.value.hint == "write 64MiB for powers of 1024 or 64MB for powers of 1000"


@pytest.mark.parametrize(
    "written", ["9" * 5000 + "GiB", "9000000000TiB", 2**63, pytest.param(10**5000, id="10^5000")]
)
def test_a_size_no_counter_can_hold_is_refused(written: object) -> None:
    with pytest.raises(Invalid, match=r"is more than 2\^63 bytes$"):
        parse_size(written)


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_bytes_given_as_a_number_or_as_text_are_the_same(size_bytes: int) -> None:
    assert parse_size(size_bytes) == parse_size(str(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("written", "tokens"),
    [
        (32768, 32768),
        ("32768", 32768),
        ("32k", 32_000),
        ("32K", 32_768),
        ("25.6k", 25_600),
        ("1M", 2**20),
        ("1m", 10**6),
    ],
)
def test_token_counts_follow_vllm(written: object, tokens: int) -> None:
    assert parse_tokens(written) == tokens


@pytest.mark.parametrize("written", ["", "k", "1.5K", "1.5", "32g", -1, 1.5, True, None, "9" * 5000])
def test_what_is_not_a_token_count_is_refused(written: object) -> None:
    with pytest.raises(Invalid, match="is not a number of tokens"):
        parse_tokens(written)
