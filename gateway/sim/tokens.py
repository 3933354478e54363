"""Handlers of the tokenizer's routes."""

import orjson

from gateway.sim import errors
from gateway.sim.body import chat_messages, is_ids, read_json, text
from gateway.sim.params import known_ids
from gateway.sim.routes import Call
from gateway.sim.text import decode, encode, render_chat
from gateway.sim.wire import Response


def tokenize(call: Call) -> Response:
    """POST /tokenize, of a prompt or of messages."""
    body = read_json(call.request)
    call.state.resolve(body.get("model"))
    if "messages" in body:
        ids = render_chat(chat_messages(body), continue_final=bool(body.get("continue_final_message")))
    else:
        ids = encode(text(body, "prompt"))
    names = [decode([token], specials=True) for token in ids] if body.get("return_token_strs") else None
    length = call.state.options.max_model_len
    payload = {"count": len(ids), "max_model_len": length, "tokens": ids, "token_strs": names}
    return Response(200, orjson.dumps(payload))


def detokenize(call: Call) -> Response:
    """POST /detokenize; special tokens are shown by name."""
    body = read_json(call.request)
    call.state.resolve(body.get("model"))
    tokens = body.get("tokens")
    if tokens is None:
        raise errors.missing_field("tokens", body)
    if tokens != [] and not is_ids(tokens):
        raise errors.wrong_type("tokens", "list of integers", tokens)
    return Response(200, orjson.dumps({"prompt": decode(known_ids(tokens), specials=True)}))
