"""The line that a request leaves in the access log."""

from pathlib import Path

import orjson
import pytest

from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.record import RequestRecord

USAGE = b'"usage": {"prompt_tokens": 7, "total_tokens":12,"completion_tokens":5}'


def record(tail: bytes = b"") -> RequestRecord:
    made = RequestRecord("id-1", "127.0.0.1", "/v1/chat/completions", 100.0)
    made.model, made.replica, made.status, made.tail = "m", "http://a:1", 200, tail
    made.first_byte_at, made.ended_at = 100.25, 101.5
    return made


def line_of(made: RequestRecord, folder: Path) -> dict[str, object]:
    log = AccessLog(str(folder / "access.log"))
    log.write(made)
    log.close()
    line: dict[str, object] = orjson.loads((folder / "access.log").read_bytes())
    return line


def test_a_line_says_who_what_where_and_how_long(tmp_path: Path) -> None:
    line = line_of(record(), tmp_path)
    assert line["id"] == "id-1"
    assert (line["model"], line["replica"], line["status"]) == ("m", "http://a:1", 200)
    assert (line["ttft"], line["duration"]) == (0.25, 1.5)
    assert (line["prompt_tokens"], line["completion_tokens"], line["error"]) == (None, None, None)


@pytest.mark.parametrize(
    "tail",
    [
        b"{%b}" % USAGE,
        b"data: {%b}\n\ndata: [DONE]\n\n" % USAGE,
        b'{"content":"\\"usage\\":{\\"prompt_tokens\\":1}",%b}' % USAGE,
    ],
)
def test_tokens_are_those_that_the_engine_told_the_client(tail: bytes, tmp_path: Path) -> None:
    line = line_of(record(tail), tmp_path)
    assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 5)


def test_a_path_that_is_no_text_does_not_lose_the_line(tmp_path: Path) -> None:
    made = record()
    made.path = "/v1/\udce9"
    assert line_of(made, tmp_path)["id"] == "id-1"
