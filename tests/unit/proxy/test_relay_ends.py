"""How an attempt ends: by status, by a lost connection, by a deadline, by the client."""

from types import SimpleNamespace

import pytest

from gateway.proxy.headers import status_line
from gateway.proxy.outcome import Ended, Failure
from gateway.proxy.relay import HELD_LIMIT_BYTES
from tests.unit.proxy.attempts import CLOSED, DONE, LATER, ROLE, STREAM, WORD, Attempt

# -- what the status says --


@pytest.mark.parametrize("status", [404, 429, 500, 502, 503])
async def test_an_error_that_another_replica_may_not_have_is_held(status: int) -> None:
    attempt = Attempt(status=status, headers=[(b"content-length", b"4"), (b"retry-after", b"3")])
    attempt.take(b"bu", b"sy")
    assert attempt.ended == Ended(Failure.STATUS, f"HTTP {status}")
    assert attempt.client.sent == b""
    assert attempt.relay.held_body == b"busy"
    assert attempt.connection.calls == []  # it ended well, and can be used again
    attempt.relay.pass_held_on()
    assert attempt.client.sent.startswith(status_line(status) + b"content-length: 4\r\nretry-after: 3\r\n")
    assert attempt.client.sent.endswith(b"\r\n\r\nbusy")


@pytest.mark.parametrize("status", [400, 401, 422, 501])
async def test_any_other_error_is_the_answer(status: int) -> None:
    attempt = Attempt(status=status, headers=[(b"content-length", b"2")]).take(b"no")
    assert attempt.ended == Ended()
    assert attempt.client.sent.endswith(b"\r\n\r\nno")


async def test_an_error_too_long_to_be_held_is_passed_on() -> None:
    body = b"x" * (HELD_LIMIT_BYTES + 1)
    attempt = Attempt(status=503, headers=[(b"content-length", b"%d" % (2 * len(body)))])
    attempt.take(body[:-1], complete=False)
    assert attempt.client.sent == b""
    attempt.take(b"x", body)
    assert attempt.client.sent.endswith(b"\r\n\r\n" + body + body)
    assert attempt.ended == Ended()


async def test_an_error_whose_body_is_cut_is_a_lost_connection() -> None:
    attempt = Attempt(status=503).take(b"bus", complete=False)
    attempt.relay.lost("the connection was closed")
    assert attempt.ended == CLOSED
    assert attempt.client.sent == b""


async def test_a_good_status_without_a_word_is_no_answer_where_there_must_be_one() -> None:
    empty = [(b"content-length", b"0")]
    attempt = Attempt(headers=empty).take()
    assert attempt.ended == Ended(Failure.TRUNCATED, "the answer is empty")
    assert attempt.client.sent == b""
    other = Attempt(LATER, headers=empty).take()
    assert other.ended == Ended()
    assert other.client.sent.startswith(b"HTTP/1.1 200 OK")


# -- ends --


@pytest.mark.parametrize("seen", [b"", ROLE, ROLE + WORD[:9]])
async def test_a_lost_connection_ends_the_attempt_and_half_an_event_is_dropped(seen: bytes) -> None:
    attempt = Attempt().take(seen, complete=False) if seen else Attempt()
    attempt.relay.lost("the connection was closed")
    assert attempt.ended == CLOSED
    assert attempt.body == seen[: len(ROLE)]
    assert attempt.connection.calls == []


async def test_a_connection_lost_behind_the_end_marker_is_a_good_end() -> None:
    attempt = Attempt().take(STREAM, complete=False)
    attempt.relay.lost("the connection was closed")
    assert attempt.ended == Ended()
    assert attempt.body == STREAM
    assert attempt.answer.finished


async def test_a_plain_answer_that_quotes_the_end_marker_and_is_cut_is_cut() -> None:
    attempt = Attempt(headers=[(b"content-length", b"100")]).take(DONE, complete=False)
    attempt.relay.lost("the connection was closed")
    assert attempt.ended == CLOSED


@pytest.mark.parametrize("seen", [b"", ROLE])
async def test_a_client_that_leaves_closes_the_replica_s_connection_once(seen: bytes) -> None:
    attempt = Attempt().take(seen, complete=False) if seen else Attempt()
    attempt.relay.client_gone()
    attempt.relay.client_gone()
    assert attempt.ended == Ended(client_gone=True)
    assert attempt.connection.calls == ["abandon"]


async def test_a_deadline_closes_the_replica_s_connection_and_only_the_first_end_counts() -> None:
    attempt = Attempt().take(ROLE, complete=False)
    attempt.relay.fail(Failure.IDLE_TIMEOUT, "late")
    attempt.relay.fail(Failure.SHUTDOWN, "later")
    attempt.relay.client_gone()
    assert attempt.ended == Ended(Failure.IDLE_TIMEOUT, "late")
    assert attempt.connection.calls == ["abandon"]


async def test_nobody_touches_the_connection_after_a_good_end() -> None:
    attempt = Attempt().take(STREAM)
    attempt.relay.fail(Failure.IDLE_TIMEOUT, "late")
    attempt.relay.client_gone()
    attempt.relay.pause_reading()
    attempt.relay.resume_reading()
    assert attempt.ended == Ended()
    assert attempt.connection.calls == []


async def test_the_client_s_pace_is_the_replica_s() -> None:
    attempt = Attempt().take(ROLE, complete=False)
    attempt.relay.pause_reading()
    before = attempt.relay.last_progress
    attempt.relay.resume_reading()
    assert attempt.connection.calls == ["pause", "resume"]
    assert attempt.relay.last_progress >= before


async def test_the_replica_s_pace_is_the_upload_s() -> None:
    attempt = Attempt()
    heard: list[str] = []
    attempt.relay.pause_sending()
    attempt.job.upload = SimpleNamespace(
        pause=lambda: heard.append("pause"), resume=lambda: heard.append("resume")
    )
    attempt.relay.pause_sending()
    attempt.relay.resume_sending()
    assert heard == ["pause", "resume"]
