"""Handlers of what needs no model: health, model list, metrics, sleep, the simulation's own."""

import random
import time
from dataclasses import asdict
from typing import Any

import orjson

from gateway.sim import errors, metrics
from gateway.sim.body import read_json
from gateway.sim.errors import ApiError
from gateway.sim.routes import Call
from gateway.sim.state import VERSION
from gateway.sim.wire import JSON, Response


def _json(payload: Any, status: int = 200) -> Response:
    return Response(status, orjson.dumps(payload), JSON)


# -- health and information --


def health(call: Call) -> Response | None:
    """GET /health: says that the API process lives, not that the engine moves."""
    faults = call.state.faults
    response = Response(faults.health_status, content_type=None)
    if faults.health_hang:
        return None
    if faults.health_delay_s:
        call.state.loop.call_later(faults.health_delay_s, call.respond, response)
        return None
    return response


def version(_: Call) -> Response:
    """GET /version."""
    return _json({"version": VERSION})


def load(_: Call) -> Response:
    """Always 0, as under vLLM without --enable-server-load-tracking."""
    return _json({"server_load": 0})


def show_metrics(call: Call) -> Response:
    """GET /metrics."""
    return Response(200, metrics.exposition(call.state), metrics.CONTENT_TYPE)


def models(call: Call) -> Response:
    """GET /v1/models: base names, then adapters; ``created`` is the time of the call."""
    options = call.state.options
    now = int(time.time())
    cards = [_card(name, now, options.model, None, options.max_model_len) for name in options.names]
    cards += [_card(name, now, root, options.names[0], None) for name, root in call.state.adapters.items()]
    return _json({"object": "list", "data": cards})


def _card(name: str, now: int, root: str, parent: str | None, max_model_len: int | None) -> dict[str, Any]:
    permission = {
        "id": f"modelperm-{random.getrandbits(64):016x}",
        "object": "model_permission", "created": now, "allow_create_engine": False, "allow_sampling": True,
        "allow_logprobs": True, "allow_search_indices": False, "allow_view": True, "allow_fine_tuning": False,
        "organization": "*", "group": None, "is_blocking": False,
    }  # fmt: skip
    return {
        "id": name, "object": "model", "created": now, "owned_by": "vllm", "root": root, "parent": parent,
        "max_model_len": max_model_len, "permission": [permission],
    }  # fmt: skip


# -- sleep and abort (vLLM's development mode) --


def sleep(call: Call) -> Response:
    """POST /sleep: running requests are aborted, or kept frozen with ``mode=keep``; new ones hang."""
    level = call.request.query.get("level", "1")
    if level not in ("0", "1", "2"):
        raise ApiError(400, "BadRequestError", f"Invalid sleep level: {level}")
    if call.request.query.get("mode", "abort") == "abort":
        call.state.abort_answers()
    call.state.sleep(int(level))
    return _json({"status": "sleeping", "level": int(level)})


def wake_up(call: Call) -> Response:
    """POST /wake_up."""
    call.state.sleep(None)
    return _json({"status": "awake", "tags": None})


def is_sleeping(call: Call) -> Response:
    """GET /is_sleeping."""
    return _json({"is_sleeping": call.state.sleep_level is not None})


def abort_requests(call: Call) -> Response:
    """POST /abort_requests: the given ids, or all."""
    ids = read_json(call.request).get("request_ids")
    if ids is not None and not isinstance(ids, list):
        raise errors.wrong_type("request_ids", "list", ids)
    aborted = call.state.abort_answers(ids)
    return _json({"status": "aborted", "aborted": aborted})


# -- the simulation's own --


def echo(call: Call) -> Response:
    """POST /v1/sim/echo: the body comes back; stands for a route that vLLM adds one day."""
    return Response(200, call.request.body, call.request.header("content-type") or JSON)


def sim_requests(call: Call) -> Response:
    """GET /sim/requests: the last requests received, oldest first."""
    return _json([asdict(entry) for entry in call.state.log])


def sim_faults(call: Call) -> Response:
    """Show, change (POST: only the fields given, null for the default) or clear (DELETE) the faults."""
    state = call.state
    if call.request.method == "DELETE":
        state.clear_faults()
    elif call.request.method == "POST":
        try:
            state.set_faults(read_json(call.request))
        except ValueError as error:
            raise ApiError(400, "BadRequestError", str(error)) from error
    return _json(state.faults.as_dict())
