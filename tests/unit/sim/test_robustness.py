"""Whatever JSON comes in, a handler answers, answers later, or raises the one error it may raise."""

import asyncio
import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sim.connection import Request
from gateway.sim.errors import ApiError
from gateway.sim.faults import NO_FAULTS
from gateway.sim.options import SimOptions
from gateway.sim.routes import Call
from gateway.sim.state import ReplicaState
from gateway.sim.surface import routes_of

FIELDS = (
    "model", "prompt", "messages", "input", "max_tokens", "max_completion_tokens", "max_output_tokens", "n",
    "stop", "temperature", "seed", "stream", "stream_options", "logprobs", "top_logprobs", "echo", "priority",
    "kv_transfer_params", "return_token_ids", "stream_interval", "min_tokens", "request_id", "instructions",
    "system", "stop_sequences", "lora_name", "lora_path", "load_inplace", "tokens", "request_ids", "query",
    "documents", "top_n", "text_1", "text_2", "encoding_format", "continue_final_message",
    "add_generation_prompt", "return_token_strs",
)  # fmt: skip
scalars = st.none() | st.booleans() | st.integers(-3, 300) | st.floats(-2, 2) | st.text("ab €", max_size=5)
message = st.fixed_dictionaries(
    {},
    optional={"role": scalars | st.just("assistant"), "content": scalars | st.lists(scalars, max_size=2)},
)
values = scalars | st.lists(scalars, max_size=3) | st.lists(message, max_size=3) | message
bodies = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)


class SilentConnection:
    """Takes everything, keeps nothing."""

    exchange = None

    def __getattr__(self, _: str) -> Any:
        return lambda *_args, **_kwargs: None


@pytest.mark.parametrize("pooling", [False, True])
@given(body=bodies | scalars | st.lists(scalars, max_size=3), data=st.data())
@settings(max_examples=300, deadline=None)
def test_no_body_brings_a_handler_down(*, pooling: bool, body: object, data: st.DataObject) -> None:
    routes = {path: route for path, route in routes_of(pooling=pooling).items() if "POST" in route.methods}
    path = data.draw(st.sampled_from(sorted(routes)))
    loop = asyncio.new_event_loop()
    try:
        state = ReplicaState(SimOptions("ab", pooling=pooling), loop, lambda _: None)
        request = Request(
            "POST", path.encode(), [("content-type", "application/json")], orjson.dumps(body), keep_alive=True
        )
        connection: Any = SilentConnection()
        call = Call(state, request, connection, state.record(request), NO_FAULTS)
        with contextlib.suppress(ApiError):
            routes[path].handler(call)
    finally:
        loop.close()
