"""Handlers of the generating routes: from a request's body to an answer in the engine."""

import random
from collections.abc import Callable

from gateway.sim import errors, params
from gateway.sim.body import Body, read_json
from gateway.sim.connection import Request
from gateway.sim.formats import Format
from gateway.sim.openai_format import ChatFormat, CompletionFormat
from gateway.sim.outputs import PlainAnswer, StreamedAnswer
from gateway.sim.params import GenerateParams
from gateway.sim.routes import Call

ReadParams = Callable[[Body, Request, str, str | None, int], GenerateParams]


def request_id(call: Call, body: Body, prefix: str) -> str:
    """Return the request's id: the header's, the body's, or a new one."""
    given = call.request.header("x-request-id") or body.get("request_id")
    return f"{prefix}{given or f'{random.getrandbits(64):016x}'}"


def chat(call: Call) -> None:
    """POST /v1/chat/completions."""
    body = read_json(call.request)
    form = ChatFormat(call.state.fingerprint, call.state.faults.pad_bytes)
    start(call, body, params.chat_params, form, "chatcmpl-")


def completion(call: Call) -> None:
    """POST /v1/completions."""
    body = read_json(call.request)
    form = CompletionFormat(call.state.fingerprint, call.state.faults.pad_bytes)
    start(call, body, params.completion_params, form, "cmpl-")


def start(call: Call, body: Body, read: ReadParams, form: Format, prefix: str) -> None:
    """Read the parameters, send a stream's head, and put the answer into the engine.

    Raises:
        ApiError: The request is refused; nothing has been sent.
    """
    state, connection = call.state, call.connection
    model, adapter = state.resolve(body.get("model"))
    wanted = read(body, call.request, model, adapter, state.options.max_model_len)
    limit = state.options.max_num_queued_reqs
    if limit and len(state.answers) >= limit:
        state.rejected += 1
        raise errors.engine_busy()
    state.count(call.entry, model, adapter)
    name = request_id(call, body, prefix)
    answer: StreamedAnswer | PlainAnswer
    if wanted.stream:
        answer = StreamedAnswer(wanted, name, state.voice, state, connection)
        connection.begin_stream(extra=call.extra_head)
    else:
        answer = PlainAnswer(wanted, name, state.voice, state, connection)
        answer.extra_head = call.extra_head
    answer.attach(form, call.faults)
    trip = call.faults.token_trip()
    if trip:
        answer.set_trip(*trip)
    connection.exchange = answer
    if call.faults.first_byte_delay_s:
        state.loop.call_later(call.faults.first_byte_delay_s, answer.enter_engine)
    else:
        answer.enter_engine()
