"""Durations, sizes and token counts as people write them, and the number each becomes. Pure.

Durations become seconds (float), sizes bytes (int), counts tokens (int).
"""

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.config.errors import Invalid, shown

LONGEST_S = 365 * 86_400.0
"""Longer timers than a year are typing mistakes, and some event loops overflow on them."""
LARGEST_BYTES = 2**63 - 1
"""What a signed 64-bit file size or a shared counter can hold."""

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION = re.compile(f"(?:{_DURATION_PART.pattern})+")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")
_TOKENS = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kKmM]?)")

_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_TOKEN_FACTORS = {"": 1, "k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20}

_DURATION_HINT = "write 30s, 5m or 500ms"
_SIZE_HINT = "write 64MiB, 20GiB or 1GB"


def parse_duration(value: object) -> float:
    """Seconds from `30s`, `500ms`, `5m`, `1h30m`, or from a plain number of seconds.

    Raises:
        Invalid: not a duration, negative, or longer than a year.
    """
    if isinstance(value, str) and _DURATION.fullmatch(value):
        parts = _DURATION_PART.findall(value)
        seconds = sum(float(number) * _MILLISECONDS[unit] for number, unit in parts) / 1000
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        seconds = float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        seconds = float(min(value, 2 * LONGEST_S))  # an int may be too large for a float
    else:
        raise Invalid(f"{shown(value)} is not a duration", _DURATION_HINT)
    if seconds > LONGEST_S:
        raise Invalid(f"{shown(value)} is longer than a year", _DURATION_HINT)
    return seconds


def parse_optional_duration(value: object) -> float | None:
    """As `parse_duration`; `off`, 0 and nothing mean no limit (None). YAML 1.1 reads a bare `off` as False.

    Raises:
        Invalid: neither off nor a duration.
    """
    if value is None or value is False or value == "off":
        return None
    try:
        return parse_duration(value) or None
    except Invalid as error:
        raise Invalid(error.message, f"{_DURATION_HINT}, or off") from None


def parse_size(value: object) -> int:
    """Bytes from `64MiB` (powers of 1024), `1GB` (powers of 1000), or from a whole number of bytes.

    Raises:
        Invalid: not a size, an ambiguous unit (`64M`), or more than 2^63 - 1 bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        number, unit = str(min(value, LARGEST_BYTES + 1)), ""
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        number, unit = match.groups()
    else:
        raise Invalid(f"{shown(value)} is not a size", _SIZE_HINT)
    if unit.lower() in {"k", "m", "g", "t"}:
        letter = unit.upper()
        hint = f"write {number}{letter}iB for powers of 1024 or {number}{letter}B for powers of 1000"
        raise Invalid(f"{shown(value)} is ambiguous", hint)
    factor = _BYTES.get(unit.lower())
    if factor is None or (factor == 1 and "." in number):
        raise Invalid(f"{shown(value)} is not a size", _SIZE_HINT)
    return _whole(number, factor, LARGEST_BYTES, f"{shown(value)} is more than 2^63 bytes")


def parse_tokens(value: object) -> int:
    """Tokens from a number, `32k` (32,000) or `32K` (32,768): vLLM's own rule (`human_readable_int`).

    Raises:
        Invalid: not a count of tokens.
    """
    not_tokens = Invalid(
        f"{shown(value)} is not a number of tokens", "write 32768, 32k (32000) or 32K (32768)"
    )
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str) or not (match := _TOKENS.fullmatch(value)):
        raise not_tokens
    number, unit = match.groups()
    if "." in number and unit not in {"k", "m"}:  # vLLM takes fractions of decimal units only
        raise not_tokens
    return _whole(number, _TOKEN_FACTORS[unit], LARGEST_BYTES, not_tokens.message)


def _whole(number: str, factor: int, largest: int, too_much: str) -> int:
    if float(number) * factor > 2 * largest:  # rough, but no number is too long for it
        raise Invalid(too_much)
    whole = round(Fraction(number) * factor)
    if whole > largest:
        raise Invalid(too_much)
    return whole


def _schema(description: str, *examples: str) -> WithJsonSchema:
    kinds = [{"type": "string"}, {"type": "number", "minimum": 0}]
    return WithJsonSchema({"anyOf": kinds, "description": description, "examples": list(examples)})


_A_DURATION = _schema("Duration: 30s, 500ms, 5m, 1h30m, or a number of seconds", "30s", "500ms")
_MAYBE_A_DURATION = WithJsonSchema(
    {
        "anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}, {"const": False}, {"type": "null"}],
        "description": "Duration (30s, 500ms, 5m, 1h30m, or a number of seconds) or off",
        "examples": ["30s", "off"],
    }
)
_A_SIZE = _schema("Size: 64MiB, 20GiB, 1GB, or a number of bytes", "64MiB")

Duration = Annotated[float, BeforeValidator(parse_duration), _A_DURATION]
PositiveDuration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0), _A_DURATION]
OptionalDuration = Annotated[float | None, BeforeValidator(parse_optional_duration), _MAYBE_A_DURATION]
Size = Annotated[int, BeforeValidator(parse_size), _A_SIZE]
PositiveSize = Annotated[int, BeforeValidator(parse_size), Field(ge=1), _A_SIZE]
Tokens = Annotated[
    int,
    BeforeValidator(parse_tokens),
    Field(ge=1),
    _schema("Tokens: 32768, 32k (32000) or 32K (32768)", "32k"),
]
