"""An account of every request.

Each is exactly one of complete, a clean error, late (ended by its own deadline before its first byte), broken
with an error event, left by its client, or cut because its worker was killed. Anything else is a finding.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from tests.chaos.client import Heard
from tests.chaos.questions import Question, split


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one request. `detail` says why it was not complete."""

    question: Question
    heard: Heard
    fate: str
    detail: str = ""


@dataclass
class Ledger:
    """All entries, and when workers were killed (seconds of the monotonic clock)."""

    entries: list[Entry] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)

    def enter(self, question: Question, heard: Heard, *, left: bool) -> None:
        self.entries.append(_account(question, heard, left=left))

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def fates(self) -> Counter[str]:
        return Counter(entry.fate for entry in self.entries)

    def of(self, *fates: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.fate in fates]

    @property
    def errors(self) -> Counter[str]:
        """Clean errors by status and the gateway's or replica's words."""
        return Counter(f"{entry.heard.status} {entry.detail}" for entry in self.of("error"))

    def findings(self) -> list[str]:
        """What must not happen."""
        found = [f"{e.fate}: {e.detail} ({e.question.path} {e.question.body})" for e in self.of("wrong")]
        return found + [
            f"cut without a worker being killed after {entry.heard.ended - entry.heard.began:.2f} s: "
            f"{entry.question.path} {entry.question.body}"
            for entry in self.of("cut")
            if not any(entry.heard.began - 0.1 <= kill <= entry.heard.ended + 0.1 for kill in self.kills)
        ]

    def worst(self, entries: Sequence[Entry] | None = None) -> tuple[float, float]:
        """The longest wait for a first byte, and the longest silence inside a stream, in seconds."""
        heard = [entry.heard for entry in (entries or self.of("complete", "broken"))]
        return (
            max((each.first_byte_s for each in heard), default=0.0),
            max((each.worst_gap_s for each in heard), default=0.0),
        )


def _account(question: Question, heard: Heard, *, left: bool) -> Entry:
    if heard.timed_out:
        return Entry(question, heard, "wrong", "no end within the client's patience")
    if left and not heard.complete:
        return Entry(question, heard, "left")
    if heard.complete:
        return _finished(question, heard)
    if heard.status == 200:
        return _broken(question, heard) if question.streams else Entry(question, heard, "broken", "no stream")
    return Entry(question, heard, "cut")


def _finished(question: Question, heard: Heard) -> Entry:
    if heard.status == 200:
        fault = question.fault_in(heard.body)
        return Entry(question, heard, "complete" if fault is None else "wrong", fault or "")
    error = orjson.loads(heard.body).get("error")
    if not isinstance(error, dict):
        return Entry(question, heard, "wrong", f"an error without a shape: {heard.body[:80]!r}")
    # Only its deadline can tell a request whose answer stalls unseen from one whose answer takes long.
    fate = "late" if heard.status == 504 else "error"
    return Entry(question, heard, fate, str(error["message"]))


def _broken(question: Question, heard: Heard) -> Entry:
    if not heard.body.endswith(b"\n\n"):
        # Only a process that dies stops inside an event.
        return Entry(question, heard, "cut")
    if fault := question.fault_in_part(heard.body):
        return Entry(question, heard, "wrong", fault)
    events = split(heard.body)
    last = orjson.loads(events[-1]) if events and events[-1] != b"[DONE]" else {}
    if "error" in last:
        return Entry(question, heard, "broken", str(last["error"]["message"]))
    return Entry(question, heard, "cut")
