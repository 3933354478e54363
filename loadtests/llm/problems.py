"""What went wrong with a request, in few words: Locust makes a row for each text. Pure."""

import http

import orjson

LONGEST = 160


def refusal(status: int, error: object, body: bytes | None) -> str:
    """Say why there is no answer; "" if there is one.

    Args:
        status: the HTTP status, 0 without an answer.
        error: what the client says then.
        body: the response's body.
    """
    if status == http.HTTPStatus.OK:
        return ""
    if status == 0:
        return f"no answer: {error}"
    said = _message(body or b"")
    return f"status {status}: {said}" if said else f"status {status}"


def _message(body: bytes) -> str:
    """The first sentence of an error in OpenAI's form."""
    try:
        message = orjson.loads(body)["error"]["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return str(message).partition(". ")[0][:LONGEST]
