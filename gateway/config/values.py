"""The small value types of the schema: names, words, numbers, lists, and the base of all sections.

Every type refuses a value with one sentence, hence validators and no unions: a union answers once per member.
"""

import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema, model_validator

from gateway.config.errors import Invalid, shown

LONGEST_NAME_BYTES = 256
"""Model names travel in headers, logs and metric labels; real ones stay far below."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSION = re.compile(r"\d+\.\d+")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: token
_ROUTE = re.compile(r"/[!$%&'()*+,./:;=@_~0-9A-Za-z-]*")  # RFC 3986, 3.3: path-absolute, no query

_K = TypeVar("_K")
_T = TypeVar("_T")


class Section(BaseModel):
    """A section of the file: frozen, no unknown keys; `limits:` with nothing below it means the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_means_defaults(cls, data: object) -> object:
        return {} if data is None else data


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Invalid(f"{shown(value)} is not text", "put it in quotes")
    if not value:
        raise Invalid("must not be empty")
    if "\0" in value or not _is_unicode(value):
        raise Invalid(f"{shown(value)} has characters that no program takes as an argument")
    return value


def _word(value: object) -> str:
    """Words of a command line or an environment: 64 means "64", but true could mean true, True or 1."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    return "" if value == "" else _text(value)


def _name(value: object) -> str:
    """A name for a model or an adapter: what a client writes in `"model"`."""
    name = _text(value)
    if any(character.isspace() or not character.isprintable() for character in name):
        raise Invalid(
            f"the name {shown(name)} has a space or an unprintable character", "use letters, digits and -_./:"
        )
    if len(name.encode()) > LONGEST_NAME_BYTES:
        raise Invalid(f"the name {shown(name)} is longer than {LONGEST_NAME_BYTES} bytes")
    return name


def _version(value: object) -> str:
    """A release of vLLM. YAML reads a bare 0.10 as the number 0.1, so it must be text."""
    if not isinstance(value, str):
        raise Invalid(f"{shown(value)} is not text", "put the version in quotes: '0.32.0'")
    if not _VERSION.match(value):
        raise Invalid(f"{shown(value)} is not a version", "write '0.32.0'")
    return value


def _env_name(value: object) -> str:
    if not isinstance(value, str) or not _ENV_NAME.fullmatch(value):
        raise Invalid(
            "is not the name of an environment variable",  # the value may be the key itself: not repeated
            "write the variable's name, not the secret",
        )
    return value


def _header_name(value: object) -> str:
    if not isinstance(value, str) or not _HEADER_NAME.fullmatch(value):
        raise Invalid(f"{shown(value)} is not a header name", "write x-priority")
    return value.lower()


def _route(value: object) -> str:
    if not isinstance(value, str) or not _ROUTE.fullmatch(value):
        raise Invalid(f"{shown(value)} is not a path", "write /path, without host and query")
    return value


def _path(value: object) -> Path:
    return value if isinstance(value, Path) else Path(_text(value))


def _access_log(value: object) -> bool | Path:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str | Path):
        raise Invalid(f"{shown(value)} is neither a switch nor a file", "write true, false or a path")
    return value == "on" if value in {"on", "off"} else _path(value)


def _auto_or_count(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Invalid(f"{shown(value)} is neither auto nor a number from 1 up")
    return value


def _resume(value: object) -> object:
    return "off" if value is False else value  # YAML 1.1 reads a bare off as False


def _command(value: object) -> object:
    """A command line as one string is split as a shell would."""
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError:
        raise Invalid(f"{shown(value)} has an unclosed quote") from None


def _nothing_is_no_items(value: object) -> object:
    return () if value is None else value


def _nothing_is_no_entries(value: object) -> object:
    return {} if value is None else value


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


Items = Annotated[tuple[_T, ...], BeforeValidator(_nothing_is_no_items)]
Entries = Annotated[Mapping[_K, _T], BeforeValidator(_nothing_is_no_entries)]

Whole = Annotated[int, Strict()]
NotNegative = Annotated[int, Strict(), Field(ge=0)]
Count = Annotated[int, Strict(), Field(ge=1)]
Port = Annotated[int, Strict(), Field(ge=1, le=65_535)]
Fraction = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
Switch = Annotated[bool, Strict()]

Text = Annotated[str, BeforeValidator(_text)]
Word = Annotated[str, BeforeValidator(_word), WithJsonSchema({"type": ["string", "number"]})]
Name = Annotated[str, BeforeValidator(_name)]
EnvName = Annotated[str, BeforeValidator(_env_name)]
Version = Annotated[str, BeforeValidator(_version)]
HeaderName = Annotated[str, BeforeValidator(_header_name)]
Route = Annotated[str, BeforeValidator(_route)]
FilePath = Annotated[Path, BeforeValidator(_path), WithJsonSchema({"type": "string"})]
AccessLog = Annotated[
    bool | Path, BeforeValidator(_access_log), WithJsonSchema({"type": ["boolean", "string"]})
]
AutoOrCount = Annotated[
    int | Literal["auto"],
    BeforeValidator(_auto_or_count),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
]
ResumeMode = Annotated[Literal["exact", "text", "off"], BeforeValidator(_resume)]
Command = Annotated[tuple[Word, ...], BeforeValidator(_command), Field(min_length=1)]
