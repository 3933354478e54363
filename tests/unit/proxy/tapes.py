"""Tapes for tests, and answers played into them."""

from gateway.proxy.resume.recording import Recording
from gateway.proxy.resume.request import with_token_ids
from gateway.proxy.resume.tape import Tape
from tests.unit.proxy.simulated_events import CHAT, events_of_stream


def played(tape: Recording, body: bytes, path: str = CHAT, upto: int | None = None) -> list[bytes]:
    """The tape after so many events of the answer, each in a read of its own; what the client saw of them."""
    asked = with_token_ids(body) if isinstance(tape, Tape) else body
    seen = [tape.edit(event) for event in events_of_stream(path, asked)[:upto]]
    tape.settle()
    return seen


def exact(limit: int = 1 << 20, *, shown: bool = False) -> Tape:
    return Tape(limit, lambda _: True, client_asked_for_ids=shown)
