"""Reads JSON request bodies and their fields, with vLLM's complaints about bad ones."""

import json
from collections.abc import Mapping
from typing import Any, TypeGuard

import orjson

from gateway.sim import errors
from gateway.sim.connection import Request
from gateway.sim.wire import JSON

Body = dict[str, Any]


def read_json(request: Request) -> Body:
    """Parse a JSON object body.

    Raises:
        ApiError: Not JSON, not an object, or another media type.
    """
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if not request.body:
        raise errors.invalid_field("missing", "body", "Field required", "None")
    if media_type != JSON:
        raise errors.wrong_media_type()
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        try:
            # The standard parser takes more (NaN, lone surrogates) and gives the position vLLM reports.
            body = json.loads(request.body)
        except json.JSONDecodeError as error:
            raise errors.invalid_json(error) from error
        except UnicodeDecodeError as error:
            raise errors.ApiError(400, "Bad Request", "There was an error parsing the body") from error
    if not isinstance(body, dict):
        raise errors.invalid_field(
            "model_attributes_type", "body", "Input should be a valid dictionary or object", str(body)[:60]
        )
    return body


def text(body: Body, name: str) -> str:
    """Read a required string.

    Raises:
        ApiError: Missing, or something else.
    """
    if name not in body:
        raise errors.missing_field(name, body)
    value = body[name]
    if not isinstance(value, str):
        raise errors.wrong_type(name, "string", value)
    return value


def chat_messages(body: Body) -> list[Mapping[str, Any]]:
    """Read the required ``messages``.

    Raises:
        ApiError: Missing, or not a list of objects.
    """
    if body.get("messages") is None:
        raise errors.missing_field("messages", body)
    messages = body["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise errors.wrong_type("messages", "list", messages)
    return messages


def is_ids(value: object) -> TypeGuard[list[int]]:
    """Tell whether a JSON value is a list of token ids, not empty (booleans are no ids)."""
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def integer(body: Body, name: str, default: int | None) -> int | None:
    """Read a whole number; a string of digits counts, as it does for vLLM.

    Raises:
        ApiError: Something else.
    """
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            message = "Input should be a valid integer, unable to parse string as an integer"
            raise errors.invalid_field("int_parsing", f"body.{name}", message, value[:60]) from None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise errors.invalid_field(
            "int_type", f"body.{name}", "Input should be a valid integer", str(value)[:60]
        )
    return int(value)


def number(body: Body, name: str, default: float) -> float:
    """Read a number.

    Raises:
        ApiError: Something else.
    """
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise errors.invalid_field(
            "float_type", f"body.{name}", "Input should be a valid number", str(value)[:60]
        )
    return float(value)
