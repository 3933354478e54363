"""Fault switches: every way a replica is known to fail, as data.

Owns which faults are set and which request one of them strikes. Must never carry one out: the engine
room, the connection and the streams do, each for its own part. Setting is always "replace the whole
frozen value", so that a reader never sees half a change.
"""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with a replica. Defaults: nothing.

    Tokens are counted per HTTP request over all its choices. A fault "after k tokens" strikes in place
    of token k+1, so that k tokens have left the machine.
    """

    # -- the whole replica --
    refuse: bool = False
    """Listening socket closed, idle connections dropped; running requests go on."""
    terminating: bool = False
    """As after SIGTERM with vLLM's default: refuses, running requests hang without a byte."""
    freeze: bool = False
    """The engine stands still (SIGSTOP of EngineCore): HTTP answers, gauges and streams do not move."""
    drain: bool = False
    """Draining: /health 200, running requests finish, new ones get 500."""
    health_status: int = 200
    health_delay_s: float = 0.0
    health_hang: bool = False
    piece_bytes: int = 0
    """Cut every write into pieces of so many bytes, each its own TCP send."""
    piece_delay_s: float = 0.0
    """Pause between pieces (1 byte each unless `piece_bytes` says more)."""
    pad_bytes: int = 0
    """Make every stream event longer by so many bytes, to move a lot of data cheaply."""

    # -- single generate or pooling requests; `times` and `probability` choose which --
    status: int = 0
    """Answer with this HTTP status."""
    retry_after: str = ""
    """``retry-after`` header of answers made by `status`."""
    head_delay_s: float = 0.0
    """Nothing at all for so long, not even the response head."""
    first_byte_delay_s: float = 0.0
    """The head at once, as vLLM does, the first body byte so much later."""
    stall_after_tokens: int | None = None
    """This stream stops without a byte, the connection stays, the engine goes on."""
    hang_after_tokens: int | None = None
    """The engine freezes when a request gets there (sets `freeze`)."""
    reset_after_tokens: int | None = None
    """TCP reset."""
    close_mid_chunk_after_tokens: int | None = None
    """EOF inside a chunk, as when the API server is killed."""
    cut_in_character_after_tokens: int | None = None
    """EOF inside a UTF-8 character of an event, the first such event from there on (needs `emoji`)."""
    truncate_after_tokens: int | None = None
    """Clean end of chunks without ``[DONE]``."""
    error_event_after_tokens: int | None = None
    """vLLM's error event followed by ``[DONE]``, as when the engine dies."""
    abort_after_tokens: int | None = None
    """``finish_reason: "abort"`` and ``[DONE]``, as after /sleep or /abort_requests."""
    garbage_status_line: bool = False
    content_length_delta: int = 0
    """Lie about the length of a plain answer by so many bytes, then close."""
    endless_headers: bool = False
    event_after_done: bool = False
    """One more event between ``[DONE]`` and the end of the chunks."""
    bytes_after_end: bool = False
    """Junk on the connection after a complete response."""

    # -- which requests --
    times: int | None = None
    """Strike only the next so many requests, then reset the per-request faults' effect."""
    probability: float = 1.0
    seed: int = 0
    """Seed of the draws for `probability`."""

    @property
    def refuses(self) -> bool:
        return self.refuse or self.terminating

    @property
    def freezes(self) -> bool:
        return self.freeze or self.terminating

    def token_trip(self) -> tuple[int, str] | None:
        """Return the earliest "after k tokens" fault as (k, its field's name)."""
        set_faults = ((getattr(self, name), name) for name in TOKEN_FAULTS)
        return min(((k, name) for k, name in set_faults if k is not None), default=None)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


NO_FAULTS = Faults()
TOKEN_FAULTS = tuple(field.name for field in fields(Faults) if field.name.endswith("_after_tokens"))
_TYPES = {field.name: field.type for field in fields(Faults)}


def changed(faults: Faults, changes: Mapping[str, Any]) -> Faults:
    """Return `faults` with some fields changed; None puts a field back to its default.

    Raises:
        ValueError: A name that is no fault, or a value of the wrong type.
    """
    values = {name: _checked(name, value) for name, value in changes.items()}
    return replace(faults, **values)


def parse_setting(setting: str) -> tuple[str, Any]:
    """Read ``key=value`` (or ``key`` for a switch) from the command line.

    Raises:
        ValueError: Not a fault, or not a value for it.
    """
    name, equals, text = setting.partition("=")
    if not equals:
        return name, _checked(name, value=True)
    if text.lower() in ("true", "false", "on", "off"):
        return name, _checked(name, text.lower() in ("true", "on"))
    try:
        number: Any = int(text)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            number = text
    return name, _checked(name, number)


def _checked(name: str, value: Any) -> Any:
    if name not in _TYPES:
        raise ValueError(f"{name!r} is not a fault; known are {', '.join(sorted(_TYPES))}")
    if value is None:
        return getattr(NO_FAULTS, name)
    kind = str(_TYPES[name]).replace(" | None", "").removeprefix("<class '").removesuffix("'>")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and is_number,
        "float": is_number,
        "str": isinstance(value, str) or is_number,
    }[kind]
    if not fits:
        raise ValueError(f"fault {name} takes {kind}, not {value!r}")
    return str(value) if kind == "str" else value


class FaultDraw:
    """Decides for each request whether the per-request faults strike it."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._left = faults.times
        self._random = random.Random(faults.seed)  # noqa: S311 - a seeded draw, no secret

    def next_request(self) -> Faults:
        """Return the faults that strike the request that came now (`NO_FAULTS` if spared)."""
        faults = self.faults
        if faults is NO_FAULTS or self._left == 0:
            return NO_FAULTS
        if faults.probability < 1 and self._random.random() >= faults.probability:
            return NO_FAULTS
        if self._left is not None:
            self._left -= 1
        return faults
