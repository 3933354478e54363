"""Answers that are made here."""

import json

import pytest

from gateway.fleet.snapshot import ModelName
from gateway.proxy import errors
from gateway.proxy.errors import BadRequest, GatewayError, NoReplica, QueueFull, Unauthorized
from gateway.proxy.messages import error_message, json_message, model_card


def parsed(message: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = message.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


def test_an_error_has_openai_s_shape_and_says_whose_it_is() -> None:
    status, headers, body = parsed(
        error_message(BadRequest("No.", param="model"), b"x-request-id: 7\r\n", close=False)
    )
    assert status == "HTTP/1.1 400 Bad Request"
    assert json.loads(body) == {
        "error": {"message": "No.", "type": "BadRequestError", "param": "model", "code": 400}
    }
    assert headers == {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-request-id": "7",
        "x-gateway-error": "bad_request",
    }


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.4, "1"), (59.6, "60")])
def test_retry_after_is_whole_seconds_and_never_zero(seconds: float, header: str) -> None:
    message = error_message(QueueFull("Full.", retry_after_s=seconds), b"", close=False)
    assert parsed(message)[1]["retry-after"] == header


def test_an_error_that_retrying_does_not_mend_has_no_retry_after() -> None:
    assert "retry-after" not in parsed(error_message(NoReplica("None."), b"", close=False))[1]


def test_a_401_says_how_to_authenticate() -> None:
    assert parsed(error_message(Unauthorized("Who?"), b"", close=True))[1]["www-authenticate"] == "Bearer"


def test_a_closing_answer_says_so() -> None:
    assert parsed(json_message(200, b"{}", b"", close=True))[1]["connection"] == "close"
    assert "connection" not in parsed(json_message(200, b"{}", b"", close=False))[1]


def test_an_answer_to_head_has_the_length_of_a_body_it_does_not_have() -> None:
    for message in (
        json_message(200, b'{"a":1}', b"", close=False, head_only=True),
        error_message(BadRequest("No."), b"", close=False, head_only=True),
    ):
        _, headers, body = parsed(message)
        assert int(headers["content-length"]) > 0
        assert body == b""


def concrete(kind: type[GatewayError]) -> list[type[GatewayError]]:
    return [k for sub in kind.__subclasses__() for k in (sub, *concrete(sub))]


@pytest.mark.parametrize("kind", [k for k in concrete(GatewayError) if hasattr(k, "status")])
def test_every_error_has_a_status_with_a_reason_a_type_and_an_origin_of_its_own(
    kind: type[GatewayError],
) -> None:
    status, _, body = parsed(error_message(kind("Why."), b"", close=False))
    assert status.split(" ", 2)[2] or kind is errors.ClientGone
    assert json.loads(body)["error"]["code"] == kind.status
    assert (
        sum(other.origin == kind.origin for other in concrete(GatewayError) if hasattr(other, "origin")) == 1
    )


def test_an_error_event_is_one_event() -> None:
    event = BadRequest('a "quoted"\nline').event()
    assert event.startswith(b'data: {"error":')
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2


def test_a_model_card_has_vllm_s_fields() -> None:
    name = ModelName(
        name="sql", pool="chat", upstream="sql-1", parent="chat", root="adapters/sql", max_model_len=9
    )
    assert model_card(name, 7) == {
        "id": "sql",
        "object": "model",
        "created": 7,
        "owned_by": "vllm",
        "root": "adapters/sql",
        "parent": "chat",
        "max_model_len": 9,
        "permission": [],
    }
    assert model_card(ModelName(name="a", pool="p", upstream="b"), 7)["root"] == "b"
