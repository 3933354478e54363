"""The request side of resuming: asking for token ids, and asking another replica to go on.

Which continuations are right was measured on real vLLM 0.32 with greedy decoding: from token ids, completions
and chat went on exactly in every cut tried. What was seen to go on differently, or can't, is refused.
"""

from typing import Any

import orjson

from gateway.proxy.resume.recording import Recording, Refusal
from gateway.proxy.resume.refusals import has_several_choices, refusal_of
from gateway.proxy.resume.tape import Tape

_FLAG = b'"return_token_ids":true'
_LIMITS = ("max_tokens", "max_completion_tokens")
_COMPLETION_TOKENS = 16
"""What vLLM makes of a completion without `max_tokens` (entrypoints/openai/completion/protocol.py)."""


def with_token_ids(body: bytes) -> bytes:
    """The same request, asking for token ids. The last of duplicate keys counts, so the flag goes last."""
    end = body.rstrip()
    if not end.endswith(b"}") or end.endswith(b"\0}"):  # no UTF-8
        return body
    end = end[:-1].rstrip()
    return b"".join((end, b"" if end.endswith(b"{") else b",", _FLAG, b"}"))


def continuation(path: str, body: bytes, tape: Recording) -> bytes | Refusal:
    """The request that makes another replica go on where `tape` ends, or why there is none.

    `body` is the request as the first replica got it. The tape expects the events of a continuation from then
    on.
    """
    refusal = tape.refusal()
    if refusal is not None:
        return refusal
    document = _document(body)
    if document is None:
        return "unsupported_request"
    refusal = refusal_of(document, exact=isinstance(tape, Tape))
    if refusal is not None:
        return refusal
    if path == "/v1/completions":
        document.setdefault("max_tokens", _COMPLETION_TOKENS)
    if not _shorten(document, tape.safe):
        return "nothing_left"
    try:
        refusal = tape.extend(document, path)
    except ValueError:
        return "unsupported_request"  # the replica's events say what no vLLM would
    return refusal or orjson.dumps(document)


def closing_events(body: bytes, tape: Recording) -> bytes | Refusal:
    """What a stream still lacks whose last token was sent: usage where asked for and known, and the end.

    None of it where there are several answers in the stream: the others may lack more.
    """
    document = _document(body)
    if document is None:
        return "unsupported_request"
    if has_several_choices(document):
        return "several_choices"
    done = b"data: [DONE]\n\n"
    options = document.get("stream_options")
    wanted = isinstance(options, dict) and options.get("include_usage")
    if not wanted or tape.usage_sent or not (tape.asked and tape.prefix):
        return done
    usage = {
        "prompt_tokens": tape.asked,
        "total_tokens": tape.asked + tape.seen,
        "completion_tokens": tape.seen,
    }
    return b"data: " + tape.prefix + b'"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\n" + done


def _document(body: bytes) -> dict[str, Any] | None:
    """The request, unless it holds what only vLLM's more lenient reading makes sense of."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    is_plain = all(isinstance(document.get(key), int | None) for key in (*_LIMITS, "min_tokens"))
    return document if is_plain else None


def _shorten(document: dict[str, Any], made: int) -> bool:
    """Take what was made off the limits. False when that leaves nothing."""
    for limit in _LIMITS:
        if document.get(limit) is not None:
            document[limit] -= made
            if document[limit] < 1:
                return False
    if document.get("min_tokens"):
        document["min_tokens"] = max(0, document["min_tokens"] - made)
    return True
