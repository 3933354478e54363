"""What must be known of a request body, read without building the rest of it.

The body stays the client's bytes. Only a renamed model is spliced into them; nothing is encoded anew, so
fields that nobody here has heard of survive. Reading must agree with vLLM, which uses `json.loads`: of
duplicate keys the last one counts, and a key may be spelled with escapes.
"""

import json
import re
from typing import Any

import msgspec
import orjson

from gateway.proxy.errors import BadRequest


class RequestHead(msgspec.Struct, frozen=True):
    """The fields of a JSON body that routing needs; whatever else it holds is skipped."""

    model: Any = None
    stream: Any = None
    priority: Any = None
    return_token_ids: Any = None
    echo: Any = None

    @property
    def model_name(self) -> str | None:
        """The model asked for. vLLM serves its base model for a missing or empty name: None here."""
        if self.model is None or self.model == "":
            return None
        if not isinstance(self.model, str):
            raise BadRequest("model: Input should be a valid string", param="body.model")
        return self.model


_decoder = msgspec.json.Decoder(RequestHead)


def read_head(body: bytes) -> RequestHead:
    """The head of a JSON body. Raises `BadRequest` when it is no JSON object."""
    if not body:
        raise BadRequest("1 validation error:\n  Field required", param="body")
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as strict:
        # json.loads takes more than the strict parser: NaN, a byte order mark, UTF-16, lone surrogates.
        return _read_leniently(body, strict)
    except RecursionError:
        raise BadRequest("The body is nested too deeply.", param="body") from None


def _read_leniently(body: bytes, strict: Exception) -> RequestHead:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest(f"The body is not valid JSON: {strict}", param="body") from None
    if not isinstance(document, dict):
        raise BadRequest("The body must be a JSON object.", param="body")
    return RequestHead(
        document.get("model"),
        document.get("stream"),
        document.get("priority"),
        document.get("return_token_ids"),
        document.get("echo"),
    )


# One token of a JSON text as far as nesting is concerned. Numbers and literals fall between the matches.
# Possessive: a pattern that may step back remembers each character of an image (150 bytes for each byte).
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]', re.DOTALL)


def splice_model(body: bytes, name: str) -> bytes:
    """The same bytes with another model name.

    The last top-level `"model"` is replaced, the one that counts. Raises `BadRequest` where the body is not
    UTF-8 JSON, which can't be spliced.
    """
    span = _model_span(body) if json.detect_encoding(body).startswith("utf-8") else None
    if span is None:
        raise BadRequest(
            "The model's alias can't be resolved in this body: it is not UTF-8 JSON.", param="model"
        )
    start, end = span
    return b"".join((body[:start], orjson.dumps(name), body[end:]))


def _model_span(body: bytes) -> tuple[int, int] | None:
    """Where the value of the last top-level `"model"` stands in a valid JSON object."""
    depth = 0
    key: bytes | None = None
    expecting_key = False
    found: tuple[int, int] | None = None
    for match in _TOKEN.finditer(body):
        token = match.group()
        if token in b"{[":
            depth += 1
            expecting_key = depth == 1
        elif token in b"}]":
            depth -= 1
        elif depth != 1:
            continue
        elif token == b",":
            expecting_key = True
        elif token != b":":
            if not expecting_key and key is not None and _spells_model(key):
                found = match.span()
            key, expecting_key = (token if expecting_key else None), False
    return found


def _spells_model(key: bytes) -> bool:
    # Not orjson: a lone surrogate or a stray byte makes a key odd, not the body wrong.
    return key == b'"model"' or (b"\\" in key and json.loads(key.decode("utf-8", "replace")) == "model")
